//! Each rule of the judge fires on a small bad history, and stays silent on the good one beside it.

use super::*;

const T: Tp = Tp { topic: 0, index: 0 };

/// A judge, an idempotent producer and `count` records of it, tried once, with timestamps 100, 101, …
fn with_records(idempotent: bool, count: i64) -> (Judge, Vec<RecordId>) {
    let mut judge = Judge::new();
    judge.creating(0, 1, TopicRules::default());
    judge.created(0, 1);
    let producer = judge.add_producer(idempotent, true, Compression::None);
    let ids: Vec<RecordId> = (0..count)
        .map(|nth| judge.sends(producer, T, 100 + nth, 20))
        .collect();
    judge.attempts(&ids);
    (judge, ids)
}

/// A record as a good broker hands it out.
fn polled(offset: i64, id: Option<RecordId>, timestamp: i64) -> Polled {
    Polled {
        offset,
        id,
        timestamp,
        codec: Compression::None,
        log_append_time: false,
        leader_epoch: 0,
    }
}

fn poll(judge: &mut Judge, from: i64, high_watermark: i64, ids: &[RecordId]) {
    let records = (from..)
        .zip(ids)
        .map(|(offset, id)| {
            let send = judge.producers[id.producer as usize].sends[id.nth as usize];
            polled(offset, Some(*id), send.timestamp)
        })
        .collect();
    let bounds = judge.bounds(T);
    judge.polled(
        "c0",
        &Poll {
            tp: T,
            from,
            bounds,
            high_watermark,
            records,
        },
    );
}

fn broken(judge: &Judge) -> Option<Invariant> {
    judge.violation().map(|violation| violation.invariant)
}

#[test]
fn a_good_history_is_good() {
    let (mut judge, ids) = with_records(true, 4);
    judge.acked(&ids[..2], T, Some(0), -1);
    poll(&mut judge, 0, 2, &ids[..2]);
    judge.process_crashed();
    judge.attempts(&ids[2..]);
    judge.acked(&ids[2..], T, Some(2), -1);
    judge.power_failed();
    poll(&mut judge, 2, 4, &ids[2..]);
    judge.read_to_end(T, 0, 4);
    judge.finish();
    assert_eq!(judge.violation(), None);
    assert!(judge.operations() >= 4);
}

#[test]
fn what_acks_all_promised_must_survive() {
    let (mut judge, ids) = with_records(true, 2);
    judge.acked(&ids, T, Some(0), -1);
    judge.power_failed();
    poll(&mut judge, 0, 1, &ids[..1]);
    assert_eq!(broken(&judge), Some(Invariant::Lost));
}

#[test]
fn what_a_consumer_has_read_must_survive() {
    let (mut judge, ids) = with_records(true, 2);
    poll(&mut judge, 0, 2, &ids);
    judge.power_failed();
    judge.read_to_end(T, 0, 1);
    assert_eq!(broken(&judge), Some(Invariant::Lost));
}

#[test]
fn acks_one_survives_a_crash_and_not_a_power_cut() {
    let (mut judge, ids) = with_records(true, 1);
    judge.acked(&ids, T, Some(0), 1);
    let mut cut = judge.clone();
    judge.process_crashed();
    judge.read_to_end(T, 0, 0);
    judge.finish();
    assert_eq!(broken(&judge), Some(Invariant::Lost));
    cut.power_failed();
    cut.read_to_end(T, 0, 0);
    cut.finish();
    assert_eq!(cut.violation(), None);
}

#[test]
fn one_offset_holds_one_record() {
    let (mut judge, ids) = with_records(true, 2);
    poll(&mut judge, 0, 1, &ids[..1]);
    judge.acked(&ids[1..], T, Some(0), 1);
    assert_eq!(broken(&judge), Some(Invariant::InconsistentOffset));
}

#[test]
fn an_offset_that_only_acks_one_knew_may_be_used_again_after_a_power_cut() {
    let (mut judge, ids) = with_records(false, 2);
    judge.acked(&ids[..1], T, Some(0), 1);
    judge.power_failed();
    judge.acked(&ids[1..], T, Some(0), -1);
    assert_eq!(judge.violation(), None);
}

