//! Which promise each mutant of the core is expected to break.
//!
//! The simulator is judged by whether it finds known bugs by the promise that they break; another violation counts too, but
//! is reported as such.

use trialog_core::mutant::Mutant;

use crate::check::Invariant;

/// Is it found within a default search? The others need more luck, or faults at one moment: a story tells each, in
/// the log's tests or among the scripted scenarios.
#[must_use]
pub fn is_hunted(mutant: Mutant) -> bool {
    !matches!(
        mutant,
        Mutant::LowerRecoveryPoint
            | Mutant::TrustUnsyncedPartitionMetadata
            | Mutant::StopFailsWithoutRoom
            | Mutant::MarkCleanWithoutEpochs
            | Mutant::DropRequestInWork
            | Mutant::AppendBehindLostAnswer
            | Mutant::TrustIndexesAtRecoveryPoint
            | Mutant::ForgetSyncedWhenOffline
            | Mutant::SealTwiceAtOnce
            | Mutant::ForgetProducersBelowStart
            | Mutant::ForgetProducersOfLostSnapshot
            | Mutant::TrustMarkerOfShorterLog
            | Mutant::DeleteStray
            | Mutant::TellStartBeforeCheckpoint
            | Mutant::MakeBeforeNamesakeIsForgotten
            | Mutant::ForgetStartWhileRemoving
            | Mutant::KeepRolledBackSegment
            | Mutant::RetireFrontierTooSoon
            | Mutant::OpenOverLostEpochs
            | Mutant::TrustPageCache
            | Mutant::StopWaitsForFailedDirectory
            | Mutant::DeleteInFailedDirectory
            | Mutant::WaitForRoomInFailedDirectory
    )
}

/// The invariants whose violation means that the mutant was found for what it is.
#[must_use]
pub fn expected(mutant: Mutant) -> &'static [Invariant] {
    match mutant {
        // What was promised and never synced is gone after a power cut: it is missing, its offset holds another record, a reader's
        // high watermark is back below it, or its producer, which owes nothing before it, is told of a hole.
        Mutant::AckBeforeSync => &[
            Invariant::Lost,
            Invariant::InconsistentOffset,
            Invariant::HighWatermarkRegressed,
            Invariant::Order,
        ],
        // The same of a whole file. The metadata log's are files too: a topic that was created is not there. Where the node
        // needs the file to start, it gives up.
        Mutant::ForgetDirectorySync => &[
            Invariant::Lost,
            Invariant::InconsistentOffset,
            Invariant::HighWatermarkRegressed,
            Invariant::Replay,
            Invariant::NodeInvariant,
        ],
        // Bytes that were torn are served as records, or, where the node looks again when it reads them, they stand for ever
        // between readers and what was acknowledged behind them.
        Mutant::SkipTornTailCheck => &[Invariant::Altered, Invariant::Damaged],
        // A batch that nobody waits for any more goes where another one was to go: a record stands where it was not sent to,
        // or at the offset that the other one's sender was told, or its producer's sequence is used up by it. What the completion
        // was for may wait for ever.
        Mutant::AcceptStaleToken => &[
            Invariant::Altered,
            Invariant::InconsistentOffset,
            Invariant::Duplicate,
            Invariant::Order,
            Invariant::Progress,
        ],
        // A retry is appended again, or what follows is out of sequence.
        Mutant::ForgetProducerState
        | Mutant::ForgetProducersBelowStart
        | Mutant::ForgetProducersOfLostSnapshot => &[Invariant::Duplicate, Invariant::Order],
        Mutant::ServeAboveHighWatermark => &[Invariant::AboveHighWatermark],
        Mutant::DropMetadataRecordAtReplay => &[Invariant::Replay],
        Mutant::TimeIndexLies => &[Invariant::TimestampLookup],
        // Damage is cut as a torn tail, without a word.
        Mutant::ForgetSyncedWhenOffline | Mutant::RetireFrontierTooSoon => &[
            Invariant::Lost,
            Invariant::InconsistentOffset,
            Invariant::HighWatermarkRegressed,
        ],
        // Deleted records are back after a power cut, although the client was told.
        Mutant::TellStartBeforeCheckpoint | Mutant::ForgetStartWhileRemoving => {
            &[Invariant::Undeleted]
        }
        // After a crash the log of a topic that took a deleted one's name is held to what the other had, and is out of reach.
        Mutant::MakeBeforeNamesakeIsForgotten => &[Invariant::Progress, Invariant::Lost],
        // What a life read from the page cache after a failed sync is gone after a power cut.
        Mutant::TrustPageCache => &[
            Invariant::Lost,
            Invariant::InconsistentOffset,
            Invariant::HighWatermarkRegressed,
            Invariant::Replay,
            Invariant::Order,
            Invariant::NodeInvariant,
        ],
        // What was acknowledged is behind a segment that was taken back.
        Mutant::KeepRolledBackSegment => &[
            Invariant::Lost,
            Invariant::Damaged,
            Invariant::PollSkip,
            Invariant::Progress,
        ],
        // No topic of the simulator is flushed loosely.
        Mutant::OpenOverLostEpochs => &[],
        // A topic has a part of its partitions, and whoever asks for the others waits for ever.
        Mutant::EndOpenTransaction => &[Invariant::Replay, Invariant::Progress],
        // A topic that was said to be there is not, or the other way round; a producer id is given out twice.
        Mutant::AnswerUncommittedMetadata => &[Invariant::Replay],
        // A retry of what was refused is acknowledged as a duplicate of something that is not there.
        Mutant::KeepRefusedSequence => &[
            Invariant::Lost,
            Invariant::InconsistentOffset,
            Invariant::Order,
        ],
        // Rot is cut as a torn tail, or taken for the end.
        Mutant::LowerRecoveryPoint | Mutant::TrustMarkerOfShorterLog => &[
            Invariant::Lost,
            Invariant::InconsistentOffset,
            Invariant::HighWatermarkRegressed,
        ],
        // The log of a partition is nobody's after a power cut.
        Mutant::TrustUnsyncedPartitionMetadata => &[
            Invariant::Lost,
            Invariant::InconsistentOffset,
            Invariant::HighWatermarkRegressed,
            Invariant::Progress,
        ],
        // The node gives up on a disk that is only full.
        Mutant::StopFailsWithoutRoom | Mutant::SealTwiceAtOnce => &[Invariant::NodeInvariant],
        // No client of the simulator asks for the end of a leader's epoch, or can know what became of a batch without an answer.
        Mutant::MarkCleanWithoutEpochs
        | Mutant::DropRequestInWork
        | Mutant::AppendBehindLostAnswer
        // Nobody takes the simulated node's metadata away from it.
        | Mutant::DeleteStray => &[],
        Mutant::TrustIndexesAtRecoveryPoint | Mutant::KeepLookupBound => {
            &[Invariant::TimestampLookup]
        }
        // What failed is written to.
        Mutant::AppendToFailedDirectory | Mutant::DeleteInFailedDirectory => &[Invariant::Boundary],
        // A stop never ends.
        Mutant::StopWaitsForFailedDirectory | Mutant::WaitForRoomInFailedDirectory => {
            &[Invariant::Progress]
        }
    }
}
