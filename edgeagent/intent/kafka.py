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
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, wait
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

import confluent_kafka as kafka
import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]  # as documented

from edgeagent.errors import UnavailableError, UsageError
from edgeagent.intent.port import ABSENT, Access, Connection, Entry, OnConnection, OnEntry, Watch
from edgeagent.intent.url import Address
from edgeagent.intent.watching import WatchEnded, WatchThread
from edgeagent.util.backoff import Backoff

log = structlog.get_logger(__name__)

T = TypeVar("T")
Option = str | int | float | bool

_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_POLL_S = 0.5  # bounds how long close() waits
_ASK_S = 1.0
_OURS = "edgeagent sets it: every node reads the whole topic, alone, and leaves nothing behind on the broker"
_SECRET = "a secret doesn't belong in the configuration"
REFUSED_OPTIONS = {
    "bootstrap.servers": "the brokers stand in the URL",
    "metadata.broker.list": "the brokers stand in the URL",
    "group.id": _OURS,
    "group.instance.id": _OURS,
    "group.protocol": _OURS,
    "partition.assignment.strategy": _OURS,
    "enable.auto.commit": _OURS,
    "enable.auto.offset.store": _OURS,
    "auto.offset.reset": _OURS,
    "enable.partition.eof": _OURS,
    "isolation.level": "what was not committed is no intent",
    "allow.auto.create.topics": "a misspelt topic would be created instead of reported",
    "acks": "an intent counts as written when all replicas have it",
    "sasl.username": "set username beside the URL",
    "sasl.password": f"{_SECRET}: set password_file beside the URL",
    "ssl.key.password": f"{_SECRET}: use a key file without password, readable for the node's user only",
    "ssl.key.pem": f"{_SECRET}: use ssl.key.location",
    "ssl.keystore.password": f"{_SECRET}: use ssl.key.location",
    "sasl.oauthbearer.client.secret": f"{_SECRET}: use another sasl.mechanism",
    "plugin.library.paths": "it would load foreign code into the node",
}
"""Options of the client that would break the reading, with the reason."""

_READ_AGAIN = (
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_ID,
    KafkaError.INCONSISTENT_TOPIC_ID,
    KafkaError._LOG_TRUNCATION,
)


def open_source(address: Address, access: Access) -> KafkaIntentSource:
    """See intent/url.py. Raises UsageError for a topic or an option that is refused."""
    return KafkaIntentSource(address.endpoints, address.path.removeprefix("/"), access)


class KafkaIntentSource:
    """Intents in `topic` of the cluster that is reached through `servers` ("host:port").

    access: the user is one of SASL; options are properties of librdkafka, but for REFUSED_OPTIONS.
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
        self._client = _Client(self.url, servers, access or Access())
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
        with _translated(what, todo):
            producer = kafka.Producer(config)
            self._find_topic(producer)
            producer.produce(
                self._topic, key=key.encode(), value=value, on_delivery=lambda error, _: failed.append(error)
            )
            producer.flush(3 * self._deadline_s)
        if not failed:
            raise UnavailableError(what, "no answer in time", todo)
        if failed[0] is not None:
            raise _error(what, failed[0], todo)

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


class _Client:
    """What all clients of a cluster are made from. Raises UsageError for an option that is refused."""

    def __init__(self, url: str, servers: Sequence[str], access: Access) -> None:
        for name in access.options:
            if why := REFUSED_OPTIONS.get(name):
                raise UsageError(f"config store {url}, option {name}", f"is refused: {why}", "leave it out")
        self.url = url
        self._servers = servers
        self._access = access
        self._options = self._security() | dict(access.options)
        sasl = str(self._options.get("security.protocol", "")).upper().startswith("SASL_")
        if access.username and not (sasl and {"sasl.mechanism", "sasl.mechanisms"} & set(self._options)):
            raise UsageError(
                f"config store {url}",
                "a user is given, but not how it logs in",
                "set the options security.protocol (SASL_SSL) and sasl.mechanism (such as SCRAM-SHA-512)",
            )

    def _security(self) -> dict[str, Option]:
        """What `tls` means, in the client's words."""
        tls = self._access.tls
        if tls is None:
            return {}
        files = {
            "ssl.ca.location": tls.ca_file,
            "ssl.certificate.location": tls.cert_file,
            "ssl.key.location": tls.key_file,
        }
        security: dict[str, Option] = {"security.protocol": "SASL_SSL" if self._access.username else "SSL"}
        return security | {name: str(path) for name, path in files.items() if path}

    def config(self) -> dict[str, Option]:
        """Properties of librdkafka. Raises UnavailableError when the password can't be read."""
        config: dict[str, Option] = {
            "bootstrap.servers": ",".join(self._servers),
            "client.id": "edgeagent",
            "allow.auto.create.topics": False,
            "socket.timeout.ms": 6000,
            "reconnect.backoff.max.ms": 1000,
            "log_level": 0,  # what is wrong is said by the status, and by our own log
        }
        if self._access.username and self._access.password_file:
            config["sasl.username"] = self._access.username
            config["sasl.password"] = _read_password(self._access.password_file)
        return config | self._options

    def consumer(self, on_error: Callable[[KafkaError], None]) -> kafka.Consumer:
        """Raises UsageError for an option that librdkafka doesn't take."""
        config = {
            "fetch.error.backoff.ms": 100,
            "queued.max.messages.kbytes": 2048,
            **self.config(),
            "group.id": "edgeagent-none",  # the client insists on one; nothing is ever joined or committed
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "error_cb": on_error,
        }
        with _translated(f"reading from {self.url}"):
            return kafka.Consumer(config)


