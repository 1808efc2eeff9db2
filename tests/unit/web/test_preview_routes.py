# SPDX-License-Identifier: AGPL-3.0-or-later
"""A stream of pictures as it leaves the node: its parts, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from edgeagent.serving.preview import PreviewPicture
from edgeagent.web import preview_routes
from edgeagent.web.preview_routes import StreamedPictures, part

PICTURE = PreviewPicture(b"\xff\xd8 a picture \xff\xd9", "line-1", "v2", 42, 1.8e9)


class Roll:
    """So many pictures, then none any more."""

    def __init__(self, pictures: int) -> None:
        self.left, self.closed = pictures, False

    async def next(self) -> PreviewPicture | None:
        """The next of them."""
        self.left -= 1
        return PICTURE if self.left >= 0 else None

    def close(self) -> None:
        """Noted."""
        self.closed = True


class Client:
    """Reads, or doesn't any more after so many messages."""

    def __init__(self, reads: int = 1000) -> None:
        self.got: list[dict[str, Any]] = []
        self.ended = False
        self._reads = reads
        self.gone = asyncio.Event()
        self.gone_by_then = False

    async def send(self, message: Any) -> None:
        """What the server sends."""
        if len(self.got) >= self._reads:
            await asyncio.Event().wait()
        self.got.append(message)

    async def receive(self) -> dict[str, Any]:
        """Says nothing until it goes."""
        await self.gone.wait()
        return {"type": "http.disconnect"}

    def end(self) -> None:
        """The server ends the connection, and hears a moment later that the client is gone."""
        self.ended = True
        asyncio.get_running_loop().call_soon(self.gone.set)

    def looks_at(self, stream: StreamedPictures) -> None:
        """Until the stream ends."""
        scope = {"type": "http", "state": {"connection": self}}

        async def look() -> None:
            await stream(scope, self.receive, self.send)  # type: ignore[arg-type]
            self.gone_by_then = self.gone.is_set()

        asyncio.run(look())


def test_a_part_ends_with_what_begins_the_next() -> None:
    """A browser shows a picture when it has seen its end."""
    text = part(PICTURE)
    head, _, rest = text.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"Content-Type: image/jpeg",
        b"Content-Length: 15",
        b"X-Edgeagent-Version: v2",
        b"X-Edgeagent-Seq: 42",
        b"X-Edgeagent-Time: 1800000000.000",
    ]
    assert rest == PICTURE.jpeg + b"\r\n--edgeagent-picture\r\n"


def test_it_ends_when_there_are_no_more() -> None:
    """As a whole answer, so that the connection can go on."""
    roll, client = Roll(2), Client()
    client.looks_at(StreamedPictures(roll))
    start, *bodies = client.got
    assert (start["status"], dict(start["headers"])[b"x-accel-buffering"]) == (200, b"no")
    assert b"content-length" not in dict(start["headers"])
    assert b"".join(b["body"] for b in bodies) == b"--edgeagent-picture\r\n" + 2 * part(PICTURE)
    assert [b.get("more_body", False) for b in bodies][-2:] == [True, False]
    assert (roll.closed, client.ended) == (True, False)


def test_it_ends_with_the_session() -> None:
    """With the first picture that is due when it has expired."""
    answers: Iterator[bool] = iter([True, True, False])
    roll, client = Roll(1000), Client()
    client.looks_at(StreamedPictures(roll, lambda: next(answers)))
    assert b"".join(b["body"] for b in client.got[1:]).count(PICTURE.jpeg) == 2
    assert roll.closed


def test_it_ends_when_the_client_goes() -> None:
    """Nothing more is sent."""
    roll, client = Roll(1000), Client()
    client.gone.set()
    client.looks_at(StreamedPictures(roll))
    assert client.got[-1].get("more_body") is True
    assert roll.closed


@pytest.mark.parametrize(("reads", "pictures"), [(0, 1000), (1, 1000), (2, 1000), (5, 1000), (5, 1)])
def test_who_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch, reads: int, pictures: int) -> None:
    """With the connection, also at the very end; and not before the server knows, which would miss the rest."""
    monkeypatch.setattr(preview_routes, "UNREAD_S", 0.01)
    roll, client = Roll(pictures), Client(reads)
    client.looks_at(StreamedPictures(roll))
    assert (len(client.got), client.ended, roll.closed) == (reads, True, True)
    assert client.gone_by_then
