//! Names of topics: which are allowed, which would be mistaken for one another.
//!
//! Knows no topic that exists.

/// The longest name: with `-` and a partition number it is still a file name.
const NAME_BYTES_MAX: usize = 249;

/// Topics that the cluster itself writes to.
const INTERNAL: [&str; 3] = [
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
];

/// The topic of the metadata log, which nobody may create.
pub(super) const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Checks the name of a topic.
///
/// # Errors
/// Why it may not be, as Kafka says it.
pub fn check_topic_name(name: &str) -> Result<(), String> {
    let why = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." | ".." => format!("'{name}' is not allowed"),
        _ if name.chars().count() > NAME_BYTES_MAX => {
            format!("the length of '{name}' is longer than the max allowed length {NAME_BYTES_MAX}")
        }
        _ if !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) =>
        {
            format!(
                "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
            )
        }
        _ => return Ok(()),
    };
    Err(format!("Topic name is invalid: {why}"))
}

/// Is `name` a topic that the cluster itself writes to?
#[must_use]
pub fn is_internal_topic(name: &str) -> bool {
    INTERNAL.contains(&name)
}

/// Could the name be mistaken for another in the names of metrics?
pub(super) fn may_collide(name: &str) -> bool {
    name.contains(['.', '_'])
}

/// What names that could be mistaken for one another have in common.
pub(super) fn unified(name: &str) -> String {
    name.replace('.', "_")
}
