//! How many connections there may be: of one address, and in all (Kafka's `ConnectionQuotas`).
//!
//! Owns the counts. Brokers' and controllers' listeners count apart, as in Kafka each has a socket server of its own. A connection
//! beyond `max.connections`, or beyond that of its listener, waits until another one has ended: as Kafka leaves it unaccepted, it is
//! left unread here, and counts once its turn comes. Beyond `socket.listen.backlog.size` of a listener no more wait. The listener of other
//! brokers does not wait for the limit of all if clients have a listener of their own; then the connection that was idle longest
//! gives way. Never closes anything itself.

use core::net::IpAddr;
use std::collections::BTreeMap;

use crate::config::Config;
use crate::config::connections::address;
use crate::ids::ListenerId;
use crate::io::CloseWhy;

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// Clients.
    Client,
    /// Other brokers, on a listener that is not the clients'.
    InterBroker,
    /// Controllers.
    Controller,
}

/// What becomes of a new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It stays.
    Accepted,
    /// It stays, and another one gives way.
    InPlaceOfAnother,
    /// It is closed.
    Refused(CloseWhy),
}

/// The counts and their limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionQuotas {
    /// `max.connections`.
    total_max: u32,
    /// `listener.name.NAME.max.connections`, in the order of `listeners`; `max.connections` where it is not set.
    listener_max: Vec<u32>,
    /// `socket.listen.backlog.size`.
    backlog_max: usize,
    /// `max.connections.per.ip`.
    per_ip_max: u32,
    /// `max.connections.per.ip.overrides`.
    overrides: BTreeMap<String, u32>,
    /// In the order of `listeners`.
    roles: Vec<Role>,
    /// By whether it is a controller's, and address.
    per_ip: BTreeMap<(bool, String), u32>,
    /// In the order of `listeners`.
    listener_counts: Vec<u32>,
    /// Brokers', controllers'.
    totals: [u32; 2],
}

impl ConnectionQuotas {
    /// No connection yet.
    #[must_use]
    pub fn new(config: &Config) -> ConnectionQuotas {
        let number = |name| u32::try_from(config.int(name)).unwrap_or(u32::MAX);
        let own = config.listeners().iter();
        let of_brokers = own
            .clone()
            .filter(|listener| !config.is_controller_listener(&listener.name));
        let shared = of_brokers.count() < 2;
        let inter_broker = config.inter_broker_listener();
        let role = |listener: &crate::config::Listener| {
            if config.is_controller_listener(&listener.name) {
                Role::Controller
            } else if listener.name == inter_broker && !shared {
                Role::InterBroker
            } else {
                Role::Client
            }
        };
        ConnectionQuotas {
            total_max: number("max.connections"),
            listener_max: own
                .clone()
                .map(|listener| config.listener_connections_max(listener))
                .collect(),
            backlog_max: number("socket.listen.backlog.size") as usize,
            per_ip_max: number("max.connections.per.ip"),
            overrides: config.max_connections_overrides().clone(),
            listener_counts: vec![0; own.len()],
            roles: own.map(role).collect(),
            per_ip: BTreeMap::new(),
            totals: [0, 0],
        }
    }

    fn role(&self, listener: ListenerId) -> Role {
        let role = self.roles.get(usize::from(listener.0));
        role.copied().unwrap_or(Role::Client)
    }

    /// May a connection at `listener` give way to one that may not be refused?
    #[must_use]
    pub fn gives_way(&self, listener: ListenerId) -> bool {
        self.role(listener) == Role::Client
    }

    /// Is there room for one more at `listener`? Else it waits.
    #[must_use]
    pub fn has_room(&self, listener: ListenerId) -> bool {
        let here = self.listener_counts.get(usize::from(listener.0));
        if here.is_some_and(|here| *here >= self.listener_max(listener)) {
            return false;
        }
        match self.role(listener) {
            Role::InterBroker => true,
            Role::Client => self.totals[0] < self.total_max,
            Role::Controller => self.totals[1] < self.total_max,
        }
    }

