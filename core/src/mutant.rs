//! Known bugs, put back on purpose, so that the simulator can be judged by whether it finds them.
//!
//! A mutant replaces one rule by a faulty one, at exactly the line whose rule it breaks, through [`Mutants::has`].
//! Only the simulator's constructor of a node can set one; the deployed constructor always passes [`Mutants::NONE`].

/// One rule that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutant {
    /// acks=all is answered when the append is written, not when it is synced. (KAFKA-10533, etcd #14370: acknowledge beyond the flushed offset.)
    AckBeforeSync,
    /// Recovery keeps a tail without checking its checksums.
    SkipTornTailCheck,
    /// A created or renamed file's directory is not synced before something relies on the file.
    ForgetDirectorySync,
    /// A completion is applied although what waited for it is gone and its slot belongs to another.
    AcceptStaleToken,
    /// Producer state starts empty after a restart.
    ForgetProducerState,
    /// Consumers read up to the log end, not to the high watermark.
    ServeAboveHighWatermark,
    /// Replay of the metadata log skips a record.
    DropMetadataRecordAtReplay,
    /// The time index names an offset that is too late.
    TimeIndexLies,
    /// An answer of the controller does not wait until the records that it rests on are committed.
    AnswerUncommittedMetadata,
    /// The producer state keeps the sequences of an append that was taken back because the disk was full.
    KeepRefusedSequence,
    /// The recovery point falls back to the base of a segment that is being sealed.
    LowerRecoveryPoint,
    /// `partition.metadata` has its name before its content is durable, and the next life believes it.
    TrustUnsyncedPartitionMetadata,
    /// A stop gives up where the metadata log finds no room, instead of ending without what was never committed.
    StopFailsWithoutRoom,
    /// The marker of a clean stop stands over a `leader-epoch-checkpoint` that found no room.
    MarkCleanWithoutEpochs,
    /// Of a client that has gone, nothing more is appended, not even the request in work.
    DropRequestInWork,
    /// Of a client that has gone, what stands behind the first answer that cannot be sent is appended, too.
    AppendBehindLostAnswer,
    /// Recovery believes the indexes of the segment that the recovery point is the end of.
    TrustIndexesAtRecoveryPoint,
    /// A lookup that waits for an index keeps the bound of its request.
    KeepLookupBound,
    /// A log of a failed directory takes appends until its turn to go out of service comes.
    AppendToFailedDirectory,
    /// A stop waits for the logs of a failed directory that are not out of service yet.
    StopWaitsForFailedDirectory,
    /// A deletion under way goes on in a directory that failed.
    DeleteInFailedDirectory,
    /// What found no room in a directory that then failed waits for it for ever.
    WaitForRoomInFailedDirectory,
    /// A start ends the metadata transaction that an earlier life left open, instead of aborting it. (KIP-868.)
    EndOpenTransaction,
    /// Of a log that goes offline a checkpoint keeps what the one before had, while the files that prove more are retired.
    ForgetSyncedWhenOffline,
    /// What was under way for a roll that a full disk took back goes on, and meets the next roll of the segment.
    SealTwiceAtOnce,
    /// Recovery without a snapshot forgets the producers of batches below the start of the log.
    ForgetProducersBelowStart,
    /// A clean start forgets the producers whose snapshot is damaged.
    ForgetProducersOfLostSnapshot,
    /// A clean start takes a log for whole that ends below its recovery point.
    TrustMarkerOfShorterLog,
    /// A log that no topic of the metadata has is deleted, whatever became of the metadata.
    DeleteStray,
    /// A deletion of records is told when any checkpoint, or the removal of any segment, is over.
    TellStartBeforeCheckpoint,
    /// A checkpoint leaves out the start of a log that a segment's name tells, while the one before it may still come back.
    ForgetStartWhileRemoving,
    /// A log is made while a checkpoint still speaks of an earlier log of its name.
    MakeBeforeNamesakeIsForgotten,
    /// A segment that a full disk took back may come back in a power cut.
    KeepRolledBackSegment,
    /// A frontier file goes with a checkpoint that was put together before it was retired.
    RetireFrontierTooSoon,
    /// A log takes appends while its file names leader epochs that were cut off.
    OpenOverLostEpochs,
    /// Recovery takes what it reads for something that a sync will write, although a sync failed before.
    TrustPageCache,
}

