//! Coverage marks: names for rare branches, so that a run can report which of them it reached.
//!
//! A mark is an event like any other ([`crate::event::Event::Mark`] carries it); the simulator counts them, production ignores them.

/// A rare branch worth proving that some scenario reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// Recovery cut a damaged tail that nothing had promised.
    TornTailCut,
    /// Recovery found damage below the durable frontier and took the partition offline.
    RotDetected,
    /// An index was missing or wrong and was rebuilt.
    IndexRebuilt,
    /// A completion arrived for something that no longer waits.
    StaleCompletion,
    /// A retried batch of an idempotent producer was answered with its first offset.
    DuplicateBatch,
    /// A batch came out of sequence.
    OutOfOrderSequence,
    /// A producer's epoch was fenced.
    ProducerFenced,
    /// A segment rolled.
    SegmentRolled,
    /// Retention removed a segment.
    RetentionDeletedSegment,
    /// One sync round covered appends of several partitions.
    GroupCommit,
    /// A fetch waited and was answered by an append.
    FetchWokenByAppend,
    /// A fetch waited until its time was over.
    FetchTimedOut,
    /// A fetch session answered with fewer partitions than it holds.
    IncrementalFetch,
    /// A directory failed and was fenced.
    DirectoryFenced,
    /// A connection was paused because a budget was spent.
    ConnectionPaused,
    /// A frame was refused.
    FrameRejected,
    /// The clean-shutdown marker was found.
    CleanStart,
    /// No clean-shutdown marker: logs were scanned.
    UncleanStart,
    /// A disk was full.
    DiskFull,
    /// The frontier file was rotated.
    FrontierRotated,
    /// A creation took more than one batch of the metadata log.
    LargeCreation,
    /// A start aborted the metadata transaction that an earlier life left open.
    TransactionAborted,
}

impl Mark {
    /// Every mark.
    pub const ALL: [Mark; 22] = [
        Mark::TornTailCut,
        Mark::RotDetected,
        Mark::IndexRebuilt,
        Mark::StaleCompletion,
        Mark::DuplicateBatch,
        Mark::OutOfOrderSequence,
        Mark::ProducerFenced,
        Mark::SegmentRolled,
        Mark::RetentionDeletedSegment,
        Mark::GroupCommit,
        Mark::FetchWokenByAppend,
        Mark::FetchTimedOut,
        Mark::IncrementalFetch,
        Mark::DirectoryFenced,
        Mark::ConnectionPaused,
        Mark::FrameRejected,
        Mark::CleanStart,
        Mark::UncleanStart,
        Mark::DiskFull,
        Mark::FrontierRotated,
        Mark::LargeCreation,
        Mark::TransactionAborted,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_the_order_of_the_marks_and_whole() {
        for (nth, mark) in Mark::ALL.into_iter().enumerate() {
            assert_eq!(mark as usize, nth, "{mark:?}");
        }
        let last = Mark::ALL[Mark::ALL.len() - 1];
        // A mark that is added at the end must be added to the list too.
        match last {
            Mark::TransactionAborted => {}
            other => panic!("{other:?} is not the last"),
        }
    }
}
