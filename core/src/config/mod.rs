//! What a node was configured with: Kafka's property names, types, defaults and rules (`server.properties` as it is).
//!
//! Owns the values of one node; never reads a file and decides nothing but whether the values may stand together.

pub mod connections;
mod double;
pub mod effective;
pub mod listeners;
pub mod log;
pub mod properties;
pub mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use listeners::{Listener, SecurityProtocol, Voter};
pub use log::{CompressionType, LogConfig, TimestampType};
pub use table::{ConfigError, Value};

/// The configuration of one node, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// In the order of [`table::BROKER`].
    values: Vec<Value>,
    /// What was set, as it was written; unknown properties too.
    set: BTreeMap<String, String>,
    /// Worth telling the operator: unknown properties, combinations that Kafka warns of.
    notes: Vec<String>,
    node_id: i32,
    listeners: Vec<Listener>,
    advertised: Vec<Listener>,
    voters: Vec<Voter>,
    /// By address.
    max_connections_overrides: BTreeMap<String, u32>,
}

/// Why a configuration is refused: every reason that was found, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            let end = if at > 0 { "\n" } else { "" };
            write!(f, "{end}{error}")?;
        }
        Ok(())
    }
}
impl std::error::Error for ConfigErrors {}

impl Config {
    /// Checks `properties` and reads them.
    ///
    /// # Errors
    /// Everything that is missing, not of its type, not allowed, contradictory, or not available in this release.
    pub fn parse(properties: &BTreeMap<String, String>) -> Result<Config, ConfigErrors> {
        let mut set = properties.clone();
        // Kafka: broker.id and node.id are two names of one number.
        for (from, to) in [("broker.id", "node.id"), ("node.id", "broker.id")] {
            if let (Some(value), None) = (set.get(from).cloned(), set.get(to)) {
                set.insert(to.to_owned(), value);
            }
        }
        let mut errors = Vec::new();
        let mut values = Vec::with_capacity(table::BROKER.len());
        for row in table::BROKER.iter() {
            values.push(match (set.get(row.name), row.default()) {
                (Some(text), _) => row.parse(text).unwrap_or_else(|error| {
                    errors.push(error);
                    Value::Null
                }),
                (None, Some(default)) => default.clone(),
                (None, None) => {
                    let name = row.name;
                    let message = format!(
                        "Missing required configuration \"{name}\" which has no default value."
                    );
                    errors.push(ConfigError::new(name, message));
                    Value::Null
                }
            });
        }
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        let mut config = Config {
            values,
            notes: without_effect(&set),
            set,
            node_id: -1,
            listeners: Vec::new(),
            advertised: Vec::new(),
            voters: Vec::new(),
            max_connections_overrides: BTreeMap::new(),
        };
        config
            .resolve()
            .map_err(|error| ConfigErrors(vec![error]))?;
        let errors = config.contradictions();
        if errors.is_empty() {
            Ok(config)
        } else {
            Err(ConfigErrors(errors))
        }
    }