impl Mutant {
    /// Every mutant, in the order of the report.
    pub const ALL: [Mutant; 36] = [
        Mutant::AckBeforeSync,
        Mutant::SkipTornTailCheck,
        Mutant::ForgetDirectorySync,
        Mutant::AcceptStaleToken,
        Mutant::ForgetProducerState,
        Mutant::ServeAboveHighWatermark,
        Mutant::DropMetadataRecordAtReplay,
        Mutant::TimeIndexLies,
        Mutant::AnswerUncommittedMetadata,
        Mutant::KeepRefusedSequence,
        Mutant::LowerRecoveryPoint,
        Mutant::TrustUnsyncedPartitionMetadata,
        Mutant::StopFailsWithoutRoom,
        Mutant::MarkCleanWithoutEpochs,
        Mutant::DropRequestInWork,
        Mutant::AppendBehindLostAnswer,
        Mutant::TrustIndexesAtRecoveryPoint,
        Mutant::KeepLookupBound,
        Mutant::AppendToFailedDirectory,
        Mutant::StopWaitsForFailedDirectory,
        Mutant::DeleteInFailedDirectory,
        Mutant::WaitForRoomInFailedDirectory,
        Mutant::EndOpenTransaction,
        Mutant::ForgetSyncedWhenOffline,
        Mutant::SealTwiceAtOnce,
        Mutant::ForgetProducersBelowStart,
        Mutant::ForgetProducersOfLostSnapshot,
        Mutant::TrustMarkerOfShorterLog,
        Mutant::DeleteStray,
        Mutant::TellStartBeforeCheckpoint,
        Mutant::ForgetStartWhileRemoving,
        Mutant::MakeBeforeNamesakeIsForgotten,
        Mutant::KeepRolledBackSegment,
        Mutant::RetireFrontierTooSoon,
        Mutant::OpenOverLostEpochs,
        Mutant::TrustPageCache,
    ];

    /// The name that `sim mutants --only` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mutant::AckBeforeSync => "AckBeforeSync",
            Mutant::SkipTornTailCheck => "SkipTornTailCheck",
            Mutant::ForgetDirectorySync => "ForgetDirectorySync",
            Mutant::AcceptStaleToken => "AcceptStaleToken",
            Mutant::ForgetProducerState => "ForgetProducerState",
            Mutant::ServeAboveHighWatermark => "ServeAboveHighWatermark",
            Mutant::DropMetadataRecordAtReplay => "DropMetadataRecordAtReplay",
            Mutant::TimeIndexLies => "TimeIndexLies",
            Mutant::AnswerUncommittedMetadata => "AnswerUncommittedMetadata",
            Mutant::KeepRefusedSequence => "KeepRefusedSequence",
            Mutant::LowerRecoveryPoint => "LowerRecoveryPoint",
            Mutant::TrustUnsyncedPartitionMetadata => "TrustUnsyncedPartitionMetadata",
            Mutant::StopFailsWithoutRoom => "StopFailsWithoutRoom",
            Mutant::MarkCleanWithoutEpochs => "MarkCleanWithoutEpochs",
            Mutant::DropRequestInWork => "DropRequestInWork",
            Mutant::AppendBehindLostAnswer => "AppendBehindLostAnswer",
            Mutant::TrustIndexesAtRecoveryPoint => "TrustIndexesAtRecoveryPoint",
            Mutant::KeepLookupBound => "KeepLookupBound",
            Mutant::AppendToFailedDirectory => "AppendToFailedDirectory",
            Mutant::StopWaitsForFailedDirectory => "StopWaitsForFailedDirectory",
            Mutant::DeleteInFailedDirectory => "DeleteInFailedDirectory",
            Mutant::WaitForRoomInFailedDirectory => "WaitForRoomInFailedDirectory",
            Mutant::EndOpenTransaction => "EndOpenTransaction",
            Mutant::ForgetSyncedWhenOffline => "ForgetSyncedWhenOffline",
            Mutant::SealTwiceAtOnce => "SealTwiceAtOnce",
            Mutant::ForgetProducersBelowStart => "ForgetProducersBelowStart",
            Mutant::ForgetProducersOfLostSnapshot => "ForgetProducersOfLostSnapshot",
            Mutant::TrustMarkerOfShorterLog => "TrustMarkerOfShorterLog",
            Mutant::DeleteStray => "DeleteStray",
            Mutant::TellStartBeforeCheckpoint => "TellStartBeforeCheckpoint",
            Mutant::ForgetStartWhileRemoving => "ForgetStartWhileRemoving",
            Mutant::MakeBeforeNamesakeIsForgotten => "MakeBeforeNamesakeIsForgotten",
            Mutant::KeepRolledBackSegment => "KeepRolledBackSegment",
            Mutant::RetireFrontierTooSoon => "RetireFrontierTooSoon",
            Mutant::OpenOverLostEpochs => "OpenOverLostEpochs",
            Mutant::TrustPageCache => "TrustPageCache",
        }
    }
}

/// The mutant of this node, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mutants(Option<Mutant>);

impl Mutants {
    /// Every rule holds: what every deployed node has.
    pub const NONE: Mutants = Mutants(None);

    /// One rule broken. For the simulator.
    #[must_use]
    pub const fn only(mutant: Mutant) -> Mutants {
        Mutants(Some(mutant))
    }

    /// Is `rule` broken here?
    #[inline]
    #[must_use]
    pub fn has(self, rule: Mutant) -> bool {
        self.0 == Some(rule)
    }
}
