# SPDX-License-Identifier: AGPL-3.0-or-later
"""The webhook sink against a real receiver: signatures, what it answers, a batch that is too much, TLS."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from edgeagent.config import clear_text_secrets, parse_config
from edgeagent.core.webhook import check_delivery
from edgeagent.errors import UnauthorizedError, UnavailableError
from edgeagent.sinks.http_client import _retry_after
from edgeagent.sinks.queue import SinkHost, Sinks
from edgeagent.sinks.webhook import SINK, WebhookSinkConfig
from tests.support.certificates import Authority
from tests.support.etcd import free_port
from tests.support.receiver import SECRET, Answer, Receiver, receiving
from tests.support.sinks import record, records, until


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Which takes whatever comes."""
    with receiving() as receiver:
        yield receiver


def _sinks(tmp_path: Path, receiver: Receiver, **fields: Any) -> Sinks:
    config = WebhookSinkConfig(**{"url": receiver.url, "every_seconds": 0.05, **fields})
    return Sinks("line-1", [config], lambda behind: None, host=SinkHost("node-7", tmp_path / "sinks"))


def _file(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def _answers(*first: Answer) -> Callable[[bytes], Answer]:
    """These, one after the other, then 200."""
    left = list(first)
    return lambda body: left.pop(0) if left else (200, {}, b"")


def test_a_post_is_signed_as_a_node_checks_it(tmp_path: Path, receiver: Receiver) -> None:
    """Over the body and the time; the token stands beside. Who changes the body is found out."""
    secret, token = _file(tmp_path, "secret", SECRET), _file(tmp_path, "token", "a-token")

    async def steps() -> None:
        sinks = _sinks(tmp_path, receiver, secret_file=secret, token_file=token)
        for r in records(0, 3):
            sinks.write(r)
        await until(lambda: sinks.status()["written"] == 3)
        await sinks.close()

    asyncio.run(steps())
    headers, body = receiver.posts[0]
    assert (headers["authorization"], headers["content-type"]) == ("Bearer a-token", "application/json")
    assert len(headers["x-edgeagent-delivery"]) == 32
    sent = int(headers["x-edgeagent-signature"].split(",")[0].removeprefix("t="))
    assert check_delivery("generic", SECRET, headers, body, now=sent, tolerance_s=5).sent == sent
    with pytest.raises(UnauthorizedError):
        check_delivery("generic", SECRET, headers, body + b" ", now=sent, tolerance_s=5)
    doc = json.loads(body)
    assert (doc["node"], doc["pipeline"]) == ("node-7", "line-1")
    found = [{k: v for k, v in r.items() if k not in ("id", "node")} for r in receiver.records()]
    assert found == [r.as_dict() for r in records(0, 3)]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((503, {}, b"  not\n now"), "it answers 503 Service Unavailable: not now"),
        ((401, {}, b""), "it answers 401 Unauthorized"),
        ((404, {}, b"x" * 100_000), "it answers 404 Not Found: xxx"),
        ((302, {"Location": "http://elsewhere.example/"}, b""), "a redirect, which is not followed"),
    ],
)
def test_what_may_pass_later_is_tried_again(
    tmp_path: Path, receiver: Receiver, answer: Answer, said: str
) -> None:
    """The same body under the same delivery id; nothing is lost."""
    receiver.answer = lambda body: answer

    async def steps() -> None:
        sinks = _sinks(tmp_path, receiver)
        sinks.write(record(0))
        await until(lambda: sinks.status()["errors"])
        (error,) = sinks.status()["errors"].values()
        assert said in error
        receiver.answer = lambda body: (200, {}, b"")
        await until(lambda: sinks.status()["written"] and not sinks.status()["errors"])
        assert sinks.status()["lost"] == 0
        await sinks.close()

    asyncio.run(steps())
    assert [r["seq"] for r in receiver.records()] == [0]
    assert len({headers["x-edgeagent-delivery"] for headers, _ in receiver.posts}) == 1


def test_what_will_never_pass_is_dropped_and_counted(tmp_path: Path, receiver: Receiver) -> None:
    """And what comes behind it arrives."""
    receiver.answer = _answers((422, {}, b"no such line"))

    async def steps() -> None:
        sinks = _sinks(tmp_path, receiver, every_seconds=0)
        sinks.write(record(0))
        await until(lambda: sinks.status()["lost"] == 1)
        sinks.write(record(1))
        await until(lambda: sinks.status()["written"] == 1)
        await sinks.close()

    asyncio.run(steps())
    assert [r["seq"] for r in receiver.records()] == [1]


