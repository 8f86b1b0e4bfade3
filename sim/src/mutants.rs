//! Which promise each mutant of the core is expected to break.
//!
//! The simulator is judged by whether it finds known bugs by the promise that they break; another violation counts too, but
//! is reported as such.

use trialog_core::mutant::Mutant;

use crate::check::Invariant;

/// The invariants whose violation means that the mutant was found for what it is.
#[must_use]
pub fn expected(mutant: Mutant) -> &'static [Invariant] {
    match mutant {
        // A lost tail shows as what is missing, as an offset that is used again, or to its producer as a hole before it.
        Mutant::AckBeforeSync => &[
            Invariant::Lost,
            Invariant::InconsistentOffset,
            Invariant::HighWatermarkRegressed,
            Invariant::Order,
        ],
        // A lost entry takes a whole file or log with it, be it the metadata's.
        Mutant::ForgetDirectorySync => &[
            Invariant::Lost,
            Invariant::InconsistentOffset,
            Invariant::HighWatermarkRegressed,
            Invariant::Replay,
            Invariant::NodeInvariant,
        ],
        // Bytes that are no batch are served, or stand in the way of what comes behind them.
        Mutant::SkipTornTailCheck => &[
            Invariant::Altered,
            Invariant::Lost,
            Invariant::InconsistentOffset,
            Invariant::Progress,
        ],
        // A completion that is taken for another's: ids that are not open, records that were never synced.
        Mutant::AcceptStaleToken => &[
            Invariant::NodeInvariant,
            Invariant::Boundary,
            Invariant::Lost,
            Invariant::InconsistentOffset,
            Invariant::Altered,
        ],
        Mutant::ForgetProducerState => &[Invariant::Duplicate, Invariant::Order],
        Mutant::ServeAboveHighWatermark => &[
            Invariant::AboveHighWatermark,
            Invariant::Lost,
            Invariant::InconsistentOffset,
        ],
        Mutant::DropMetadataRecordAtReplay => &[Invariant::Replay],
        Mutant::TimeIndexLies => &[Invariant::TimestampLookup],
        // A topic that was said to be there is not, or the other way round; a producer id is given out twice.
        Mutant::AnswerUncommittedMetadata => &[Invariant::Replay],
    }
}
