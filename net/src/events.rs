//! What the core tells, as lines for the operator.

use tracing::{debug, error, info, trace, warn};
use trialog_core::event::{Event, Level};
use trialog_core::io::CloseWhy;

/// Writes one event to the log.
pub fn tell(event: &Event) {
    match event {
        Event::Mark(mark) => trace!(?mark, "mark"),
        Event::Ready { partitions } => info!("Ready: {partitions} partition logs are open."),
        Event::ConnectionClosed { conn, why } => match why {
            CloseWhy::Malformed(what) => {
                warn!("Closed connection {conn}: a request could not be decoded: {what}.");
            }
            CloseWhy::Unsupported { key, version } => warn!(
                "Closed connection {conn}: it asked for API key {key} version {version}, which is not served."
            ),
            CloseWhy::Stalled => {
                warn!("Closed connection {conn}: the peer does not read its answers.");
            }
            CloseWhy::TooManyConnections { of, limit } => match of {
                Some(address) => warn!(
                    "Closed connection {conn}: {address} has the {limit} connections that max.connections.per.ip or its overrides allow."
                ),
                None => warn!(
                    "Closed connection {conn}: there are the {limit} connections that max.connections allows, and others wait."
                ),
            },
            CloseWhy::Idle | CloseWhy::Shutdown | CloseWhy::AcksZeroFailed => {
                debug!(?why, "Closed connection {conn}.");
            }
        },
        Event::LogOpened {
            log,
            start,
            end,
            recovered,
        } => {
            let how = if *recovered {
                "after recovery"
            } else {
                "as it was closed"
            };
            debug!("Opened {log}, offsets {start} to {end}, {how}.");
        }
        Event::TailCut { log, end, bytes } => warn!(
            "Cut a torn tail of {bytes} bytes from {log}, which ends at offset {end} now. Nothing in it had been acknowledged as durable."
        ),
        Event::PartitionOffline { log, message } => {
            error!("Partition {log} is offline: {message}");
        }
        Event::DirectoryFailed { path, message } => {
            error!("Log directory {path} failed; everything in it is offline: {message}");
        }
        Event::Note { level, message } => match level {
            Level::Debug => debug!("{message}"),
            Level::Info => info!("{message}"),
            Level::Warn => warn!("{message}"),
            Level::Error => error!("{message}"),
        },
        Event::Stopping => info!("Stopping: finishing what is in flight and syncing the logs."),
    }
}
