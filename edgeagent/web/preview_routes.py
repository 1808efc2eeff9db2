# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the cameras see, over HTTP: a stream of pictures, or one (docs/interface.md, "Live pictures")."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Protocol

from fastapi import FastAPI, Path, Query, Request, Response
from starlette.types import Receive, Scope, Send

from edgeagent.serving.preview import PreviewPicture
from edgeagent.web.answers import errors
from edgeagent.web.asked import until_gone
from edgeagent.web.login_routes import session_of

UNREAD_S = 10.0
"""Who has not read what was sent before within so many seconds is let go."""
GONE_S = 0.5
"""Until the server knows that a connection was ended."""
_BOUNDARY = "edgeagent-picture"
_BETWEEN = f"--{_BOUNDARY}\r\n".encode()

Pipeline = Annotated[str, Path(max_length=128)]
Width = Annotated[int | None, Query(ge=16, le=16_384, description="pixels, at most; none is enlarged")]
Fps = Annotated[float, Query(gt=0, le=1000, allow_inf_nan=False, description="pictures a second, at most")]
Boxes = Annotated[bool, Query(description="with what was found, by which version, and when")]


class PictureStream(Protocol):
    """What one viewer sees."""

    async def next(self) -> PreviewPicture | None:
        """The newest picture, when there is one; None when none will come any more."""

    def close(self) -> None:
        """Nobody looks any more. Idempotent."""


class PreviewApi(Protocol):
    """Whoever shows what the cameras see. Raises NotFoundError for a pipeline that isn't here, and UnavailableError
    when as many look already as may, or no frame comes."""

    def watch(self, pipeline: str, *, width: int | None, fps: float, boxes: bool) -> PictureStream:
        """Begin to look."""

    async def snapshot(self, pipeline: str, *, width: int | None, boxes: bool) -> PreviewPicture:
        """One picture."""


def add_previews(app: FastAPI, previews: PreviewApi) -> None:
    """The routes."""

    @app.get(
        "/api/pipelines/{pipeline}/preview.mjpg",
        summary="What a pipeline sees and finds, as a stream of JPEGs",
        response_class=StreamedPictures,
        status_code=200,  # /openapi.json can't find it in the class, whose answers have no other
        responses=errors(404, 422, 503),
    )
    async def stream(
        request: Request, pipeline: Pipeline, width: Width = 640, fps: Fps = 5.0, boxes: Boxes = True
    ) -> Response:
        session = session_of(request)
        watched = previews.watch(pipeline, width=width, fps=fps, boxes=boxes)
        return StreamedPictures(watched, lambda: session is None or session.valid)

    @app.get(
        "/api/pipelines/{pipeline}/snapshot.jpg",
        summary="What a pipeline sees and finds now, as one JPEG",
        response_class=JpegAnswer,
        responses=errors(404, 422, 503),
    )
    async def snapshot(pipeline: Pipeline, width: Width = None, boxes: Boxes = True) -> Response:
        picture = await previews.snapshot(pipeline, width=width, boxes=boxes)
        return JpegAnswer(picture.jpeg, headers=_headers(picture))


class JpegAnswer(Response):
    """One picture."""

    media_type = "image/jpeg"


class StreamedPictures(Response):
    """Pictures as they come, each in the place of the one before; for as long as somebody reads them, who still may.

    still_allowed: False once he has to log in anew.
    """

    media_type = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"

    def __init__(self, stream: PictureStream, still_allowed: Callable[[], bool] = lambda: True) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"x-accel-buffering": "no"})  # a proxy is to hand on each picture as it comes
        self._stream, self._still_allowed = stream, still_allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the viewer goes, or doesn't read, or the stream ends."""
        gone = asyncio.ensure_future(until_gone(receive))
        try:
            async with asyncio.timeout(UNREAD_S):
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await _send(send, _BETWEEN)
            while (picture := await self._next(gone, send)) and self._still_allowed():
                await _send(send, part(picture))
            if not gone.done():
                async with asyncio.timeout(UNREAD_S):
                    await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            if connection := scope.get("state", {}).get("connection"):
                connection.end()  # else what it doesn't read would wait for it
                await asyncio.wait(
                    (gone,), timeout=GONE_S
                )  # the server has to know, or it misses the end of this
        finally:
            self._stream.close()
            gone.cancel()

    async def _next(self, gone: asyncio.Future[None], send: Send) -> PreviewPicture | None:
        """The picture that is the newest when the one before has been read."""
        await _send(send, b"")
        coming = asyncio.ensure_future(self._stream.next())
        try:
            await asyncio.wait((coming, gone), return_when=asyncio.FIRST_COMPLETED)
            return coming.result() if coming.done() and not gone.done() else None
        finally:
            coming.cancel()


def part(picture: PreviewPicture) -> bytes:
    """A picture in the stream, with what ends it: a browser shows it when that has come."""
    lines = [
        "Content-Type: image/jpeg",
        f"Content-Length: {len(picture.jpeg)}",
        *(f"{k}: {v}" for k, v in _headers(picture).items()),
    ]
    head = "\r\n".join(lines).encode()
    return b"".join((head, b"\r\n\r\n", picture.jpeg, b"\r\n", _BETWEEN))


def _headers(picture: PreviewPicture) -> dict[str, str]:
    return {
        "X-Edgeagent-Version": picture.version,
        "X-Edgeagent-Seq": str(picture.seq),
        "X-Edgeagent-Time": f"{picture.ts:.3f}",
    }


async def _send(send: Send, body: bytes) -> None:
    """Raises TimeoutError when what was sent before is not read."""
    async with asyncio.timeout(UNREAD_S):
        await send({"type": "http.response.body", "body": body, "more_body": True})
