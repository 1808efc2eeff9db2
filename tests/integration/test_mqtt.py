# SPDX-License-Identifier: AGPL-3.0-or-later
"""The MQTT sink against a real mosquitto: killed and brought back, over TLS, with a wrong password."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.config import clear_text_secrets, parse_config
from edgeagent.errors import UsageError
from edgeagent.sinks.mqtt import SINK, MqttSinkConfig
from edgeagent.sinks.mqtt_client import MqttConnection
from edgeagent.sinks.queue import SinkHost, Sinks
from tests.support.certificates import Authority
from tests.support.mosquitto import Listener, Mosquitto, listening, program
from tests.support.sinks import record, records, until

LOGIN = ("allow_anonymous false", "password_file {folder}/users", "acl_file {folder}/acl")


@pytest.fixture
def open_sinks(tmp_path: Path) -> Callable[..., Sinks]:
    """The sinks of one pipeline, on an event loop."""

    def open_them(*configs: MqttSinkConfig) -> Sinks:
        return Sinks("line-1", configs, lambda behind: None, host=SinkHost("node-7", tmp_path / "sinks"))

    return open_them


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker with one user, who may write below edgeagent/node-7 only."""
    program()
    folder = tmp_path / "guarded"
    folder.mkdir()
    users = folder / "users"
    users.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(users), "line-1", "right-password"], check=True)
    (folder / "acl").write_text("user line-1\ntopic write edgeagent/node-7/#\n")
    (folder / "acl").chmod(0o600)
    with Mosquitto(folder, *(line.format(folder=folder) for line in LOGIN)) as broker:
        yield broker