def test_a_batch_that_is_too_much_goes_in_halves(tmp_path: Path, receiver: Receiver) -> None:
    """Down to the single record that is too large by itself, which is dropped."""
    receiver.answer = lambda body: (413, {}, b"") if len(body) > 1500 else (200, {}, b"")

    async def steps() -> None:
        sinks = _sinks(tmp_path, receiver, every_seconds=0.5)
        for seq in range(20):
            sinks.write(record(seq, name="x" * 2000 if seq == 7 else "dent"))
        await until(lambda: sinks.status()["written"] == 19)
        assert sinks.status()["lost"] == 1
        await sinks.close()

    asyncio.run(steps())
    assert [r["seq"] for r in receiver.records()] == [n for n in range(20) if n != 7]


def test_when_to_come_again_is_the_receiver_s_word() -> None:
    """Seconds or a date, an hour at most; what can't be read is no word."""
    assert _retry_after("12") == 12.0
    assert _retry_after("999999999") == 3600.0
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 90 < (_retry_after(soon) or 0) <= 100
    assert _retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert [_retry_after(text) for text in ("", "soon", "-5", "²")] == [None, None, None, None]


def test_a_receiver_that_asks_for_time_gets_it(tmp_path: Path, receiver: Receiver) -> None:
    """It isn't asked before; closing doesn't wait for it."""
    receiver.answer = _answers((429, {"Retry-After": "600"}, b""))

    async def steps() -> None:
        sinks = _sinks(tmp_path, receiver)
        sinks.write(record(0))
        await until(lambda: sinks.status()["errors"])
        sinks.write(record(1))
        await sinks.close()
        assert sinks.status()["queued"] == 2

    asyncio.run(steps())
    assert len(receiver.posts) == 1


def test_a_connection_that_the_receiver_has_closed_is_no_trouble(tmp_path: Path, receiver: Receiver) -> None:
    """Nothing is said of it."""
    receiver.answer = lambda body: (200, {"Connection": "close"}, b"")

    async def steps() -> None:
        sinks = _sinks(tmp_path, receiver, every_seconds=0)
        for seq in range(3):
            sinks.write(record(seq))
            await until(lambda: sinks.status()["written"] == seq + 1)  # noqa: B023
        await sinks.close()
        assert sinks.queues[0]._backlog.why == ""

    asyncio.run(steps())


def test_over_tls_the_authority_is_the_one_that_is_named(tmp_path: Path, receiver: Receiver) -> None:
    """Another is not trusted; doctor says so, too, and posts nothing."""
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "stranger")
    server = authority.identity("receiver")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.cert, server.key)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    url = receiver.url.replace("http:", "https:")
    assert SINK.try_out
    right = WebhookSinkConfig(url=url, tls={"ca_file": authority.cert})
    assert SINK.try_out(right) == f"{url} can be reached; nothing was posted"
    with pytest.raises(UnavailableError, match="certificate verify failed"):
        SINK.try_out(WebhookSinkConfig(url=url, tls={"ca_file": stranger.cert}))
    with pytest.raises(UnavailableError, match="refused"):
        SINK.try_out(WebhookSinkConfig(url=f"https://127.0.0.1:{free_port()}/"))

    async def steps() -> None:
        sinks = _sinks(tmp_path, receiver, url=url, tls={"ca_file": authority.cert})
        sinks.write(record(0))
        await until(lambda: sinks.status()["written"] == 1)
        await sinks.close()

    asyncio.run(steps())


def test_what_can_be_read_on_the_way_is_named() -> None:
    """A token over http; a secret that only signs is not sent."""
    line = {"name": "line-1", "model": "yolo", "source": {"url": "/x"}}

    def found(**fields: str) -> list[tuple[str, str]]:
        config = parse_config({"pipelines": [{**line, "sinks": [{"type": "webhook", **fields}]}]})
        return list(clear_text_secrets(config))

    assert found(url="http://mes/in", token_file="/x")[0][0] == "pipelines[0].sinks[0]"
    assert not found(url="http://mes/in", secret_file="/x")
    assert not found(url="https://mes/in", token_file="/x")
