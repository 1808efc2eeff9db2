# SPDX-License-Identifier: AGPL-3.0-or-later
"""Server-sent events: what happens is put into words once, and handed to all who look on.

A viewer who reads slowly misses events rather than costing memory: of what is renewed each second only the newest
waits for him, of the rest so many; he is told how many he has missed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edgeagent.errors import UnavailableError
from edgeagent.web.asked import until_gone

MAX_VIEWERS = 16
MAX_WAITING = 64
"""Events that wait for one viewer, beside the newest status and figures."""
HEARTBEAT_S = 15.0
UNREAD_S = 15.0
"""Who has not read what was sent before within so many seconds is let go, and is at liberty to come again."""
GOODBYE_S = 0.5
"""Until those are let go who don't read that the node stops."""
RETRY_MS = 2000
"""How long a browser waits before it connects again."""
_HEARTBEAT = b":\n\n"
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "x-accel-buffering": "no",  # nginx would collect them
}


def frame(kind: str, text: bytes) -> bytes:
    """One event. text: one line."""
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), text)


class Viewer:
    """One who looks on: what waits for him. still_allowed: False once he has to ask anew."""

    def __init__(self, still_allowed: Callable[[], bool] = lambda: True) -> None:
        self.cut: Callable[[], None] = lambda: None
        """Ends the connection at once."""
        self._still_allowed = still_allowed
        self._newest: dict[str, bytes] = {}
        self._waiting: deque[bytes] = deque()
        self._missed = 0
        self._last: bytes | None = None
        self._done = False
        self._ready = asyncio.Event()

    def put(self, event: bytes) -> None:
        """Queue an event; of too many the oldest is missed."""
        self._waiting.append(event)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self._missed += 1
        self._ready.set()

    def renew(self, kind: str, event: bytes) -> None:
        """Queue what takes the place of the one before it."""
        self._newest[kind] = event
        self._ready.set()

    def end(self, why: str = "") -> None:
        """Nothing comes after this. why: said in a `bye`, "" where nobody is there to read it."""
        if self._last is None:
            self._last = frame("bye", orjson.dumps({"why": why})) if why else b""
            self._ready.set()

    async def take(self) -> bytes:
        """All that waits, or a heartbeat when nothing comes for a while; "" when all was said."""
        if not self._done:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._ready.wait()
            self._ready.clear()
            if not self._still_allowed():
                self.end("the session has ended: log in again")
        events = [*self._waiting, *self._newest.values()]
        if self._missed:
            events.insert(0, frame("missed", orjson.dumps({"events": self._missed})))
        self._waiting.clear()
        self._newest.clear()
        self._missed = 0
        if self._last is None:
            return b"".join(events) or _HEARTBEAT
        if not self._done:
            events.append(self._last)
            self._done = True
        return b"".join(events)


class Audience:
    """Everybody who looks on. On the event loop's thread."""

    def __init__(self, most: int = MAX_VIEWERS) -> None:
        self._most = most
        self._viewers: set[Viewer] = set()
        self._ended = ""

    def __bool__(self) -> bool:
        """Whether anybody looks on: else nothing need be put into words."""
        return bool(self._viewers)

    def enter(self, viewer: Viewer) -> None:
        """One more. Raises UnavailableError when there are too many, or the node stops."""
        if self._ended:
            raise UnavailableError("the events", self._ended, "ask again in a while")
        if len(self._viewers) >= self._most:
            raise UnavailableError(
                "the events", f"{self._most} viewers look on already", "close one, or ask for /api/status"
            )
        self._viewers.add(viewer)

    def leave(self, viewer: Viewer) -> None:
        """One less."""
        self._viewers.discard(viewer)

    def tell(self, kind: str, doc: Any) -> None:
        """All of them, soon. doc: as orjson takes it."""
        if self._viewers:
            event = frame(kind, orjson.dumps(doc))
            for viewer in self._viewers:
                viewer.put(event)

    def renew(self, kind: str, text: bytes) -> None:
        """Tell all of them what takes the place of the one before. text: JSON, one line."""
        event = frame(kind, text)
        for viewer in self._viewers:
            viewer.renew(kind, event)

    def end(self, why: str) -> None:
        """Say goodbye to all; nobody else may enter."""
        self._ended = why
        for viewer in self._viewers:
            viewer.end(why)
        if self._viewers:
            asyncio.get_running_loop().call_later(GOODBYE_S, self._cut)

    def _cut(self) -> None:
        for viewer in self._viewers:
            viewer.cut()


class EventStream(Response):
    """The answer to one viewer, until he goes or nothing comes any more. first: events that come before all others."""

    def __init__(self, audience: Audience, viewer: Viewer, first: bytes) -> None:
        """The viewer has entered."""
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._audience = audience
        self._viewer = viewer
        self._first = b"retry: %d\n\n" % RETRY_MS + first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them as they come. A viewer who doesn't read holds up only himself: `send` waits for him."""
        if connection := scope.get("state", {}).get("connection"):
            self._viewer.cut = connection.end
        leaving = asyncio.create_task(self._until_gone(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            piece = self._first
            while piece:
                async with asyncio.timeout(UNREAD_S):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                piece = await self._viewer.take()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            self._viewer.cut()
            await asyncio.wait([leaving], timeout=GOODBYE_S)
        finally:
            self._audience.leave(self._viewer)
            leaving.cancel()

    async def _until_gone(self, receive: Receive) -> None:
        await until_gone(receive)
        self._viewer.end()
