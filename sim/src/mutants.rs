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
        Mutant::AckBeforeSync | Mutant::ForgetDirectorySync => {
            &[Invariant::Lost, Invariant::InconsistentOffset]
        }
        Mutant::SkipTornTailCheck => &[
            Invariant::Altered,
            Invariant::Lost,
            Invariant::InconsistentOffset,
        ],
        Mutant::AcceptStaleToken => &[
            Invariant::NodeInvariant,
            Invariant::Boundary,
            Invariant::Lost,
        ],
        Mutant::ForgetProducerState => &[Invariant::Duplicate, Invariant::Order],
        Mutant::ServeAboveHighWatermark => &[
            Invariant::AboveHighWatermark,
            Invariant::Lost,
            Invariant::InconsistentOffset,
        ],
        Mutant::DropMetadataRecordAtReplay => &[Invariant::Replay],
        Mutant::TimeIndexLies => &[Invariant::TimestampLookup],
    }
}
