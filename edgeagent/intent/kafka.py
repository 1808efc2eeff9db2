# SPDX-License-Identifier: AGPL-3.0-or-later
"""Intents from a compacted Kafka topic: the key of a record is the config key, a tombstone is a deleted key.

Every node needs every record, so partitions are assigned, no consumer group is joined and no offset is committed: the
topic is read from its beginning at each start, and followed from there. Offsets, partitions and what the topic is are
checked again all the time; whatever doesn't fit what was read before means: read everything again.
"""

from __future__ import annotations

import random
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, TypeVar
from weakref import WeakSet

import confluent_kafka as kafka
from confluent_kafka import KafkaError, KafkaException

from edgeagent.errors import UnavailableError, UsageError
from edgeagent.intent.kafka_client import READ_AGAIN, Client, Inspector, may_pass, translate, translating
from edgeagent.intent.port import ABSENT, Access, Connection, Entry, OnConnection, OnEntry, Watch
from edgeagent.intent.url import Address
from edgeagent.intent.watching import WatchEnded, WatchThread
from edgeagent.util.backoff import Backoff

T = TypeVar("T")

_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_POLL_S = 0.5  # bounds how long close() waits
_ASK_S = 1.0
_DOUBT_S = 2.0  # longest wait for a sign of life when all brokers seem to be down
_ERRORS = 50  # that are remembered: one broker of several may be away for months


def open_source(address: Address, access: Access) -> KafkaIntentSource:
    """See intent/url.py. Raises UsageError for a topic or an option that is refused."""
    return KafkaIntentSource(address.endpoints, address.path.removeprefix("/"), access)


class KafkaIntentSource:
    """Intents in `topic` of the cluster that is reached through `servers` ("host:port").

    access: the user is one of SASL; options are properties of librdkafka, but for those that kafka_client.py refuses.
    deadline_s: longest wait for an answer of the cluster (seconds).
    check_every_s: limits of the time between two looks at what the topic is (seconds).
    backoff_s: limits of the delay after the first and after many failures of a watch (seconds).
    Raises UsageError for a topic or an option that is refused.
    """

    def __init__(
        self,
        servers: Sequence[str],
        topic: str,
        access: Access | None = None,
        *,
        deadline_s: float = 5.0,
        check_every_s: tuple[float, float] = (10.0, 20.0),
        backoff_s: tuple[float, float] = (0.1, 2.0),
    ) -> None:
        self.url = f"kafka://{','.join(servers)}/{topic}"
        if not _TOPIC.fullmatch(topic):
            raise UsageError(
                f"config store {self.url}",
                f"{topic!r} is not a topic",
                "allowed: letters, digits, '.', '_' and '-', at most 249",
            )
        self._client = Client(self.url, servers, access or Access())
        self._topic = topic
        self._deadline_s = deadline_s
        self._check_every_s = check_every_s
        self._backoff_s = backoff_s
        self._watches: WeakSet[_KafkaWatch] = WeakSet()
        self._closed = False

    def watch(self, keys: Sequence[str], on_entry: OnEntry, on_connection: OnConnection) -> Watch:
        """See IntentSource.watch; `connected` says that the whole topic was read and is being followed.

        Raises UnavailableError after close.
        """
        self._check_open()
        watch = _KafkaWatch(
            self._client,
            self._topic,
            tuple(keys),
            (on_entry, on_connection),
            deadline_s=self._deadline_s,
            check_every_s=self._check_every_s,
            backoff=Backoff(*self._backoff_s),
        )
        self._watches.add(watch)
        watch.start()
        return watch

    def put(self, key: str, value: bytes) -> None:
        """Append a record, and wait until all replicas have it. Kafka has no compare-and-set: the last one counts.

        Raises UnavailableError; UsageError if the cluster refuses the record.
        """
        self._check_open()
        what, todo = f"writing {key} to {self.url}", "read the topic: it may have been written even so"
        failed: list[KafkaError | None] = []
        config = {
            **self._client.config(),
            "acks": "all",
            "partitioner": "murmur2_random",  # as Java's clients have it: a key stays in its partition
            "message.timeout.ms": int(2 * self._deadline_s * 1000),
        }
        with translating(what, todo):
            producer = kafka.Producer(config)
            self._find_topic(producer)
            producer.produce(
                self._topic, key=key.encode(), value=value, on_delivery=lambda error, _: failed.append(error)
            )
            producer.flush(3 * self._deadline_s)
        if not failed:
            raise UnavailableError(what, "no answer in time", todo)
        if failed[0] is not None:
            raise translate(what, failed[0], todo)

    def close(self) -> None:
        """End every watch. Idempotent."""
        self._closed = True
        for watch in list(self._watches):
            watch.close()

    def _find_topic(self, client: Any) -> None:
        found = client.list_topics(self._topic, timeout=self._deadline_s).topics[self._topic]
        if found.error is not None:
            raise KafkaException(found.error)

    def _check_open(self) -> None:
        if self._closed:
            raise UnavailableError(f"config store {self.url}", "it has been closed")


