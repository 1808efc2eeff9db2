# SPDX-License-Identifier: AGPL-3.0-or-later
"""The guard before the API, on an app that is none."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Scope, Send

from edgeagent.web.guard import Guard

SCOPE = {"type": "http", "method": "GET", "path": "/api/status", "headers": [(b"host", b"localhost")]}


def test_a_crowd_of_requests_leaves_room_for_frames() -> None:
    """However many come at once: between two of them the event loop turns, and whatever waits there gets on."""
    happened: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        happened.append("request")

    async def receive() -> Message:
        raise AssertionError("a GET has no body")

    async def send(message: Message) -> None:
        raise AssertionError("nothing is answered")

    async def frames() -> None:
        while happened.count("request") < 20:
            happened.append("frame")
            await asyncio.sleep(0)

    async def run() -> None:
        guard = Guard(app, None)
        await asyncio.gather(frames(), *(guard(SCOPE, receive, send) for _ in range(20)))

    asyncio.run(run())
    assert "request request" not in " ".join(happened)
