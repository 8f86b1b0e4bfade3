//! Opens the listeners of a node.

use std::fmt;
use std::io;

use tokio::net::TcpListener;
use trialog_core::io::ListenerBoot;

/// A listener as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// `PLAINTEXT`, `CONTROLLER`, …
    pub name: String,
    /// Name or address to bind; empty means that nobody said, and loopback is bound.
    pub host: String,
    /// Port; 0 takes a free one.
    pub port: u16,
}

/// Where to bind when nobody said: there is no authentication that would guard an open port.
const LOOPBACK: &str = "127.0.0.1";

/// A listener that could not be opened.
#[derive(Debug)]
pub struct ListenError {
    listen: Listen,
    cause: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listen { name, host, port } = &self.listen;
        write!(
            f,
            "cannot listen on {name}://{host}:{port}: {}. ",
            self.cause
        )?;
        f.write_str(match self.cause.kind() {
            io::ErrorKind::AddrInUse => {
                "Another process has the port: stop it, or choose another port (0 takes a free one)"
            }
            io::ErrorKind::AddrNotAvailable => {
                "This machine does not have the address: correct it in `listeners`"
            }
            io::ErrorKind::PermissionDenied => {
                "Ports below 1024 need a privilege: choose a higher one"
            }
            _ => "Correct its host and port",
        })
    }
}
impl std::error::Error for ListenError {}

/// Binds every listener, in order, and says so where nobody chose the address or where anybody may reach it.
pub async fn bind(
    listeners: &[Listen],
) -> Result<(Vec<TcpListener>, Vec<ListenerBoot>), ListenError> {
    let mut bound = Vec::new();
    let mut boots = Vec::new();
    for listen in listeners {
        let mut listen = listen.clone();
        if listen.host.is_empty() {
            listen.host = LOOPBACK.into();
            tracing::info!(
                "Listener {} has no host: it is bound to {LOOPBACK} only, since there is no authentication. Name a host in `listeners` to open it.",
                listen.name
            );
        }
        let (socket, port) = match open(&listen).await {
            Ok(opened) => opened,
            Err(cause) => return Err(ListenError { listen, cause }),
        };
        if is_loopback(&socket) {
            tracing::info!("Listening on {}://{}:{port}.", listen.name, listen.host);
        } else {
            tracing::warn!(
                "Listener {}://{}:{port} is reachable from other machines, and there is no authentication: anyone who reaches it may read and write everything.",
                listen.name,
                listen.host
            );
        }
        bound.push(socket);
        boots.push(ListenerBoot {
            name: listen.name,
            host: listen.host,
            port,
        });
    }
    Ok((bound, boots))
}

async fn open(listen: &Listen) -> io::Result<(TcpListener, u16)> {
    let socket = TcpListener::bind((listen.host.as_str(), listen.port)).await?;
    let port = socket.local_addr()?.port();
    Ok((socket, port))
}

fn is_loopback(socket: &TcpListener) -> bool {
    socket
        .local_addr()
        .is_ok_and(|addr| addr.ip().is_loopback())
}
