//! What the core tells, as lines for the operator.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, info, trace, warn};
use trialog_core::event::{Event, Level};
use trialog_core::io::CloseWhy;

/// Lines about connections that are refused come no closer together: whoever floods a listener does not flood the log.
const REFUSAL_PAUSE: Duration = Duration::from_secs(1);

/// Writes the log, and remembers what it leaves out.
#[derive(Default)]
pub struct Teller {
    refusals: Seldom,
}

impl Teller {
    /// Writes one event to the log.
    pub fn tell(&mut self, event: &Event) {
        if let Event::ConnectionClosed { why, .. } = event
            && let CloseWhy::TooManyConnections { .. } = why
            && !self.is_refusal_told()
        {
            return;
        }
        tell(event);
    }

    /// A connection from `peer` was refused, since `limit` are open.
    pub fn refused(&mut self, peer: &str, limit: usize) {
        if self.is_refusal_told() {
            warn!("Refused a connection from {peer}: {limit} are open, which is the limit.");
        }
    }

    /// Is this one to be told? Says how many were not.
    fn is_refusal_told(&mut self) -> bool {
        match self.refusals.turn(Instant::now()) {
            Some(0) => true,
            Some(n) => {
                warn!("Refused {n} other connections since this was last told.");
                true
            }
            None => false,
        }
    }
}

/// What is told once in a [`REFUSAL_PAUSE`] at most.
#[derive(Default)]
struct Seldom {
    told_at: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// If this one is to be told: how many before it were not.
    fn turn(&mut self, now: Instant) -> Option<u64> {
        if self.told_at.is_some_and(|at| now - at < REFUSAL_PAUSE) {
            self.untold += 1;
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

/// Writes one event to the log.
fn tell(event: &Event) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_line_a_second_that_counts_the_rest() {
        let (mut seldom, begin) = (Seldom::default(), Instant::now());
        let told: Vec<_> = (0..2_500)
            .filter_map(|ms| seldom.turn(begin + Duration::from_millis(ms)))
            .collect();
        assert_eq!(told, [0, 999, 999]);
    }
}