def _password(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def _ids(listener: Listener) -> list[str]:
    return [json.loads(payload)["id"] for payload in listener.payloads("/line-1/detections")]


def _status(listener: Listener) -> list[bytes]:
    return listener.payloads("/line-1/status")


def test_a_broker_that_goes_away_and_comes_back_misses_nothing(
    tmp_path: Path, open_sinks: Callable[..., Sinks], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while records flow: each arrives, some perhaps twice under the same id; those who look see the state."""
    may_connect, keep = threading.Event(), MqttConnection.keep
    may_connect.set()
    monkeypatch.setattr(MqttConnection, "keep", lambda self: may_connect.wait() and keep(self))

    async def steps() -> None:
        with Mosquitto(tmp_path / "broker") as broker, listening(broker.port) as listener:
            sinks = open_sinks(MqttSinkConfig(url=broker.url))
            await until(lambda: _status(listener) == [b"online"])
            for r in records(0, 300):
                sinks.write(r)
            await until(lambda: sinks.status()["written"] > 30)
            broker.kill()
            for r in records(300, 300):
                sinks.write(r)
            await until(lambda: sinks.status()["errors"])
            may_connect.clear()  # not before the listener, whom the broker has forgotten
            broker.start()
            listener.wait_until_subscribed()
            may_connect.set()
            sinks.write(record(600))
            await until(lambda: sinks.status()["written"] == 601)
            assert (sinks.status()["queued"], sinks.status()["lost"]) == (0, 0)
            await until(lambda: sinks.status()["errors"] == {})
            # What the broker had acknowledged and had not handed on is gone with it: that is the broker's to keep.
            await until(lambda: len(set(_ids(listener))) >= 301)
            await sinks.close()
            await until(lambda: _status(listener)[-2:] == [b"online", b"offline"])
            assert {f"{n}" for n in range(300, 601)} <= {i.rpartition("/")[2] for i in _ids(listener)}

    asyncio.run(steps())


def _write_for_ever(url: str, folder: Path) -> None:
    async def steps() -> None:
        sinks = Sinks("line-1", [MqttSinkConfig(url=url)], print, host=SinkHost("node-7", folder))
        for r in records(0, 1000):
            sinks.write(r)
            if r.seq % 50 == 0:
                await asyncio.sleep(0.01)
        await until(lambda: sinks.status()["queued"] == 0)
        await asyncio.Event().wait()

    asyncio.run(steps())


def test_a_node_that_is_killed_leaves_the_rest_to_the_next(
    tmp_path: Path, open_sinks: Callable[..., Sinks]
) -> None:
    """kill -9 while the broker is away, and the last will when it is there; the next start delivers what waits."""

    async def steps() -> None:
        with Mosquitto(tmp_path / "broker") as broker, listening(broker.port) as listener:
            broker.freeze()
            writer = multiprocessing.get_context("spawn").Process(
                target=_write_for_ever, args=[broker.url, tmp_path / "sinks"], daemon=True
            )
            writer.start()
            folder = tmp_path / "sinks" / "line-1" / "mqtt"
            await until(lambda: sum(f.stat().st_size for f in folder.glob("*.queue")) > 200_000)
            assert writer.pid
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
            broker.thaw()
            sinks = open_sinks(MqttSinkConfig(url=broker.url))
            await until(lambda: sinks.status()["written"] and not sinks.status()["queued"])
            await until(lambda: len(set(_ids(listener))) == sinks.status()["written"])
            ids = _ids(listener)
            runs = {i.split("/")[2] for i in ids}
            assert (len(runs), len(ids)) == (1, len(set(ids)))
            assert [int(i.rpartition("/")[2]) for i in ids] == list(range(len(ids)))
            await sinks.close()

    asyncio.run(steps())


def test_a_wrong_password_is_said_until_it_is_put_right(
    tmp_path: Path, guarded: Mosquitto, open_sinks: Callable[..., Sinks]
) -> None:
    """The file is read anew with each attempt; nothing is lost meanwhile. doctor says the same."""
    password = _password(tmp_path, "wrong")
    config = MqttSinkConfig(url=guarded.url, username="line-1", password_file=password)
    assert SINK.try_out
    with pytest.raises(UsageError, match="lets nobody in: Not authorized"):
        SINK.try_out(config)
    elsewhere = config.model_copy(update={"password_file": _password(tmp_path, "right-password")})
    assert SINK.try_out(elsewhere.model_copy(update={"prefix": "none-of-ours"})).endswith("lets the node in")
    password.write_text("wrong")

    async def steps() -> None:
        sinks = open_sinks(config)
        for r in records(0, 3):
            sinks.write(r)
        await until(lambda: "Not authorized" in str(sinks.status()["errors"]))
        password.write_text("right-password\n")
        await until(lambda: sinks.status()["written"] == 3 and sinks.status()["errors"] == {})
        await sinks.close()

    asyncio.run(steps())


def test_a_topic_that_the_broker_refuses_is_said(
    tmp_path: Path, guarded: Mosquitto, open_sinks: Callable[..., Sinks]
) -> None:
    """A rule that is missing there: with MQTT 5 a message that nobody will see isn't counted as delivered."""
    password = _password(tmp_path, "right-password")
    config = MqttSinkConfig(url=guarded.url, username="line-1", password_file=password, prefix="elsewhere")

    async def steps() -> None:
        sinks = open_sinks(config)
        sinks.write(record(0))

        def is_said() -> bool:
            # The topic of its status is refused as well, maybe before the record is in the queue.
            status = sinks.status()
            return "Not authorized" in str(status["errors"]) and status["queued"] == 1

        await until(is_said)
        assert sinks.status()["written"] == 0
        await sinks.close()

    asyncio.run(steps())


def test_tls_with_certificates_on_both_sides(tmp_path: Path, open_sinks: Callable[..., Sinks]) -> None:
    """The authority is named by a file; who shows no certificate is not let in, and a stranger is not trusted."""
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "stranger")
    server, client = authority.identity("broker"), authority.identity("node-7")
    lines = (
        "allow_anonymous true", f"cafile {authority.cert}", f"certfile {server.cert}", f"keyfile {server.key}",
        "require_certificate true",
    )  # fmt: skip
    ours: dict[str, Any] = {"cert_file": client.cert, "key_file": client.key}

    async def steps() -> None:
        with Mosquitto(tmp_path / "broker", *lines) as broker:
            url = broker.url.replace("mqtt:", "mqtts:")
            for name, tls, why in (
                ("right", {"ca_file": authority.cert, **ours}, ""),
                ("untrusted", {"ca_file": stranger.cert, **ours}, "certificate verify failed"),
                ("nobody", {"ca_file": authority.cert}, "lets nobody in|can't connect"),
                ("no-file", {"ca_file": tmp_path / "none.pem", **ours}, "certificates can't be read"),
            ):
                sinks = open_sinks(MqttSinkConfig(url=url, name=name, prefix=name, tls=tls))
                sinks.write(record(0))
                await until(lambda: sinks.status()["written"] == 1 or sinks.status()["errors"])  # noqa: B023
                said = str(sinks.status()["errors"])
                assert any(part in said for part in why.split("|")) if why else said == "{}", (name, said)
                await sinks.close()

    asyncio.run(steps())


def test_an_old_broker_and_a_small_one(tmp_path: Path, open_sinks: Callable[..., Sinks]) -> None:
    """MQTT 3.1.1 works as well; a message that is too large for the broker is dropped and said, the others arrive."""

    async def steps() -> None:
        with (
            Mosquitto(tmp_path / "broker", "allow_anonymous true", "max_packet_size 2000") as broker,
            listening(broker.port) as listener,
        ):
            sinks = open_sinks(
                MqttSinkConfig(url=broker.url, name="old", prefix="old", version="3.1.1"),
                MqttSinkConfig(url=broker.url, name="new", prefix="new"),
            )
            sinks.write(record(0))
            await until(lambda: sinks.status()["written"] == 2)
            large = record(1, name="x" * 1900)
            sinks.queues[1].put(large)
            sinks.queues[1].put(record(2))
            await until(lambda: sinks.status()["each"][1]["written"] == 2)
            assert sinks.status()["each"][1]["lost"] == 1
            await until(lambda: len(_ids(listener)) == 3)
            await sinks.close()

    asyncio.run(steps())


def test_what_can_be_read_on_the_way_is_named() -> None:
    """A password without TLS, to another machine."""
    sink = {"type": "mqtt", "url": "mqtt://broker.plant", "username": "a", "password_file": "/x"}
    line = {"name": "line-1", "model": "yolo", "source": {"url": "/x"}}

    def found(**fields: str) -> list[tuple[str, str]]:
        config = parse_config({"pipelines": [{**line, "sinks": [sink | fields]}]})
        return list(clear_text_secrets(config))

    assert found() == [("pipelines[0].sinks[0]", "the broker is sent the password in clear text; use mqtts")]
    assert not found(url="mqtts://broker.plant")
    assert not found(url="mqtt://127.0.0.1")
