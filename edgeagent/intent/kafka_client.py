# SPDX-License-Identifier: AGPL-3.0-or-later
"""Clients of a Kafka cluster: how they are made from the configuration, and what their errors mean here."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any

import confluent_kafka as kafka
import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]  # as documented

from edgeagent.errors import UnavailableError, UsageError
from edgeagent.intent.port import Access
from edgeagent.intent.watching import WatchEnded

log = structlog.get_logger(__name__)

Option = str | int | float | bool

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
    "ssl.engine.location": "it would load foreign code into the node",
}
"""Options of the client that would break the reading, with the reason."""

READ_AGAIN = (
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_ID,
    KafkaError.INCONSISTENT_TOPIC_ID,
    KafkaError._LOG_TRUNCATION,
)
"""Errors which say that the topic isn't what was read before."""


class Client:
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
            "socket.timeout.ms": 3000,
            "socket.connection.setup.timeout.ms": 2000,
            "reconnect.backoff.max.ms": 1000,
            "log_level": 0,  # what is wrong is said by the status, and by our own log
        }
        if self._access.username and self._access.password_file:
            config["sasl.username"] = self._access.username
            config["sasl.password"] = self._access.password()
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
        with translating(f"reading from {self.url}"):
            return kafka.Consumer(config)


class Inspector:
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


@contextmanager
def translating(what: str, todo: str = "") -> Generator[None]:
    """Raise the client's exceptions as ours."""
    try:
        yield
    except KafkaException as e:
        raise translate(what, e.args[0], todo) from e


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


def may_pass(error: KafkaError) -> bool:
    """Whether the same question may be answered a moment later."""
    return error.code() not in (*_OPERATORS_FAULT, *READ_AGAIN)


def translate(what: str, error: KafkaError, todo: str = "") -> UnavailableError | UsageError:
    """The client's error as ours. what: was being done; todo: if there is more to say than to look at the broker."""
    code = error.code()
    if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION):
        return UnavailableError(
            what, "the topic does not exist there", "create it, with cleanup.policy=compact"
        )
    if code in _OPERATORS_FAULT:
        return UsageError(what, error.str(), "see user, password file, permissions and options")
    return UnavailableError(what, error.str(), todo or "see whether a broker runs there and can be reached")