#[test]
fn duplicates_need_a_plain_producer_that_retried() {
    let (mut judge, ids) = with_records(true, 1);
    judge.attempts(&ids);
    poll(&mut judge, 0, 2, &[ids[0], ids[0]]);
    assert_eq!(broken(&judge), Some(Invariant::Duplicate));

    let (mut judge, ids) = with_records(false, 1);
    poll(&mut judge, 0, 2, &[ids[0], ids[0]]);
    assert_eq!(broken(&judge), Some(Invariant::Duplicate));

    let (mut judge, ids) = with_records(false, 1);
    judge.attempts(&ids);
    poll(&mut judge, 0, 2, &[ids[0], ids[0]]);
    assert_eq!(judge.violation(), None);
}

#[test]
fn records_of_one_producer_keep_their_order() {
    let (mut judge, ids) = with_records(true, 2);
    poll(&mut judge, 0, 2, &[ids[1], ids[0]]);
    judge.audit();
    assert_eq!(broken(&judge), Some(Invariant::Order));
}

#[test]
fn polls_are_dense_and_below_the_high_watermark() {
    let (mut judge, ids) = with_records(true, 2);
    let record = |offset, id| polled(offset, Some(id), 100);
    let mut skip = judge.clone();
    let mut answer = Poll {
        tp: T,
        from: 0,
        bounds: Bounds::default(),
        high_watermark: 5,
        records: vec![record(1, ids[0])],
    };
    skip.polled("c0", &answer);
    assert_eq!(broken(&skip), Some(Invariant::PollSkip));
    answer.high_watermark = 0;
    answer.records = vec![record(0, ids[0])];
    judge.polled("c0", &answer);
    assert_eq!(broken(&judge), Some(Invariant::AboveHighWatermark));
}

#[test]
fn a_high_watermark_does_not_go_back() {
    let mut judge = Judge::new();
    judge.high_watermarks("c0", T, 5, 5);
    assert_eq!(judge.violation(), None);
    judge.high_watermarks("c0", T, 5, 4);
    assert_eq!(broken(&judge), Some(Invariant::HighWatermarkRegressed));
}

#[test]
fn what_was_refused_is_nowhere() {
    let (mut judge, ids) = with_records(true, 1);
    judge.refused(&ids);
    poll(&mut judge, 0, 1, &ids);
    assert_eq!(broken(&judge), Some(Invariant::RefusedRead));
}

#[test]
fn values_and_timestamps_come_back_as_sent() {
    let (judge, ids) = with_records(true, 1);
    let cases = [
        (None, 100),
        (Some(ids[0]), 99),
        (
            Some(RecordId {
                producer: 7,
                nth: 0,
            }),
            100,
        ),
    ];
    for (id, timestamp) in cases {
        let mut judge = judge.clone();
        let answer = Poll {
            tp: T,
            from: 0,
            bounds: Bounds::default(),
            high_watermark: 1,
            records: vec![polled(0, id, timestamp)],
        };
        judge.polled("c0", &answer);
        assert_eq!(broken(&judge), Some(Invariant::Altered));
    }
}

#[test]
fn a_lookup_names_the_first_record_that_is_not_older() {
    let (mut judge, ids) = with_records(true, 4);
    poll(&mut judge, 0, 4, &ids);
    let lookup = |target, answer| Lookup {
        tp: T,
        target,
        answer,
        floor: 4,
        delete_limit: 0,
    };
    let good = [
        lookup(Target::AtLeast(102), Some((2, 102))),
        lookup(Target::AtLeast(0), Some((0, 100))),
        lookup(Target::AtLeast(104), None),
        lookup(Target::Greatest, Some((3, 103))),
    ];
    for lookup in good {
        let mut judge = judge.clone();
        judge.looked_up(lookup);
        assert_eq!(judge.violation(), None, "{lookup:?}");
    }
    let bad = [
        lookup(Target::AtLeast(102), Some((3, 103))),
        lookup(Target::AtLeast(102), Some((1, 101))),
        lookup(Target::AtLeast(102), Some((2, 103))),
        lookup(Target::AtLeast(103), None),
        lookup(Target::Greatest, Some((2, 102))),
        lookup(Target::Greatest, None),
    ];
    for lookup in bad {
        let mut judge = judge.clone();
        judge.looked_up(lookup);
        assert_eq!(
            broken(&judge),
            Some(Invariant::TimestampLookup),
            "{lookup:?}"
        );
    }
}

