# SPDX-License-Identifier: AGPL-3.0-or-later
"""Server-sent events: who gets what, who misses what, and how it ends. In memory, without sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from edgeagent.errors import UnavailableError
from edgeagent.web import events as events_module
from edgeagent.web.events import MAX_VIEWERS, MAX_WAITING, Audience, EventStream, Viewer


def parsed(stream: bytes) -> list[tuple[str, Any]]:
    """Kind and content of each event."""
    found = []
    for block in stream.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    """The result of `work`."""

    async def within() -> Any:
        async with asyncio.timeout(20):
            return await work()

    return asyncio.run(within())


class Client:
    """A client over ASGI that reads as the test says."""

    def __init__(self, audience: Audience, viewer: Viewer) -> None:
        self.sent: list[dict[str, Any]] = []
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.gone = asyncio.Event()
        self.stream = EventStream(audience, viewer, b"event: hello\ndata: {}\n\n")
        self.task = asyncio.create_task(self.stream({"type": "http"}, self._receive, self._send))

    @property
    def text(self) -> bytes:
        """What has come."""
        return b"".join(m.get("body", b"") for m in self.sent)

    async def _receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            await self.may_read.wait()
        self.sent.append(message)


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


def enter(audience: Audience) -> Viewer:
    """One more viewer."""
    viewer = Viewer()
    audience.enter(viewer)
    return viewer


def test_events_in_their_order_and_a_goodbye() -> None:
    """Headers that no proxy collects, hello first, each event one line, and an end that is one."""

    async def work() -> None:
        audience = Audience()
        client = Client(audience, enter(audience))
        await settle()
        audience.tell("swap", {"reason": "a\nb\r<script>"})
        audience.renew("status", b'{"n":1}')
        await settle()
        audience.end("the node stops")
        await client.task
        headers = dict(client.sent[0]["headers"])
        assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
        assert headers[b"x-accel-buffering"] == b"no"
        assert b"content-length" not in headers
        assert parsed(client.text) == [
            ("hello", {}),
            ("swap", {"reason": "a\nb\r<script>"}),
            ("status", {"n": 1}),
            ("bye", {"why": "the node stops"}),
        ]
        assert client.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
        assert not audience
        with pytest.raises(UnavailableError, match="the node stops"):
            audience.enter(Viewer())

    run(work)


def test_who_reads_slowly_misses_events() -> None:
    """A tablet that sleeps for a day: it costs no more memory, gets the newest when it wakes, and knows that it missed
    something."""

    async def work() -> None:
        audience = Audience()
        viewer = enter(audience)
        slow, quick = Client(audience, viewer), Client(audience, enter(audience))
        slow.may_read.clear()
        for n in range(86_400):
            audience.renew("status", b'{"n":%d}' % n)
            audience.renew("figures", b"{}")
            if n % 100 == 0:
                audience.tell("history", {"n": n})
                await settle()
        assert len(viewer._waiting) == MAX_WAITING
        assert len(viewer._newest) == 2
        slow.may_read.set()
        await settle()
        events = parsed(slow.text)
        assert events[:2] == [("hello", {}), ("missed", {"events": 864 - MAX_WAITING})]
        assert events[-2:] == [("status", {"n": 86_399}), ("figures", {})]
        assert len(events) == 2 + MAX_WAITING + 2
        assert [e for e in parsed(quick.text) if e[0] == "missed"] == []
        for client in (slow, quick):
            client.gone.set()
            await client.task

    run(work)


def test_who_goes_makes_room() -> None:
    """Also while it doesn't read; one too many is told what else there is."""

    async def work() -> None:
        audience = Audience()
        clients = [Client(audience, enter(audience)) for _ in range(MAX_VIEWERS)]
        await settle()
        with pytest.raises(
            UnavailableError, match=r"16 viewers look on already; close one, or ask for /api/status"
        ):
            audience.enter(Viewer())
        clients[0].gone.set()
        await clients[0].task
        enter(audience)
        clients[1].may_read.clear()
        audience.tell("swap", {})
        await settle()
        clients[1].task.cancel()  # as the server does when it stops and a client holds it up
        await asyncio.wait([clients[1].task])
        assert len(audience._viewers) == MAX_VIEWERS - 1
        for client in clients[2:]:
            client.gone.set()
        await asyncio.wait([client.task for client in clients[2:]])
        assert len(audience._viewers) == 1

    run(work)


def test_who_does_not_read_at_all_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """His place is for others; nor does he keep the node from stopping."""

    async def work(unread_s: float, ends: bool) -> list[str]:
        monkeypatch.setattr(events_module, "UNREAD_S", unread_s)
        audience, said = Audience(), list[str]()
        client = Client(audience, enter(audience))
        client.may_read.clear()

        def cut() -> None:
            said.append("cut")
            client.may_read.set()
            client.gone.set()

        client.stream._viewer.cut = cut
        if ends:
            audience.end("the node stops")
        await client.task
        assert not audience
        return said

    monkeypatch.setattr(events_module, "GOODBYE_S", 0.0)
    assert run(lambda: work(0.01, ends=False)) == ["cut"]
    assert run(lambda: work(3600, ends=True)) == ["cut"]


def test_a_heartbeat_when_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else proxies close what is silent."""
    monkeypatch.setattr(events_module, "HEARTBEAT_S", 0.0)
    assert run(Viewer().take) == b":\n\n"


def test_a_session_that_ends() -> None:
    """The next event is a goodbye."""

    async def work() -> None:
        allowed = [True]
        viewer, audience = Viewer(lambda: allowed[0]), Audience()
        audience.enter(viewer)
        client = Client(audience, viewer)
        await settle()
        allowed[0] = False
        audience.renew("figures", b"{}")
        await client.task
        assert parsed(client.text)[-1] == ("bye", {"why": "the session has ended: log in again"})

    run(work)


def test_nothing_is_said_to_nobody() -> None:
    """What has no JSON form would fail, if anybody looked at it."""
    audience = Audience()
    audience.tell("swap", object())
    assert not audience
