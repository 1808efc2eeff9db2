# SPDX-License-Identifier: AGPL-3.0-or-later
"""Intents from Kafka over the real protocol: what happens to a topic, and to its broker."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from edgeagent.errors import EdgeAgentError, UnavailableError, UsageError
from edgeagent.intent.kafka import KafkaIntentSource
from edgeagent.intent.kafka_client import REFUSED_OPTIONS, Inspector
from edgeagent.intent.port import ABSENT, Access, Connection, Tls
from tests.support.kafka import OPTIONS, KafkaServer
from tests.support.recorder import Recorder

KEY = "/models/yolo/current"
PIN = "/models/yolo/pins/press-07"


@pytest.fixture
def server() -> Iterator[KafkaServer]:
    """A broker with an empty topic."""
    with KafkaServer() as server:
        yield server


@pytest.fixture
def source(server: KafkaServer) -> Iterator[KafkaIntentSource]:
    """A source on it that looks often at what the topic is."""
    source = KafkaIntentSource(
        [server.address],
        server.topic,
        Access(options=OPTIONS),
        check_every_s=(0.2, 0.5),
        backoff_s=(0.05, 0.5),
    )
    yield source
    source.close()


def watching(source: KafkaIntentSource) -> Recorder:
    """A watch of both keys."""
    seen = Recorder()
    source.watch([KEY, PIN], seen.on_entry, seen.on_connection)
    return seen


def test_only_the_last_record_of_a_key_is_reported_at_the_start(
    server: KafkaServer, source: KafkaIntentSource
) -> None:
    """However many stand before it, in whatever partition, between records that are nobody's business."""
    for n in range(20):
        server.write(KEY, b"v%d" % n, partition=0)
        server.write(b"\xff\xfe", b"not for us", partition=1)
        server.write("/models/other/current", b"v1", partition=n % 2)
    server.write(PIN, b"v7", partition=1)
    server.write(PIN, None, partition=1)
    seen = watching(source)
    seen.wait_count(2)
    server.write(KEY, b"last", partition=0)
    seen.wait_value(KEY, b"last")
    assert [(e.key, e.value) for e in seen.entries] == [(KEY, b"v19"), (PIN, None), (KEY, b"last")]
    assert seen.entries[1].revision == ABSENT
    assert seen.connections == [Connection(True)]


def test_a_key_that_moved_to_another_partition(server: KafkaServer, source: KafkaIntentSource) -> None:
    """As when partitions were added: what was written later counts, then and after a restart."""
    server.write(KEY, b"old", partition=1)
    server.write(KEY, b"new", partition=0)
    seen = watching(source)
    entry = seen.wait_value(KEY, b"new")
    server.write(KEY, b"newest", partition=1)
    assert seen.wait_value(KEY, b"newest").revision != entry.revision
    assert watching(source).wait_value(KEY, b"newest")


def test_gaps_that_transactions_leave(server: KafkaServer, source: KafkaIntentSource) -> None:
    """The last offsets of a partition are the marks of an aborted transaction: its records are no intent, and the end
    is found all the same."""
    server.write(KEY, b"v1", partition=0)
    producer = Producer({"bootstrap.servers": server.address, "transactional.id": "t", "log_level": 0})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(server.topic, b"v2", KEY, 1)
    producer.flush(20)
    producer.commit_transaction(20)
    seen = watching(source)
    seen.wait_value(KEY, b"v2")
    seen.wait_value(PIN, None)


def test_records_that_are_gone_at_the_beginning(server: KafkaServer, source: KafkaIntentSource) -> None:
    """The first offset isn't 0, and a partition may be empty although it counts on."""
    server.write(KEY, b"v1", partition=0)
    server.write(KEY, b"v2", partition=0)
    server.write(PIN, b"v3", partition=1)
    server.forget(0, 1)
    server.forget(1, 1)
    seen = watching(source)
    seen.wait_value(KEY, b"v2")
    seen.wait_value(PIN, None)
    assert len(seen.entries) == 2


def test_nothing_is_absent_before_the_end_was_reached(server: KafkaServer, source: KafkaIntentSource) -> None:
    """A broker that is away, or a topic that isn't there, says nothing about a key."""
    server.write(KEY, b"v1")
    server.down()
    seen = watching(source)
    assert "refused" in seen.wait_connected(False).why
    assert not seen.entries
    server.up()
    seen.wait_value(KEY, b"v1")
    seen.wait_value(PIN, None)
    assert seen.wait_connected(True) == Connection(True)


def test_a_broker_that_is_killed_and_comes_back(server: KafkaServer, source: KafkaIntentSource) -> None:
    """Said at once; what was written as soon as it was back is seen, and nothing is reported twice."""
    server.write(KEY, b"v1")
    seen = watching(source)
    seen.wait_value(PIN, None)
    server.down()
    seen.wait_connected(False)
    server.up()
    server.write(KEY, b"v2")
    seen.wait_value(KEY, b"v2")
    seen.wait_connected(True)
    assert [e.value for e in seen.entries] == [b"v1", None, b"v2"]


def test_a_broker_that_stands_still(server: KafkaServer, source: KafkaIntentSource) -> None:
    """Its connections stay open and say nothing: the source says that it hears nothing."""
    server.write(KEY, b"v1")
    seen = watching(source)
    seen.wait_value(PIN, None)
    server.freeze()
    assert seen.wait_connected(False).why
    server.thaw()
    server.write(KEY, b"v2")
    seen.wait_value(KEY, b"v2")
    assert [e.value for e in seen.entries] == [b"v1", None, b"v2"]