    /// The least that makes a node of its own: one broker and controller at `listeners`, its data in `log_dirs`.
    /// `overrides` come on top.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn single(
        node_id: i32,
        log_dirs: &[&str],
        overrides: &[(&str, &str)],
    ) -> Result<Config, ConfigErrors> {
        let mut properties = BTreeMap::from([
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", node_id.to_string()),
            (
                "listeners",
                "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093".to_owned(),
            ),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            (
                "controller.quorum.voters",
                format!("{node_id}@127.0.0.1:9093"),
            ),
            ("log.dirs", log_dirs.join(",")),
        ]);
        properties.extend(
            overrides
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let properties = properties
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        Config::parse(&properties.collect())
    }

    /// The value of a property of [`table::BROKER`].
    ///
    /// # Panics
    /// If there is no such property: a typing error of ours.
    #[must_use]
    pub fn value(&self, name: &str) -> &Value {
        let at = table::position(&table::BROKER, name);
        &self.values[at.unwrap_or_else(|| panic!("{name} is no broker property"))]
    }

    /// An integer property; 0 if it is absent.
    #[must_use]
    pub fn int(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Int(number) => *number,
            _ => 0,
        }
    }

    /// A boolean property.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        *self.value(name) == Value::Boolean(true)
    }

    /// A text property, empty if it is absent.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        match self.value(name) {
            Value::Text(text) => text,
            _ => "",
        }
    }

    /// A list property, empty if it is absent.
    #[must_use]
    pub fn list(&self, name: &str) -> &[String] {
        match self.value(name) {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// What was set, as it was written, unknown properties included.
    #[must_use]
    pub fn set(&self) -> &BTreeMap<String, String> {
        &self.set
    }

    /// What the operator should hear of at start.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// `node.id`.
    #[must_use]
    pub fn node_id(&self) -> i32 {
        self.node_id
    }

    /// `listeners`, in their order.
    #[must_use]
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// What clients are told to connect to: `advertised.listeners` or `listeners`, without those of the controller.
    /// An empty host or port 0 stands for what the listener of that name is bound to.
    #[must_use]
    pub fn advertised_listeners(&self) -> &[Listener] {
        &self.advertised
    }

    /// Is the listener `name` one of `controller.listener.names`?
    #[must_use]
    pub fn is_controller_listener(&self, name: &str) -> bool {
        self.list("controller.listener.names")
            .iter()
            .any(|own| own.eq_ignore_ascii_case(name))
    }

    /// `controller.quorum.voters`; empty with a dynamic quorum.
    #[must_use]
    pub fn voters(&self) -> &[Voter] {
        &self.voters
    }

    /// `log.dirs`, or `log.dir`.
    #[must_use]
    pub fn log_dirs(&self) -> &[String] {
        match self.value("log.dirs") {
            Value::List(dirs) => dirs,
            _ => self.list("log.dir"),
        }
    }

    /// The place in [`Config::log_dirs`] of the directory of the metadata log.
    #[must_use]
    pub fn metadata_log_dir(&self) -> usize {
        let named = self.text("metadata.log.dir");
        self.log_dirs()
            .iter()
            .position(|dir| dir == named)
            .unwrap_or(0)
    }

    /// `max.connections.per.ip.overrides`, by address in its canonical form.
    #[must_use]
    pub fn max_connections_overrides(&self) -> &BTreeMap<String, u32> {
        &self.max_connections_overrides
    }

    /// How many connections `listener` may have: `max.connections`, also with `listener.name.NAME.` before it.
    #[must_use]
    pub fn listener_connections_max(&self, listener: &Listener) -> u32 {
        let own = self.set.get(&connections::of_listener(&listener.name));
        let most = own.and_then(|text| text.trim().parse().ok());
        most.unwrap_or(u32::try_from(self.int("max.connections")).unwrap_or(u32::MAX))
    }

    /// The name of the listener that other brokers use.
    #[must_use]
    pub fn inter_broker_listener(&self) -> String {
        match self.value("inter.broker.listener.name") {
            Value::Text(name) => name.to_ascii_uppercase(),
            _ => self.text("security.inter.broker.protocol").to_owned(),
        }
    }

    /// `broker.rack`.
    #[must_use]
    pub fn rack(&self) -> Option<&str> {
        match self.value("broker.rack") {
            Value::Text(rack) => Some(rack),
            _ => None,
        }
    }

    /// `socket.request.max.bytes`.
    #[must_use]
    pub fn socket_request_max_bytes(&self) -> u32 {
        u32::try_from(self.int("socket.request.max.bytes")).unwrap_or(u32::MAX)
    }

    /// This configuration with dynamic broker properties over it, the later of `levels` over the earlier; those that
    /// may not change at run time, or that are not allowed, are passed over, as Kafka does.
    #[must_use]
    pub fn overlaid(&self, levels: &[&BTreeMap<String, String>]) -> Config {
        let mut config = self.clone();
        for (name, text) in levels.iter().flat_map(|level| level.iter()) {
            let Some(at) = table::position(&table::BROKER, name) else {
                continue;
            };
            let row = &table::BROKER[at];
            let dynamic = matches!(
                row.update,
                table::Update::ClusterWide | table::Update::PerBroker
            );
            if let (true, Ok(value)) = (dynamic, row.parse(text)) {
                config.values[at] = value;
            }
        }
        config
    }

    fn resolve(&mut self) -> Result<(), ConfigError> {
        let at = |name: &'static str| move |message: String| ConfigError::new(name, message);
        self.node_id = i32::try_from(self.int("node.id")).unwrap_or(-1);
        let protocols = self.protocols()?;
        self.listeners = listeners::listeners(self.list("listeners"), &protocols, true)
            .map_err(at("listeners"))?;
        let advertised = match self.value("advertised.listeners") {
            Value::List(items) => listeners::listeners(items, &protocols, false)
                .map_err(at("advertised.listeners"))?,
            _ => self.listeners.clone(),
        };
        self.advertised = advertised
            .into_iter()
            .filter(|listener| !self.is_controller_listener(&listener.name))
            .collect();
        self.voters = self
            .list("controller.quorum.voters")
            .iter()
            .map(|item| listeners::voter(item))
            .collect::<Result<_, _>>()
            .map_err(at("controller.quorum.voters"))?;
        const OVERRIDES: &str = "max.connections.per.ip.overrides";
        self.max_connections_overrides = connections::overrides(self.text(OVERRIDES))
            .map_err(|why| ConfigError::new(OVERRIDES, format!("{OVERRIDES}: {why}")))?;
        for listener in &self.listeners {
            let name = connections::of_listener(&listener.name);
            if let Some(text) = self.set.get(&name) {
                let number: Option<i32> = text.trim().parse().ok();
                number.filter(|most| *most >= 0).ok_or_else(|| {
                    ConfigError::invalid(&name, text, "Not a number of connections")
                })?;
            }
        }
        let names = connections::names(&self.max_connections_overrides);
        self.notes.extend(names.map(|name| {
            format!("{OVERRIDES} names the host {name}: this release looks up no names, so that its limit has no effect; give the address")
        }));
        Ok(())
    }

    /// `listener.security.protocol.map`, with PLAINTEXT for the controller's listeners where Kafka adds it.
    fn protocols(&self) -> Result<BTreeMap<String, SecurityProtocol>, ConfigError> {
        const KEY: &str = "listener.security.protocol.map";
        let mut map = BTreeMap::new();
        for item in self
            .text(KEY)
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
        {
            let (name, protocol) = item.rsplit_once(':').ok_or_else(|| {
                ConfigError::invalid(KEY, item, "expected items of the form NAME:PROTOCOL")
            })?;
            let protocol = SecurityProtocol::from_name(protocol.trim()).ok_or_else(|| {
                ConfigError::new(
                    KEY,
                    format!(
                        "Invalid security protocol `{}` defined in {KEY}",
                        protocol.trim()
                    ),
                )
            })?;
            map.insert(name.trim().to_ascii_uppercase(), protocol);
        }
        let secured = |name: &str| matches!(SecurityProtocol::from_name(name), Some(p) if p != SecurityProtocol::Plaintext);
        let controllers = self.list("controller.listener.names");
        let listeners = self
            .list("listeners")
            .iter()
            .filter_map(|item| item.split(':').next());
        let any_secured = controllers
            .iter()
            .map(String::as_str)
            .chain(listeners)
            .any(secured);
        if !self.set.contains_key(KEY) && !any_secured {
            for name in controllers {
                map.insert(name.to_ascii_uppercase(), SecurityProtocol::Plaintext);
            }
        }
        Ok(map)
    }

    /// What may not stand together, by Kafka's rules, and what this release does not do and must not seem to do.
    fn contradictions(&mut self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut require = |holds: bool, name: &str, message: &dyn Fn() -> String| {
            if !holds {
                errors.push(ConfigError::new(name, message()));
            }
        };
        let node_id = self.node_id;
        require(
            self.int("broker.id") == i64::from(node_id),
            "node.id",
            &|| "You must set `node.id` to the same value as `broker.id`.".to_owned(),
        );
        self.require_times_and_sizes(&mut require);
        self.require_listeners(&mut require);
        self.require_quorum(&mut require);
        self.require_available(&mut require);
        if self.int("broker.heartbeat.interval.ms") * 2 > self.int("broker.session.timeout.ms") {
            self.notes.push("broker.heartbeat.interval.ms should be at most half of broker.session.timeout.ms: a broker that is late loses its lease".to_owned());
        }
        errors
    }

    fn require_times_and_sizes(&self, require: &mut Require) {
        let least = |name: &'static str, at_least: i64| match self.value(name) {
            Value::Int(number) => *number >= at_least,
            _ => true,
        };
        let simple = |text: &'static str| move || text.to_owned();
        require(
            least("log.roll.ms", 1),
            "log.roll.ms",
            &simple("log.roll.ms must be greater than or equal to 1"),
        );
        require(
            least("log.roll.jitter.ms", 0),
            "log.roll.jitter.ms",
            &simple("log.roll.jitter.ms must be greater than or equal to 0"),
        );
        let retention = table::position(&table::TOPIC, "retention.ms")
            .map(|at| log::inherited(self, &table::TOPIC[at]));
        require(
            retention != Some(Value::Int(0)),
            "log.retention.ms",
            &simple("log.retention.ms must be unlimited (-1) or, greater than or equal to 1"),
        );
        let threads = self.int("log.cleaner.threads").max(1);
        require(
            self.int("log.cleaner.dedupe.buffer.size") / threads > 1024 * 1024,
            "log.cleaner.dedupe.buffer.size",
            &simple("log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread."),
        );
        let wait = self.int("replica.fetch.wait.max.ms");
        require(
            wait <= self.int("replica.socket.timeout.ms"),
            "replica.socket.timeout.ms",
            &simple(
                "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent unnecessary socket timeouts",
            ),
        );
        require(
            wait <= self.int("replica.lag.time.max.ms"),
            "replica.fetch.wait.max.ms",
            &simple(
                "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent frequent changes in ISR",
            ),
        );
        let queued = self.int("queued.max.request.bytes");
        require(
            queued <= 0 || queued >= self.int("socket.request.max.bytes"),
            "queued.max.request.bytes",
            &simple("queued.max.request.bytes must be larger or equal to socket.request.max.bytes"),
        );
        require(
            self.int("max.connections.per.ip") != 0
                || !self.text("max.connections.per.ip.overrides").is_empty(),
            "max.connections.per.ip",
            &simple(
                "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.",
            ),
        );
        let (delay, idle) = (
            self.int("connection.failed.authentication.delay.ms"),
            self.int("connections.max.idle.ms"),
        );
        require(
            idle < 0 || delay < idle,
            "connection.failed.authentication.delay.ms",
            &|| {
                format!(
                    "connection.failed.authentication.delay.ms={delay} should always be less than connections.max.idle.ms={idle} to prevent failed authentication responses from timing out"
                )
            },
        );
        require(
            self.list("group.coordinator.rebalance.protocols")
                .iter()
                .any(|p| p == "classic"),
            "group.coordinator.rebalance.protocols",
            &simple("Disabling the 'CLASSIC' protocol is not supported."),
        );
    }

    fn require_listeners(&self, require: &mut Require) {
        let bound: BTreeSet<&str> = self
            .listeners
            .iter()
            .map(|listener| listener.name.as_str())
            .collect();
        let advertised: BTreeSet<&str> = self
            .advertised
            .iter()
            .map(|listener| listener.name.as_str())
            .collect();
        let join = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(",");
        let controllers = self.list("controller.listener.names");
        let missing = controllers
            .iter()
            .find(|name| !bound.contains(name.to_ascii_uppercase().as_str()));
        require(missing.is_none(), "controller.listener.names", &|| {
            "controller.listener.names must only contain values appearing in the 'listeners' configuration when running the KRaft controller role".to_owned()
        });
        require(!advertised.is_empty(), "advertised.listeners", &|| {
            "There must be at least one broker advertised listener. Perhaps all listeners appear in controller.listener.names?".to_owned()
        });
        let inter_broker = self.inter_broker_listener();
        let both = self.set.contains_key("inter.broker.listener.name")
            && self.set.contains_key("security.inter.broker.protocol");
        require(!both, "inter.broker.listener.name", &|| {
            "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.".to_owned()
        });
        require(
            advertised.contains(inter_broker.as_str()),
            "inter.broker.listener.name",
            &|| {
                format!(
                    "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid options based on currently configured listeners are {}",
                    join(&advertised)
                )
            },
        );
        require(
            advertised.is_subset(&bound),
            "advertised.listeners",
            &|| {
                format!(
                    "advertised.listeners listener names must be equal to or a subset of the ones defined in listeners. Found {}. The valid options based on the current configuration are {}",
                    join(&advertised),
                    join(&bound)
                )
            },
        );
        require(
            self.advertised
                .iter()
                .all(|listener| listener.host != "0.0.0.0"),
            "advertised.listeners",
            &|| {
                "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address.".to_owned()
            },
        );
    }

    fn require_quorum(&self, require: &mut Require) {
        let servers = self.list("controller.quorum.bootstrap.servers");
        require(
            !(self.voters.is_empty() && servers.is_empty()),
            "controller.quorum.voters",
            &|| {
                "If using process.roles, either controller.quorum.bootstrap.servers must contain the set of bootstrap controllers or controller.quorum.voters must contain a parseable set of controllers.".to_owned()
            },
        );
        let among = self.voters.iter().any(|voter| voter.id == self.node_id);
        require(
            self.voters.is_empty() || among,
            "controller.quorum.voters",
            &|| {
                let ids: Vec<String> = self
                    .voters
                    .iter()
                    .map(|voter| voter.id.to_string())
                    .collect();
                format!(
                    "If process.roles contains the 'controller' role, the node id {} must be included in the set of voters controller.quorum.voters=[{}]",
                    self.node_id,
                    ids.join(", ")
                )
            },
        );
    }

    /// A property must not seem to protect, replicate or move data when nothing here does what it says.
    fn require_available(&self, require: &mut Require) {
        let roles = self.list("process.roles");
        require(roles.len() == 2, "process.roles", &|| {
            format!(
                "process.roles={}: this release runs one node that is both; set process.roles=broker,controller",
                roles.join(",")
            )
        });
        require(self.voters.len() <= 1, "controller.quorum.voters", &|| {
            "controller.quorum.voters names several voters: this release runs a quorum of one; name this node only".to_owned()
        });
        for listener in &self.listeners {
            require(
                listener.protocol == SecurityProtocol::Plaintext,
                "listeners",
                &|| {
                    format!(
                        "listener {} asks for {}: this release has neither TLS nor SASL; use PLAINTEXT on an address that only trusted peers reach",
                        listener.name,
                        listener.protocol.name()
                    )
                },
            );
        }
        for (name, what) in [
            ("authorizer.class.name", "no authorization"),
            ("create.topic.policy.class.name", "no policies"),
            ("alter.config.policy.class.name", "no policies"),
            ("client.quota.callback.class", "no quotas"),
        ] {
            require(self.text(name).is_empty(), name, &|| {
                format!(
                    "{name}={}: this release has {what}; remove the property",
                    self.text(name)
                )
            });
        }
        require(
            !self.flag("remote.log.storage.system.enable"),
            "remote.log.storage.system.enable",
            &|| {
                "remote.log.storage.system.enable=true: this release has no tiered storage; remove the property".to_owned()
            },
        );
        require(
            self.list("config.providers").is_empty(),
            "config.providers",
            &|| {
                "config.providers: this release resolves no references; write the values themselves"
                    .to_owned()
            },
        );
        let metadata = self.text("metadata.log.dir");
        require(
            metadata.is_empty() || self.log_dirs().iter().any(|dir| dir == metadata),
            "metadata.log.dir",
            &|| {
                format!(
                    "metadata.log.dir={metadata} is not one of log.dirs: this release keeps the metadata log in one of them; add it there"
                )
            },
        );
    }
}

/// Takes whether a rule holds, which property it is about, and what to say if not.
type Require<'a> = dyn FnMut(bool, &str, &dyn Fn() -> String) + 'a;

/// What was set and does nothing: names that nobody knows, and those of Kafka that this release does not act on yet.
fn without_effect(set: &BTreeMap<String, String>) -> Vec<String> {
    let known = |name: &str| table::position(&table::BROKER, name).is_some();
    let (known, unknown): (Vec<&str>, Vec<&str>) = set
        .keys()
        .map(String::as_str)
        .filter(|name| !connections::is_of_listener(name))
        .partition(|name| known(name));
    let idle: Vec<&str> = known
        .into_iter()
        .filter(|name| !effective::is_effective(name))
        .collect();
    let mut notes: Vec<String> = unknown
        .iter()
        .map(|name| format!("{name} is no property of this release and is not used"))
        .collect();
    if !idle.is_empty() {
        notes.push(format!(
            "set, but without effect in this release: {}",
            idle.join(", ")
        ));
    }
    notes
}

#[cfg(test)]
mod tests;