#[test]
fn a_lookup_is_judged_again_when_more_is_known() {
    let (mut judge, ids) = with_records(true, 2);
    judge.looked_up(Lookup {
        tp: T,
        target: Target::AtLeast(100),
        answer: Some((1, 101)),
        floor: 0,
        delete_limit: 0,
    });
    assert_eq!(judge.violation(), None);
    poll(&mut judge, 0, 2, &ids);
    judge.audit();
    assert_eq!(broken(&judge), Some(Invariant::TimestampLookup));
}

#[test]
fn acknowledged_records_are_seen_in_the_end() {
    let (mut judge, ids) = with_records(true, 2);
    judge.acked(&ids[..1], T, Some(0), -1);
    judge.acked(&ids[1..], T, None, -1);
    poll(&mut judge, 0, 1, &ids[..1]);
    judge.read_to_end(T, 0, 1);
    judge.finish();
    assert_eq!(broken(&judge), Some(Invariant::Lost));
}

#[test]
fn deleted_records_may_be_gone_and_others_not() {
    let (mut judge, ids) = with_records(true, 2);
    judge.acked(&ids, T, Some(0), -1);
    judge.may_delete(T, 1);
    let mut bad = judge.clone();
    judge.read_to_end(T, 1, 2);
    judge.finish();
    assert_eq!(judge.violation(), None);
    bad.read_to_end(T, 2, 2);
    assert_eq!(broken(&bad), Some(Invariant::Lost));
}

#[test]
fn what_was_said_to_be_deleted_is_gone_for_ever() {
    let (mut judge, ids) = with_records(true, 3);
    judge.acked(&ids, T, Some(0), -1);
    judge.may_delete(T, 2);
    let before = judge.bounds(T);
    judge.records_deleted(T, 2);
    judge.power_failed();
    let mut good = judge.clone();
    good.begins("who asked before", T, 0, before);
    poll(&mut good, 2, 3, &ids[2..]);
    good.read_to_end(T, 2, 3);
    assert_eq!(good.violation(), None);
    let mut read = judge.clone();
    poll(&mut read, 1, 3, &ids[1..]);
    assert_eq!(broken(&read), Some(Invariant::Undeleted));
    judge.read_to_end(T, 1, 3);
    assert_eq!(broken(&judge), Some(Invariant::Undeleted));
}

#[test]
fn topics_are_listed_as_they_were_acknowledged() {
    let mut judge = Judge::new();
    judge.creating(1, 2, TopicRules::default());
    judge.listed("a0", &BTreeMap::from([(1, 2)]), &judge.expected_topics());
    assert_eq!(judge.violation(), None, "an unacknowledged topic may exist");
    let expected = judge.expected_topics();
    let mut missing = judge.clone();
    missing.listed("a0", &BTreeMap::new(), &expected);
    assert_eq!(broken(&missing), Some(Invariant::Replay));
    let mut shrunk = judge.clone();
    shrunk.listed("a0", &BTreeMap::from([(1, 1)]), &expected);
    assert_eq!(broken(&shrunk), Some(Invariant::Replay));
    let mut invented = judge.clone();
    invented.listed("a0", &BTreeMap::from([(1, 2), (9, 1)]), &expected);
    assert_eq!(broken(&invented), Some(Invariant::Replay));
    judge.deleting(1);
    judge.listed("a0", &BTreeMap::new(), &expected);
    assert_eq!(judge.violation(), None, "its deletion may have happened");
    judge.deleted(1);
    judge.listed("a0", &BTreeMap::from([(1, 2)]), &judge.expected_topics());
    assert_eq!(broken(&judge), Some(Invariant::Replay));
}

