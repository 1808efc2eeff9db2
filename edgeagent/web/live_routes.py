# SPDX-License-Identifier: AGPL-3.0-or-later
"""`/api/events` and `/api/series`: what a page needs to show the lines live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel

from edgeagent.core.series import LENGTH_S
from edgeagent.status.line_sampler import SwapSeen
from edgeagent.web.answers import errors
from edgeagent.web.live import Live
from edgeagent.web.login_routes import session_of


class LineSeries(BaseModel):
    """One value a second, oldest first; null where it isn't known."""

    fps: Sequence[float | None]
    p50_ms: Sequence[float | None]
    p95_ms: Sequence[float | None]
    dropped: Sequence[float | None]


class Series(BaseModel):
    """The last minutes of each pipeline. start, end: of the first and the last value, Unix seconds."""

    interval_s: int
    start: float
    end: float
    pipelines: Mapping[str, LineSeries]
    swaps: Sequence[SwapSeen]


def add_live(app: FastAPI, live: Live) -> None:
    """Routes of the live view."""

    @app.get(
        "/api/events",
        summary="What happens, as server-sent events: hello, status, figures, swap, history, alarm, missed, bye",
        response_class=Response,
        responses={**errors(503), 200: {"content": {"text/event-stream": {}}, "description": "The events"}},
    )
    async def events(request: Request) -> Response:
        return live.watch(session_of(request))

    @app.get(
        "/api/series",
        summary="Figures of each pipeline, second by second, and the swaps between them",
        response_model=Series,
        responses=errors(422, 503),
    )
    async def series(seconds: Annotated[int, Query(ge=1, le=LENGTH_S)] = LENGTH_S) -> Response:
        return Response(live.series(seconds), media_type="application/json")
