# SPDX-License-Identifier: AGPL-3.0-or-later
"""The HTTP API of a node (docs/interface.md, "HTTP"): which request asks what of the node.

Its parts beside status, history and the operator's verbs have files of their own, `<topic>_routes.py`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import Field

from edgeagent import __version__
from edgeagent.core.events import ApproveRequested, RefuseRequested
from edgeagent.core.text import MAX_BY, clean
from edgeagent.observe.metrics import Metrics
from edgeagent.status.schema import History, HistoryCheck, Outcome, Readiness, Status
from edgeagent.web.access import COOKIE, Access
from edgeagent.web.answers import add_error_answers, errors, json_answer
from edgeagent.web.asked import Body, ModelName, Text, who
from edgeagent.web.guard import Guard
from edgeagent.web.hooks import HookAnswer, Hooks
from edgeagent.web.login_routes import add_login
from edgeagent.web.page_routes import PageFiles, add_page
from edgeagent.web.port import NodeApi
from edgeagent.web.prefix import PathPrefix

SCRAPE_S = 1.0
"""Seconds for which metrics that were rendered are given out."""

HookName = Annotated[str, Path(max_length=128)]


class RollbackRequest(Body):
    """Body of a roll-back; may be left out. if_epoch: only while this epoch serves, else 409."""

    by: Text = ""
    if_epoch: Annotated[int, Field(strict=True, ge=0)] | None = None


class PromoteRequest(Body):
    """Body of a promotion on this node."""

    version: Text
    by: Text = ""
    reason: Text = ""


class ApproveRequest(Body):
    """Body of an approval; may be left out. version, if_digest: only this one, else 409."""

    by: Text = ""
    version: Text = ""
    if_digest: Text = ""


class RefuseRequest(ApproveRequest):
    """Body of a refusal."""

    reason: Annotated[str, Field(min_length=1, max_length=MAX_BY)]


_READ_ERRORS = errors(503)
_ACT_ERRORS = errors(404, 408, 409, 413, 422, 503, 507)


def create_app(
    node: NodeApi,
    metrics: Metrics,
    *,
    token: str | None = None,
    hooks: Hooks | None = None,
    prefix: str = "",
    cookie: str = COOKIE,
) -> FastAPI:
    """The API over a node.

    token: asked for everywhere but at /healthz, the page's files and the hooks; None serves this machine only. hooks:
    None for none. prefix: path below which a proxy shows the API, "" for none. cookie: the name of that of a login.
    """
    access = None if token is None else Access(token, cookie=cookie)
    app = FastAPI(
        title="edgeagent",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        servers=[{"url": prefix}] if prefix else None,
    )
    app.add_middleware(Guard, access=access, has_hooks=hooks is not None)
    if prefix:
        app.add_middleware(PathPrefix, prefix=prefix)
    add_error_answers(app)
    _add_reading(app, node, metrics)
    _add_acting(app, node)
    files = PageFiles()
    add_page(app, files)
    add_login(app, access, files, prefix)
    if hooks is not None:
        _add_hooks(app, hooks)
    return app


def _add_reading(app: FastAPI, node: NodeApi, metrics: Metrics) -> None:
    """What may be asked. `response_model` describes the answer; `json_answer` makes it."""
    scrape = _Scrape(metrics)

    @app.get("/healthz", summary="The process is alive", response_class=PlainTextResponse)
    async def healthz() -> Response:
        return Response("ok\n", media_type="text/plain")

    @app.get(
        "/readyz",
        summary="Frames are being served (200) or not (503)",
        response_model=Readiness,
        responses={**errors(), 503: {"model": Readiness, "description": "Frames are not being served"}},
    )
    async def readyz() -> Response:
        is_ready, why = node.ready()
        return json_answer(Readiness(ready=is_ready, why=why), 200 if is_ready else 503)

    @app.get(
        "/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse, responses=_READ_ERRORS
    )
    async def prometheus() -> Response:
        return Response(await scrape.text(), headers={"content-type": metrics.content_type})

    @app.get(
        "/api/status",
        summary="What runs, since when and why",
        response_model=Status,
        responses=_READ_ERRORS,
    )
    async def status() -> Response:
        return json_answer(node.status())

    @app.get(
        "/api/history",
        summary="The last audit records, oldest first",
        response_model=History,
        responses=errors(422, 503),
    )
    async def history(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
        return Response(node.history(limit), media_type="application/json")

    @app.get(
        "/api/history/check",
        summary="Whether the audit records are those that were written, and in that order",
        response_model=HistoryCheck,
        responses=errors(422, 503),
    )
    async def check_history(anchor: Annotated[str, Query(max_length=128)] = "") -> Response:
        return json_answer(await node.check_history(anchor))


def _add_acting(app: FastAPI, node: NodeApi) -> None:
    """What may be asked for."""

    @app.post(
        "/rollback",
        summary="Roll the only model back to the version before, and hold it there",
        response_model=Outcome,
        responses=_ACT_ERRORS,
    )
    async def rollback_only(request: Request, body: RollbackRequest | None = None) -> Response:
        asked = body or RollbackRequest()
        return json_answer(await node.rollback(None, who(request, asked.by), asked.if_epoch))

    @app.post(
        "/api/models/{model}/rollback",
        summary="Roll a model back to the version before, and hold it there",
        response_model=Outcome,
        responses=_ACT_ERRORS,
    )
    async def rollback(request: Request, model: ModelName, body: RollbackRequest | None = None) -> Response:
        asked = body or RollbackRequest()
        return json_answer(await node.rollback(model, who(request, asked.by), asked.if_epoch))

    @app.post(
        "/api/models/{model}/approve",
        summary="Let the version that waits in SHADOW come in",
        response_model=Outcome,
        responses=_ACT_ERRORS,
    )
    async def approve(request: Request, model: ModelName, body: ApproveRequest | None = None) -> Response:
        asked = body or ApproveRequest()
        event = ApproveRequested(who(request, asked.by), asked.version, asked.if_digest)
        return json_answer(await node.decide(model, event))

    @app.post(
        "/api/models/{model}/refuse",
        summary="Refuse the version that waits in SHADOW",
        response_model=Outcome,
        responses=_ACT_ERRORS,
    )
    async def refuse(request: Request, model: ModelName, body: RefuseRequest) -> Response:
        reason = clean(" ".join(body.reason.split()), MAX_BY)
        event = RefuseRequested(who(request, body.by), reason, body.version, body.if_digest)
        return json_answer(await node.decide(model, event))

    @app.post(
        "/api/models/{model}/promote",
        summary="Make a version the aspired one on this node",
        status_code=202,
        response_model=Outcome,
        responses=_ACT_ERRORS,
    )
    async def promote(request: Request, model: ModelName, body: PromoteRequest) -> Response:
        return json_answer(
            await node.promote(model, body.version, who(request, body.by), clean(body.reason, MAX_BY)), 202
        )


class _Scrape:
    """The metrics as text, made at most once in `SCRAPE_S`: a thread that makes it holds up the event loop's."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._text = b""
        self._made = -SCRAPE_S

    async def text(self) -> bytes:
        """That of now, or of a moment ago."""
        async with self._lock:
            if time.monotonic() - self._made >= SCRAPE_S:
                self._text = await asyncio.to_thread(self._metrics.render)
                self._made = time.monotonic()
            return self._text


def _add_hooks(app: FastAPI, hooks: Hooks) -> None:
    """What others may ask for with a signature."""

    @app.post(
        "/api/hooks/{name}",
        summary="A webhook: the delivery of a model registry, a forge or an object store, signed by its sender",
        response_model=HookAnswer,
        responses={
            **errors(404, 408, 409, 413, 422, 429, 503, 507),
            202: {"model": HookAnswer, "description": "It asks for a version, which was written or promoted"},
        },
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
        },
    )
    async def hook(request: Request, name: HookName) -> Response:
        headers = {key.lower(): value for key, value in request.headers.items()}
        peer = request.client.host if request.client else "unknown"
        answer = await hooks.deliver(name, headers, await request.body(), peer)
        return json_answer(answer, 202 if answer.state == "accepted" else 200)