/// A judge whose topic has `rules`, and records as [`with_records`] has them.
fn with_rules(rules: TopicRules, codec: Compression, count: i64) -> (Judge, Vec<RecordId>) {
    let mut judge = Judge::new();
    judge.creating(0, 1, rules);
    judge.created(0, 1);
    let producer = judge.add_producer(true, true, codec);
    let ids: Vec<RecordId> = (0..count)
        .map(|nth| judge.sends(producer, T, 100 + nth, 20))
        .collect();
    judge.attempts(&ids);
    (judge, ids)
}

fn read_one(judge: &mut Judge, record: Polled) {
    judge.polled(
        "c0",
        &Poll {
            tp: T,
            from: record.offset,
            bounds: Bounds::default(),
            high_watermark: record.offset + 1,
            records: vec![record],
        },
    );
}

#[test]
fn batches_are_compressed_as_they_were_sent_or_as_the_topic_says() {
    let lz4 = TopicRules {
        compression: Some(Compression::Lz4),
        ..TopicRules::default()
    };
    for (rules, sent, read, good) in [
        (
            TopicRules::default(),
            Compression::Gzip,
            Compression::Gzip,
            true,
        ),
        (
            TopicRules::default(),
            Compression::Gzip,
            Compression::None,
            false,
        ),
        (lz4, Compression::Gzip, Compression::Lz4, true),
        (lz4, Compression::Gzip, Compression::Gzip, false),
    ] {
        let (mut judge, ids) = with_rules(rules, sent, 1);
        let codec = read;
        let record = Polled {
            codec,
            ..polled(0, Some(ids[0]), 100)
        };
        read_one(&mut judge, record);
        let wanted = (!good).then_some(Invariant::Altered);
        assert_eq!(broken(&judge), wanted, "{sent:?} {read:?}");
    }
}

#[test]
fn an_append_time_is_told_as_one_and_does_not_change() {
    let rules = TopicRules {
        log_append_time: true,
        ..TopicRules::default()
    };
    let at = |id, timestamp| Polled {
        log_append_time: true,
        ..polled(0, Some(id), timestamp)
    };
    let (mut judge, ids) = with_rules(rules, Compression::None, 1);
    judge.stamped(ids[0], 7000);
    read_one(&mut judge, at(ids[0], 7000));
    assert_eq!(judge.violation(), None);
    let mut other = judge.clone();
    read_one(&mut other, at(ids[0], 7001));
    assert_eq!(broken(&other), Some(Invariant::Altered));
    // The producer's own time where the broker's is due.
    read_one(&mut judge, polled(0, Some(ids[0]), 100));
    assert_eq!(broken(&judge), Some(Invariant::Altered));
}

#[test]
fn retention_takes_what_is_old_or_too_much_and_nothing_else() {
    let by_time = TopicRules {
        retention_ms: Some(1000),
        ..TopicRules::default()
    };
    let (mut judge, ids) = with_rules(by_time, Compression::None, 3);
    poll(&mut judge, 0, 3, &ids);
    let mut soon = judge.clone();
    soon.broker_wall(1100);
    soon.begins("c0", T, 1, Bounds::default());
    assert_eq!(
        broken(&soon),
        Some(Invariant::Lost),
        "it is 1000 ms old, not more"
    );
    judge.broker_wall(1101);
    judge.begins("c0", T, 1, Bounds::default());
    assert_eq!(judge.violation(), None);
    judge.begins("c0", T, 2, Bounds::default());
    assert_eq!(
        broken(&judge),
        Some(Invariant::Lost),
        "the next one is younger"
    );

    let by_size = TopicRules {
        retention_bytes: Some(300),
        ..TopicRules::default()
    };
    let (mut judge, ids) = with_rules(by_size, Compression::None, 4);
    poll(&mut judge, 0, 4, &ids);
    judge.begins("c0", T, 2, Bounds::default());
    assert_eq!(
        judge.violation(),
        None,
        "two records of at most 180 bytes are left"
    );
    judge.begins("c0", T, 3, Bounds::default());
    assert_eq!(broken(&judge), Some(Invariant::Lost), "one is too few");
}