class _KafkaWatch(WatchThread):
    """Reads the topic from its beginning, then follows it; begins again when anything about it has changed."""

    def __init__(
        self,
        client: Client,
        topic: str,
        keys: tuple[str, ...],
        callbacks: tuple[OnEntry, OnConnection],
        *,
        deadline_s: float,
        check_every_s: tuple[float, float],
        backoff: Backoff,
    ) -> None:
        super().__init__(client.url, *callbacks, backoff)
        self._client = client
        self._topic = topic
        self._keys = {key.encode(): key for key in keys}
        self._deadline_s = deadline_s
        self._check_every_s = check_every_s
        self._errors: deque[KafkaError] = deque(maxlen=_ERRORS)

    def _interrupt(self) -> None:
        """Nothing to do: every wait is short."""

    def _follow(self) -> None:
        self._errors.clear()
        with closing(self._client.consumer(self._errors.append)) as consumer:
            partitions = self._partitions(consumer)
            inspector = Inspector(self._client.config(), self._topic, self._deadline_s)
            inspector.wait(_ASK_S)  # which topic it is, before anything of it is read
            ends = {p: self._offsets(consumer, p) for p in partitions}
            self._errors.clear()
            consumer.assign([kafka.TopicPartition(self._topic, p, kafka.OFFSET_BEGINNING) for p in ends])
            behind = {p: high for p, (low, high) in ends.items() if low < high}
            found = _Latest()
            while behind and not self._closed.is_set():
                self._take(consumer, found, behind)
                self._raise_errors(consumer)
            self._stay(consumer, found, inspector, partitions)

    def _stay(
        self, consumer: kafka.Consumer, found: _Latest, inspector: Inspector, partitions: list[int]
    ) -> None:
        """Report what was found, then each record that comes, until the topic is no longer what it was."""
        self._report_connection(Connection(True, inspector.look()))
        for key in self._keys.values():
            self._report_entry(found.entry(key))
        next_check = time.monotonic() + random.uniform(*self._check_every_s)
        while not self._closed.is_set():
            changed = self._take(consumer, found, {})
            if changed is not None:
                self._report_entry(found.entry(changed))
            self._raise_errors(consumer)
            self._report_connection(Connection(True, inspector.look()))
            if time.monotonic() >= next_check:
                if self._partitions(consumer) != partitions:
                    raise WatchEnded("the topic has other partitions")
                inspector.ask()
                next_check = time.monotonic() + random.uniform(*self._check_every_s)

    def _take(self, consumer: kafka.Consumer, found: _Latest, behind: dict[int, int]) -> str | None:
        """Wait for a message; the key that it is about, if that is one of ours.

        behind: where each partition ended when the reading began; whoever got there is taken out of it.
        """
        message = consumer.poll(_POLL_S)
        if message is None:
            return None
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        error = message.error()
        if error is not None and error.code() == KafkaError._PARTITION_EOF:
            # Offsets have gaps: what was compacted, aborted, or marks a transaction is never handed out.
            behind.pop(partition, None)
            return None
        if error is not None and error.code() in READ_AGAIN:
            raise WatchEnded(f"the topic is not what it was: {error.str()}")
        if error is not None:
            raise translate(f"reading from {self._url}", error)
        if offset + 1 >= behind.get(partition, 0):
            behind.pop(partition, None)
        key = self._keys.get(message.key() or b"")
        if key is not None:
            found.add(key, partition, offset, message.timestamp()[1], message.value())
        return key

    def _raise_errors(self, consumer: kafka.Consumer) -> None:
        """When no broker is connected any more: unless one answers now, that is the end of this reading."""
        if any(e.code() == KafkaError._ALL_BROKERS_DOWN or e.fatal() for e in self._errors):
            self._partitions(consumer, _DOUBT_S)
            self._errors.clear()

    def _partitions(self, consumer: kafka.Consumer, patience_s: float | None = None) -> list[int]:
        found = self._ask(consumer, lambda s: consumer.list_topics(self._topic, timeout=s), patience_s)
        topic = found.topics[self._topic]
        if topic.error is not None:
            raise translate(f"reading from {self._url}", topic.error)
        return sorted(topic.partitions)

    def _offsets(self, consumer: kafka.Consumer, partition: int) -> tuple[int, int]:
        """The first offset of a partition, and the one that the next record will get."""
        where = kafka.TopicPartition(self._topic, partition)
        low, high = self._ask(consumer, lambda s: consumer.get_watermark_offsets(where, timeout=s) or (0, -1))
        if high < 0:
            raise UnavailableError(f"reading from {self._url}", f"no answer about partition {partition}")
        return low, high

    def _ask(
        self, consumer: kafka.Consumer, question: Callable[[float], T], patience_s: float | None = None
    ) -> T:
        """The answer of the cluster, in steps that leave room for close. Raises UnavailableError, UsageError."""
        give_up = time.monotonic() + (self._deadline_s if patience_s is None else patience_s)
        while True:
            try:
                return question(_ASK_S)
            except KafkaException as e:
                if self._closed.is_set() or time.monotonic() >= give_up or not may_pass(e.args[0]):
                    consumer.poll(0)  # for the errors that tell more; this reading is over anyway
                    told = [x for x in self._errors if x.code() != KafkaError._ALL_BROKERS_DOWN]
                    raise translate(f"reading from {self._url}", told[-1] if told else e.args[0]) from e


class _Latest:
    """The newest record of each key. A key that stands in two partitions (one was added, or somebody partitions in
    another way) has the value with the later timestamp; in one partition the order of the offsets counts."""

    def __init__(self) -> None:
        self._records: dict[str, dict[int, tuple[int, int, bytes | None]]] = {}

    def add(self, key: str, partition: int, offset: int, timestamp: int, value: bytes | None) -> None:
        """Take a record; those of one partition come in order. timestamp: Unix milliseconds."""
        self._records.setdefault(key, {})[partition] = (timestamp, offset, value)

    def entry(self, key: str) -> Entry:
        """The key as it stands. The timestamp in the revision tells a topic from one of its name before it."""
        records = self._records.get(key)
        if not records:
            return Entry(key, None, ABSENT)
        partition = max(records, key=lambda p: (records[p][0], p))
        timestamp, offset, value = records[partition]
        if value is None:
            return Entry(key, None, ABSENT)
        return Entry(key, value, f"{partition}-{offset}-{timestamp}")