class _KafkaWatch(WatchThread):
    """Reads the topic from its beginning, then follows it; begins again when anything about it has changed."""

    def __init__(
        self,
        client: _Client,
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
        self._errors: list[KafkaError] = []

    def _interrupt(self) -> None:
        """Nothing to do: every wait is short."""

    def _follow(self) -> None:
        self._errors.clear()
        with closing(self._client.consumer(self._errors.append)) as consumer:
            partitions = self._partitions(consumer)
            inspector = _Inspector(self._client.config(), self._topic, self._deadline_s)
            inspector.wait(_ASK_S)  # which topic it is, before anything of it is read
            ends = {p: self._offsets(consumer, p) for p in partitions}
            self._errors.clear()
            consumer.assign([kafka.TopicPartition(self._topic, p, kafka.OFFSET_BEGINNING) for p in ends])
            behind = {p: high for p, (low, high) in ends.items() if low < high}
            found = _Latest()
            while behind and not self._closed.is_set():
                self._take(consumer, found, behind)
                self._raise_errors(consumer)
            self._backoff.reset()
            self._stay(consumer, found, inspector, partitions)

    def _stay(
        self, consumer: kafka.Consumer, found: _Latest, inspector: _Inspector, partitions: list[int]
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
        if error is not None and error.code() in _READ_AGAIN:
            raise WatchEnded(f"the topic is not what it was: {error.str()}")
        if error is not None:
            raise _error(f"reading from {self._url}", error)
        if offset + 1 >= behind.get(partition, 0):
            behind.pop(partition, None)
        key = self._keys.get(message.key() or b"")
        if key is not None:
            found.add(key, partition, offset, message.timestamp()[1], message.value())
        return key

    def _raise_errors(self, consumer: kafka.Consumer) -> None:
        """When no broker is connected any more: unless one answers now, that is the end of this reading."""
        if any(e.code() == KafkaError._ALL_BROKERS_DOWN or e.fatal() for e in self._errors):
            self._partitions(consumer)
            self._errors.clear()

    def _partitions(self, consumer: kafka.Consumer) -> list[int]:
        topic = self._ask(consumer, lambda s: consumer.list_topics(self._topic, timeout=s)).topics[
            self._topic
        ]
        if topic.error is not None:
            raise _error(f"reading from {self._url}", topic.error)
        return sorted(topic.partitions)

    def _offsets(self, consumer: kafka.Consumer, partition: int) -> tuple[int, int]:
        """The first offset of a partition, and the one that the next record will get."""
        where = kafka.TopicPartition(self._topic, partition)
        low, high = self._ask(consumer, lambda s: consumer.get_watermark_offsets(where, timeout=s) or (0, -1))
        if high < 0:
            raise UnavailableError(f"reading from {self._url}", f"no answer about partition {partition}")
        return low, high

    def _ask(self, consumer: kafka.Consumer, question: Callable[[float], T]) -> T:
        """The answer of the cluster, in steps that leave room for close. Raises UnavailableError, UsageError."""
        give_up = time.monotonic() + self._deadline_s
        while True:
            try:
                return question(_ASK_S)
            except KafkaException as e:
                if self._closed.is_set() or time.monotonic() >= give_up or not _may_pass(e.args[0]):
                    consumer.poll(0)  # for the errors that tell more; this reading is over anyway
                    told = [x for x in self._errors if x.code() != KafkaError._ALL_BROKERS_DOWN]
                    raise _error(f"reading from {self._url}", told[-1] if told else e.args[0]) from e


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


class _Inspector:
    """What only the administrator's client is told: how the topic is cleaned up, and whether it is still the same one.

    Nothing waits for the answers, and nothing depends on them: old brokers don't know topic ids, and others don't
    tell the settings to everybody.
    """

    def __init__(self, config: dict[str, Option], topic: str, deadline_s: float) -> None:
        self._client = AdminClient(config)
        self._topic = topic
        self._deadline_s = deadline_s
        self._asked: list[tuple[Callable[[Any], None], Future[Any]]] = []
        self._topic_id = ""
        self._warning = ""
        self.ask()

    def ask(self) -> None:
        """Send the questions, unless some are still open."""
        if self._asked:
            return
        settings = ConfigResource(ConfigResource.Type.TOPIC, self._topic)
        named = kafka.TopicCollection([self._topic])
        for questions, take in (
            (
                self._client.describe_configs([settings], request_timeout=self._deadline_s),
                self._take_settings,
            ),
            (self._client.describe_topics(named, request_timeout=self._deadline_s), self._take_description),
        ):
            self._asked += [(take, future) for future in questions.values()]

    def wait(self, timeout_s: float) -> None:
        """Until the questions are answered, or for `timeout_s` seconds."""
        wait([future for _, future in self._asked], timeout_s)

    def look(self) -> str:
        """What is to be known of the topic, "" if all is well. Raises WatchEnded when it is another topic."""
        open_still = []
        for take, future in self._asked:
            if not future.done():
                open_still.append((take, future))
            elif future.exception() is None:
                take(future.result())
        self._asked = open_still
        return self._warning

    def _take_settings(self, settings: Any) -> None:
        policy = settings["cleanup.policy"].value
        warning = ""
        if "compact" not in policy or "delete" in policy:
            warning = f"topic {self._topic} has cleanup.policy={policy}: intents vanish by retention; set it to compact"
        if warning and warning != self._warning:
            log.warning("topic.not_compacted", topic=self._topic, cleanup_policy=policy)
        self._warning = warning

    def _take_description(self, description: Any) -> None:
        topic_id = str(description.topic_id)
        if self._topic_id not in ("", topic_id):
            raise WatchEnded("the topic was deleted and made again")
        self._topic_id = topic_id


def _read_password(path: Path) -> str:
    try:
        return path.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as e:
        raise UnavailableError("config store", f"can't read {path}: {e}") from e


@contextmanager
def _translated(what: str, todo: str = "") -> Generator[None]:
    try:
        yield
    except KafkaException as e:
        raise _error(what, e.args[0], todo) from e


_OPERATORS_FAULT = (
    KafkaError._INVALID_ARG,
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError._UNSUPPORTED_FEATURE,
)


def _may_pass(error: KafkaError) -> bool:
    return error.code() not in (*_OPERATORS_FAULT, *_READ_AGAIN)


def _error(what: str, error: KafkaError, todo: str = "") -> UnavailableError | UsageError:
    code = error.code()
    if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION):
        return UnavailableError(
            what, "the topic does not exist there", "create it, with cleanup.policy=compact"
        )
    if code in _OPERATORS_FAULT:
        return UsageError(what, error.str(), "see user, password file, permissions and options")
    return UnavailableError(what, error.str(), todo or "see whether a broker runs there and can be reached")