def test_a_topic_that_is_deleted_and_made_again(server: KafkaServer, source: KafkaIntentSource) -> None:
    """While it is gone nothing changes. Then its offsets begin anew, and the revisions are others all the same."""
    server.write(KEY, b"v1", partition=0)
    seen = watching(source)
    first = seen.wait_value(KEY, b"v1")
    server.delete()
    assert "does not exist" in seen.wait_connected(False).why
    assert seen.last_value(KEY) == b"v1"
    server.create()
    server.write(KEY, b"v1", partition=0)
    seen.wait(lambda: [e.value for e in seen.entries if e.key == KEY].count(b"v1") == 2)
    again = seen.last(KEY)
    assert again is not None
    assert again.revision != first.revision


def test_a_topic_that_is_made_again_in_an_instant(server: KafkaServer, source: KafkaIntentSource) -> None:
    """As many records as before: no offset tells, but the topic's id does."""
    server.write(KEY, b"v1", partition=0)
    seen = watching(source)
    seen.wait_value(KEY, b"v1")
    server.delete()
    server.create()
    server.write(KEY, b"v2", partition=0)
    seen.wait_value(KEY, b"v2")


def test_partitions_that_are_added(server: KafkaServer, source: KafkaIntentSource) -> None:
    """They are read like the first ones."""
    server.write(KEY, b"v1", partition=0)
    seen = watching(source)
    seen.wait_value(KEY, b"v1")
    server.delete()
    server.create(partitions=4)
    server.write(KEY, b"v2", partition=3)
    seen.wait_value(KEY, b"v2")


def test_a_topic_that_is_not_there_yet(server: KafkaServer, source: KafkaIntentSource) -> None:
    """It is not made by asking for it; when somebody makes it, it is read."""
    server.delete()
    seen = watching(source)
    assert "does not exist" in seen.wait_connected(False).why
    with pytest.raises(UnavailableError):
        source.put(KEY, b"v1")
    server.create()
    source.put(KEY, b"v1")
    seen.wait_value(KEY, b"v1")


def test_put_is_read_back(server: KafkaServer, source: KafkaIntentSource) -> None:
    """Also a value that is longer than an intent may be: what it means is decided elsewhere."""
    seen = watching(source)
    for value in (b"v1", b"", b"x" * 100_000):
        source.put(KEY, value)
        seen.wait_value(KEY, value)
    server.down()
    with pytest.raises(UnavailableError):
        source.put(KEY, b"v2")


def settings(policy: str) -> dict[str, Any]:
    """As the broker tells them."""
    entry = type("Entry", (), {"value": policy})
    return {"cleanup.policy": entry}


@pytest.mark.parametrize(
    ("policy", "warns"), [("delete", True), ("compact,delete", True), ("compact", False)]
)
def test_a_topic_that_is_not_compacted_is_said(server: KafkaServer, policy: str, warns: bool) -> None:
    """Its intents would vanish after a week. The mock broker tells no settings, so they are given here."""
    inspector = Inspector({"bootstrap.servers": server.address, "log_level": 0}, server.topic, 5.0)
    inspector._take_settings(settings(policy))
    assert ("cleanup.policy" in inspector.look()) is warns


@pytest.mark.parametrize("option", REFUSED_OPTIONS)
def test_options_that_would_break_the_reading_are_refused(option: str) -> None:
    """With the reason, and without a secret in the message."""
    with pytest.raises(UsageError) as refused:
        KafkaIntentSource(["b:9092"], "t", Access(options={option: "pa55word"}))
    assert REFUSED_OPTIONS[option] in str(refused.value)
    assert "pa55word" not in str(refused.value)


@pytest.mark.parametrize("topic", ["", ".", "..", "a/b", "ä", "x" * 250])
def test_names_that_are_no_topics(topic: str) -> None:
    """Kafka has rules for them."""
    with pytest.raises(UsageError):
        KafkaIntentSource(["b:9092"], topic)


def test_a_login_must_say_how(tmp_path: Path) -> None:
    """Else the client would connect without one, or fail with a word about Kerberos."""
    password = tmp_path / "password"
    password.write_text("pa55word")
    password.chmod(0o600)
    for options in ({}, {"security.protocol": "SASL_SSL"}, {"sasl.mechanism": "PLAIN"}):
        with pytest.raises(UsageError):
            KafkaIntentSource(["b:9092"], "t", Access("anna", password, options=options))
    source = KafkaIntentSource(
        ["b:9092"],
        "t",
        Access("anna", password, Tls(tmp_path / "ca.pem"), {"sasl.mechanism": "SCRAM-SHA-512"}),
    )
    config = source._client.config()
    assert (config["sasl.username"], config["sasl.password"]) == ("anna", "pa55word")
    assert (config["security.protocol"], config["ssl.ca.location"]) == ("SASL_SSL", str(tmp_path / "ca.pem"))


@pytest.mark.parametrize(
    "options", [{"no.such.option": 1}, {"security.protocol": "SSL", "ssl.ca.location": "/no/such/file"}]
)
def test_options_that_the_client_does_not_take_are_said(options: dict[str, str]) -> None:
    """By the status, since only the client knows them."""
    source = KafkaIntentSource(["127.0.0.1:9"], "t", Access(options=options))
    seen = watching(source)
    assert seen.wait_connected(False).why
    with pytest.raises(EdgeAgentError):
        source.put(KEY, b"v1")
    source.close()


def test_who_does_not_use_it_does_not_load_it() -> None:
    """Neither the node nor the registry of sources imports the client."""
    code = "import edgeagent.node, edgeagent.intent.url, sys; print('confluent_kafka' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "False"
