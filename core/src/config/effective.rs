//! Which of Kafka's broker and topic properties this release acts on, and what each does, in a sentence of ours (`effective.txt`).
//! Whoever sets another one is told that it does nothing yet.

use std::sync::LazyLock;

use super::table;

/// What is told of a property that is accepted and does nothing.
const WITHOUT_EFFECT: &str =
    "A property of Apache Kafka that has no effect in this release: it is checked and kept.";

/// Name and sentence, in byte order of the names. A property that is refused with any other value than the one that is served
/// counts as acted on.
static EFFECTIVE: LazyLock<Vec<(&str, &str)>> = LazyLock::new(|| {
    let lines = include_str!("effective.txt").lines();
    lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, sentence)| (name, sentence.trim_start()))
        .collect()
});

fn sentence(name: &str) -> Option<&'static str> {
    let at = EFFECTIVE.binary_search_by_key(&name, |(name, _)| *name);
    at.ok().map(|at| EFFECTIVE[at].1)
}

/// Does this release act on the broker or topic property `name`?
#[must_use]
pub fn is_effective(name: &str) -> bool {
    sentence(name).is_some()
}

/// What the property `name` of any kind does in this release; `None` if Kafka has none of this name.
#[must_use]
pub fn documentation(name: &str) -> Option<&'static str> {
    let tables = [
        &table::BROKER,
        &table::TOPIC,
        &table::GROUP,
        &table::CLIENT_METRICS,
    ];
    let known = |name| {
        tables
            .iter()
            .any(|rows| table::position(rows, name).is_some())
    };
    sentence(name).or_else(|| known(name).then_some(WITHOUT_EFFECT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_kafkas_and_in_order() {
        assert!(EFFECTIVE.is_sorted());
        assert!(EFFECTIVE.len() > 80, "the text is read");
        for (name, sentence) in EFFECTIVE.iter() {
            let known = |rows| table::position(rows, name).is_some();
            assert!(known(&table::BROKER) || known(&table::TOPIC), "{name}");
            assert!(sentence.ends_with('.'), "{name}: {sentence}");
        }
    }

    #[test]
    fn what_a_property_does_is_told_for_every_name_of_kafka_and_no_other() {
        let told = |name| documentation(name).unwrap_or("nothing");
        assert!(told("retention.ms").starts_with("Segments whose newest"));
        assert_eq!(told("num.io.threads"), WITHOUT_EFFECT);
        assert_eq!(told("consumer.session.timeout.ms"), WITHOUT_EFFECT);
        assert_eq!(told("my.own"), "nothing");
    }
}
