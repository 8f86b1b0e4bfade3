"""kafka-python without a group: creates topics, produces with acks=all in the codecs that need no further package, reads all back.

Usage: roundtrip.py BOOTSTRAP COUNT. Ends with an exception on the first difference.
"""

import sys

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

PARTITIONS = 3


def value(n):
    return b"value %d %s" % (n, b"z" * (n % 150))


def produce(bootstrap, topic, count, **settings):
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5, **settings)
    futures = [
        producer.send(topic, key=b"%d" % n, value=value(n), partition=n % PARTITIONS, headers=[("n", b"%d" % n)])
        for n in range(count)
    ]
    producer.flush(60)
    offsets = [future.get(timeout=60).offset for future in futures]
    producer.close()
    assert offsets == [n // PARTITIONS for n in range(count)], "offsets as acknowledged"


def consume(bootstrap, topic, count):
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, consumer_timeout_ms=20000)
    partitions = [TopicPartition(topic, p) for p in range(PARTITIONS)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    seen = {}
    for record in consumer:
        n = record.offset * PARTITIONS + record.partition
        assert n not in seen, "a record came twice"
        assert record.key == b"%d" % n and record.value == value(n) and list(record.headers) == [("n", b"%d" % n)], record
        seen[n] = True
        if len(seen) == count:
            break
    assert len(seen) == count, "only %d of %d records came" % (len(seen), count)
    ends = consumer.end_offsets(partitions)
    assert sum(ends.values()) == count, ends
    assert set(consumer.beginning_offsets(partitions).values()) == {0}
    consumer.close()


def main():
    bootstrap, count = sys.argv[1], int(sys.argv[2])
    cases = {
        "plain": dict(enable_idempotence=False),
        "idempotent": dict(enable_idempotence=True),
        "gzip": dict(compression_type="gzip"),
        "none": dict(compression_type=None),
    }
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(name=name, num_partitions=PARTITIONS, replication_factor=1) for name in cases])
    for name, settings in cases.items():
        produce(bootstrap, name, count, **settings)
        consume(bootstrap, name, count)
        print(name + ": came back")
    assert set(cases) <= set(admin.list_topics())
    admin.close()


if __name__ == "__main__":
    main()