    /// How many may wait at a listener.
    #[must_use]
    pub fn backlog_max(&self) -> usize {
        self.backlog_max
    }

    fn listener_max(&self, listener: ListenerId) -> u32 {
        let most = self.listener_max.get(usize::from(listener.0));
        most.copied().unwrap_or(u32::MAX)
    }

    /// Counts a connection that found room, refused or not: it counts until it has closed.
    pub fn opened(&mut self, listener: ListenerId, peer: &str) -> Admission {
        let role = self.role(listener);
        let controller = role == Role::Controller;
        let of = address(host(peer));
        let most = self.overrides.get(&of).copied();
        let most = most.unwrap_or(self.per_ip_max);
        let here = self.per_ip.entry((controller, of.clone())).or_default();
        *here += 1;
        let too_many_here = *here > most;
        if let Some(count) = self.listener_counts.get_mut(usize::from(listener.0)) {
            *count += 1;
        }
        let total = &mut self.totals[usize::from(controller)];
        *total += 1;
        if too_many_here {
            let (of, limit) = (Some(of), most);
            return Admission::Refused(CloseWhy::TooManyConnections { of, limit });
        }
        if *total > self.total_max {
            return Admission::InPlaceOfAnother;
        }
        Admission::Accepted
    }

    /// Why a connection at `listener` is closed when there are too many.
    #[must_use]
    pub fn too_many(&self, listener: ListenerId) -> CloseWhy {
        CloseWhy::TooManyConnections {
            of: None,
            limit: self.total_max.min(self.listener_max(listener)),
        }
    }

    /// A connection that [`ConnectionQuotas::opened`] has counted is gone.
    pub fn closed(&mut self, listener: ListenerId, peer: &str) {
        let controller = self.role(listener) == Role::Controller;
        let total = &mut self.totals[usize::from(controller)];
        *total = total.saturating_sub(1);
        if let Some(count) = self.listener_counts.get_mut(usize::from(listener.0)) {
            *count = count.saturating_sub(1);
        }
        let of = (controller, address(host(peer)));
        if let Some(count) = self.per_ip.get_mut(&of) {
            *count -= 1;
            if *count == 0 {
                self.per_ip.remove(&of);
            }
        }
    }

    /// How many are counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.totals.iter().map(|total| *total as usize).sum()
    }

    /// True if none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The host of `host:port` or `[host]:port`; a bare IPv6 address has no port.
