//! `listeners`, `advertised.listeners`, `controller.quorum.voters`: names with hosts and ports, as Kafka reads them.
//!
//! Resolves and binds nothing.

use std::collections::BTreeMap;
use std::fmt;

/// How a listener protects its connections, by Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL without TLS.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// From its name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<SecurityProtocol> {
        [
            SecurityProtocol::Plaintext,
            SecurityProtocol::Ssl,
            SecurityProtocol::SaslPlaintext,
            SecurityProtocol::SaslSsl,
        ]
        .into_iter()
        .find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    /// Its number in metadata records.
    #[must_use]
    pub fn id(self) -> i16 {
        match self {
            SecurityProtocol::Plaintext => 0,
            SecurityProtocol::Ssl => 1,
            SecurityProtocol::SaslPlaintext => 2,
            SecurityProtocol::SaslSsl => 3,
        }
    }
}

/// One listener: where to bind, or what clients are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Upper case.
    pub name: String,
    /// Name or address; empty: every interface.
    pub host: String,
    /// 0: any free port.
    pub port: u16,
    /// Its protection.
    pub protocol: SecurityProtocol,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        if host.contains(':') {
            write!(f, "{}://[{host}]:{}", self.name, self.port)
        } else {
            write!(f, "{}://{host}:{}", self.name, self.port)
        }
    }
}

/// One item of `controller.quorum.voters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Its node id.
    pub id: i32,
    /// Name or address.
    pub host: String,
    /// Port of its controller listener.
    pub port: u16,
}

pub(super) fn voter(item: &str) -> Result<Voter, String> {
    const KEY: &str = "controller.quorum.voters";
    const FORM: &str = "Each entry should be in the form `{id}@{host}:{port}`.";
    let (id, address) = item
        .split_once('@')
        .ok_or_else(|| format!("Invalid configuration value for {KEY}. {FORM}"))?;
    let id = id
        .parse::<i32>()
        .map_err(|_| format!("Failed to parse voter ID as an integer from {id}"))?;
    let (host, port) = host_and_port(address).ok_or_else(|| {
        format!("Failed to parse host name from entry {item} for the configuration {KEY}. {FORM}")
    })?;
    Ok(Voter { id, host, port })
}

pub(super) fn bootstrap_server(item: &str) -> Result<(), String> {
    host_and_port(item).map(|_| ()).ok_or_else(|| {
        format!(
            "Failed to parse host name from {item} for the configuration controller.quorum.bootstrap.servers. \
             Each entry should be in the form \"{{host}}:{{port}}\""
        )
    })
}

/// `NAME://host:port` items, with the protocol of each name.
pub(super) fn listeners(
    items: &[String],
    protocols: &BTreeMap<String, SecurityProtocol>,
    distinct_ports: bool,
) -> Result<Vec<Listener>, String> {
    let fail = |why: String| {
        format!(
            "Error creating broker listeners from '[{}]': {why}",
            items.join(", ")
        )
    };
    let listeners = items
        .iter()
        .map(|item| listener(item, protocols))
        .collect::<Result<Vec<_>, _>>()
        .map_err(fail)?;
    for (at, one) in listeners.iter().enumerate() {
        for other in &listeners[..at] {
            if one.name == other.name {
                return Err(fail("Each listener must have a different name".to_owned()));
            }
            if distinct_ports && one.port != 0 && one.port == other.port && !two_stacks(one, other)
            {
                return Err(fail(format!(
                    "Each listener must have a different port unless one has an IPv4 address and the other an IPv6 address, port: {}",
                    one.port
                )));
            }
        }
    }
    Ok(listeners)
}

fn listener(
    item: &str,
    protocols: &BTreeMap<String, SecurityProtocol>,
) -> Result<Listener, String> {
    let unreadable = || format!("Unable to parse {item} to a broker endpoint");
    let (name, address) = item.split_once("://").ok_or_else(unreadable)?;
    let named = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let (host, port) = host_and_port(address)
        .filter(|_| named)
        .ok_or_else(unreadable)?;
    let name = name.to_ascii_uppercase();
    let protocol = *protocols
        .get(&name)
        .ok_or_else(|| format!("No security protocol defined for listener {name}"))?;
    Ok(Listener {
        name,
        host,
        port,
        protocol,
    })
}

fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let valid = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-%._:".contains(&b));
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    (valid && digits).then_some(())?;
    Some((host.to_owned(), port.parse().ok()?))
}

fn two_stacks(one: &Listener, other: &Listener) -> bool {
    let v4 = |host: &str| host.parse::<core::net::Ipv4Addr>().is_ok();
    let v6 = |host: &str| host.parse::<core::net::Ipv6Addr>().is_ok();
    (v4(&one.host) && v6(&other.host)) || (v6(&one.host) && v4(&other.host))
}
