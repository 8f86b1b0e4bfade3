//! `max.connections.per.ip.overrides`: addresses and how many connections each may have; and `max.connections` of one listener.

use core::net::IpAddr;
use std::collections::BTreeMap;

/// An address in the one form in which it is counted: an IPv4 address inside an IPv6 one is the IPv4 address. What is no address stays.
#[must_use]
pub fn address(text: &str) -> String {
    match text.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => text.to_owned(),
    }
}

/// The name of `max.connections` for the listener `name` alone.
#[must_use]
pub fn of_listener(name: &str) -> String {
    format!(
        "listener.name.{}.max.connections",
        name.to_ascii_lowercase()
    )
}

/// Is it the name of `max.connections` for one listener?
#[must_use]
pub fn is_of_listener(property: &str) -> bool {
    let name = property.strip_prefix("listener.name.");
    name.is_some_and(|name| name.ends_with(".max.connections"))
}

/// Reads `host:count` items.
///
/// # Errors
/// The item that is not of this form.
pub fn overrides(text: &str) -> Result<BTreeMap<String, u32>, String> {
    let items = text.split(',').map(str::trim);
    let items = items.filter(|item| !item.is_empty());
    items
        .map(|item| {
            let (host, count) = item
                .rsplit_once(':')
                .ok_or_else(|| format!("{item}: expected host:count"))?;
            let count = count
                .trim()
                .parse()
                .map_err(|_| format!("{item}: expected a number of connections after the colon"))?;
            let host = host.trim().trim_start_matches('[').trim_end_matches(']');
            Ok((address(host), count))
        })
        .collect()
}

/// The hosts that are names. Nothing here can look one up.
pub fn names(overrides: &BTreeMap<String, u32>) -> impl Iterator<Item = &String> {
    overrides
        .keys()
        .filter(|host| host.parse::<IpAddr>().is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_counts_are_read() {
        let read = overrides("10.0.0.1:5, [::ffff:10.0.0.2]:6,name:7,::1:8").expect("fine");
        let items: Vec<_> = read.iter().map(|(h, n)| (h.as_str(), *n)).collect();
        assert_eq!(
            items,
            [("10.0.0.1", 5), ("10.0.0.2", 6), ("::1", 8), ("name", 7)]
        );
        assert_eq!(names(&read).collect::<Vec<_>>(), ["name"]);
        assert!(overrides("10.0.0.1").is_err());
        assert!(overrides("10.0.0.1:x").is_err());
    }
}