fn host(peer: &str) -> &str {
    if peer.parse::<IpAddr>().is_ok() {
        return peer;
    }
    let host = peer.rsplit_once(':').map_or(peer, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(properties: &[(&str, &str)]) -> ConnectionQuotas {
        ConnectionQuotas::new(&Config::single(1, &["/a"], properties).expect("valid"))
    }

    fn refused(of: Option<&str>, limit: u32) -> Admission {
        let of = of.map(str::to_owned);
        Admission::Refused(CloseWhy::TooManyConnections { of, limit })
    }

    const CLIENTS: ListenerId = ListenerId(0);
    const CONTROLLERS: ListenerId = ListenerId(1);

    #[test]
    fn an_address_has_its_limit_and_its_own_if_it_has_one() {
        let mut quotas = quotas(&[
            ("max.connections.per.ip", "1"),
            ("max.connections.per.ip.overrides", "10.0.0.2:2,::1:0"),
        ]);
        assert_eq!(quotas.opened(CLIENTS, "10.0.0.1:5"), Admission::Accepted);
        let second = quotas.opened(CLIENTS, "10.0.0.1:6");
        assert_eq!(second, refused(Some("10.0.0.1"), 1));
        // Controllers count apart.
        assert_eq!(
            quotas.opened(CONTROLLERS, "10.0.0.1:7"),
            Admission::Accepted
        );
        for port in [5, 6] {
            let peer = format!("[::ffff:10.0.0.2]:{port}");
            assert_eq!(quotas.opened(CLIENTS, &peer), Admission::Accepted);
        }
        assert_eq!(quotas.opened(CLIENTS, "[::1]:5"), refused(Some("::1"), 0));
        // Both must have closed before there is room again.
        quotas.closed(CLIENTS, "10.0.0.1:6");
        assert_ne!(quotas.opened(CLIENTS, "10.0.0.1:8"), Admission::Accepted);
        quotas.closed(CLIENTS, "10.0.0.1:8");
        quotas.closed(CLIENTS, "10.0.0.1:5");
        assert_eq!(quotas.opened(CLIENTS, "10.0.0.1:9"), Admission::Accepted);
    }

    #[test]
    fn an_address_is_whole_with_a_port_and_without() {
        for (peer, of) in [
            ("10.0.0.1:5", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.1"),
            ("[2001:db8::5]:5", "2001:db8::5"),
            ("2001:db8::5", "2001:db8::5"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("[::ffff:10.0.0.1]:5", "10.0.0.1"),
        ] {
            assert_eq!(address(host(peer)), of);
        }
    }

    #[test]
    fn there_is_a_limit_in_all_and_other_brokers_displace_clients() {
        let mut one = quotas(&[("max.connections", "1")]);
        assert!(one.has_room(CLIENTS));
        assert_eq!(one.opened(CLIENTS, "a:1"), Admission::Accepted);
        assert!(!one.has_room(CLIENTS) && one.has_room(CONTROLLERS));
        assert_eq!(one.opened(CONTROLLERS, "c:1"), Admission::Accepted);
        assert_eq!(one.len(), 2);
        one.closed(CLIENTS, "a:1");
        assert!(one.has_room(CLIENTS));
        let brokers = ListenerId(1);
        let mut two = quotas(&[("max.connections", "1"), LISTENERS, PROTOCOLS, INTER_BROKER]);
        assert_eq!(two.opened(CLIENTS, "a:1"), Admission::Accepted);
        assert!(two.has_room(brokers));
        assert_eq!(two.opened(brokers, "b:1"), Admission::InPlaceOfAnother);
        assert!(two.gives_way(CLIENTS) && !two.gives_way(brokers));
        // What is set for all is every listener's limit, too.
        assert!(!two.has_room(brokers));
    }

    const LISTENERS: (&str, &str) = (
        "listeners",
        "PLAINTEXT://a:1,BROKERS://a:2,CONTROLLER://a:3",
    );
    const PROTOCOLS: (&str, &str) = (
        "listener.security.protocol.map",
        "PLAINTEXT:PLAINTEXT,BROKERS:PLAINTEXT,CONTROLLER:PLAINTEXT",
    );
    const INTER_BROKER: (&str, &str) = ("inter.broker.listener.name", "BROKERS");

    #[test]
    fn a_listener_has_a_limit_of_its_own() {
        let mut quotas = quotas(&[
            LISTENERS,
            PROTOCOLS,
            INTER_BROKER,
            ("max.connections", "3"),
            ("listener.name.plaintext.max.connections", "1"),
            ("listener.name.brokers.max.connections", "2"),
        ]);
        let brokers = ListenerId(1);
        assert_eq!(quotas.opened(CLIENTS, "a:1"), Admission::Accepted);
        assert!(!quotas.has_room(CLIENTS));
        for port in ["b:1", "b:2"] {
            assert!(quotas.has_room(brokers));
            assert_eq!(quotas.opened(brokers, port), Admission::Accepted);
        }
        assert!(!quotas.has_room(brokers));
        let limit = 2;
        let why = CloseWhy::TooManyConnections { of: None, limit };
        assert_eq!(quotas.too_many(brokers), why);
        quotas.closed(brokers, "b:1");
        assert!(quotas.has_room(brokers));
    }
}