#[test]
fn leader_epochs_ascend_and_end_where_the_next_begins() {
    let (mut judge, ids) = with_records(true, 3);
    let at = |offset: i64, leader_epoch| Polled {
        leader_epoch,
        ..polled(offset, Some(ids[offset as usize]), 100 + offset)
    };
    read_one(&mut judge, at(0, 0));
    read_one(&mut judge, at(1, 2));
    let mut back = judge.clone();
    read_one(&mut back, at(2, 1));
    assert_eq!(broken(&back), Some(Invariant::LeaderEpoch));
    read_one(&mut judge, at(2, 2));
    assert_eq!(judge.violation(), None);
    for (asked, told, good) in [
        ((0, 0), (0, 1), true),
        ((0, 0), (0, 2), false),
        ((2, 2), (2, 3), true),
        ((2, 2), (2, 2), false),
        ((2, 2), (-1, -1), false),
    ] {
        let mut judge = judge.clone();
        judge.epoch_ended("c0", T, asked, told);
        let wanted = (!good).then_some(Invariant::LeaderEpoch);
        assert_eq!(broken(&judge), wanted, "{asked:?} {told:?}");
    }
}

#[test]
fn a_producer_with_several_requests_in_flight_keeps_the_order_of_what_it_sent_once() {
    for (attempts, good) in [(1, false), (2, true)] {
        let mut judge = Judge::new();
        judge.creating(0, 1, TopicRules::default());
        judge.created(0, 1);
        let producer = judge.add_producer(false, false, Compression::None);
        let ids: Vec<RecordId> = (0..2)
            .map(|nth| judge.sends(producer, T, 100 + nth, 20))
            .collect();
        for _ in 0..attempts {
            judge.attempts(&ids[..1]);
        }
        judge.attempts(&ids[1..]);
        judge.acked(&ids[1..], T, Some(0), -1);
        judge.acked(&ids[..1], T, Some(1), -1);
        judge.audit();
        let wanted = (!good).then_some(Invariant::Order);
        assert_eq!(broken(&judge), wanted, "{attempts} attempts");
    }
}

#[test]
fn a_producer_id_is_given_out_once() {
    let mut judge = Judge::new();
    judge.producer_id(1);
    judge.producer_id(2);
    assert_eq!(judge.violation(), None);
    judge.producer_id(1);
    assert_eq!(broken(&judge), Some(Invariant::Replay));
}

#[test]
fn a_topic_that_has_the_name_of_a_deleted_one_has_none_of_its_records() {
    let next = Tp {
        topic: next_of_name(T.topic),
        index: 0,
    };
    let (mut judge, ids) = with_records(true, 2);
    judge.acked(&ids[..1], T, Some(0), -1);
    judge.deleting(T.topic);
    judge.deleted(T.topic);
    judge.creating(next.topic, 1, TopicRules::default());
    judge.created(next.topic, 1);
    assert_eq!(judge.successor(T.topic), Some(next.topic));
    let read = |judge: &mut Judge, id, timestamp| {
        judge.polled(
            "c0",
            &Poll {
                tp: next,
                from: 0,
                bounds: Bounds::default(),
                high_watermark: 1,
                records: vec![polled(0, Some(id), timestamp)],
            },
        );
    };
    // Nobody knows what became of this one: sent by name, it may come late.
    let mut late = judge.clone();
    read(&mut late, ids[1], 101);
    assert_eq!(late.violation(), None);
    read(&mut judge, ids[0], 100);
    assert_eq!(broken(&judge), Some(Invariant::Altered));
}
