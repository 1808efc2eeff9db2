# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pictures on which two versions of a model differ (docs/interface.md, "HTTP")."""

from __future__ import annotations

from typing import Annotated, Protocol

from fastapi import FastAPI, Path, Query, Response

from edgeagent.status.disagreements import DisagreementList
from edgeagent.web.answers import errors, json_answer
from edgeagent.web.preview_routes import Boxes, JpegAnswer

ModelName = Annotated[str, Path(max_length=128)]
PictureId = Annotated[str, Path(max_length=300)]
Limit = Annotated[int, Query(ge=1, le=500)]


class DisagreementApi(Protocol):
    """Whoever knows them. Raises NotFoundError and UnavailableError."""

    async def list(self, model: str, limit: int) -> DisagreementList:
        """The newest of a model."""

    async def picture(self, model: str, picture_id: str, boxes: bool) -> bytes:
        """One of them, a JPEG."""


def add_disagreements(app: FastAPI, kept: DisagreementApi) -> None:
    """The routes."""

    @app.get(
        "/api/models/{model}/disagreements",
        summary="The frames on which two versions differ most, newest first",
        response_model=DisagreementList,
        responses=errors(404, 422, 503),
    )
    async def disagreements(model: ModelName, limit: Limit = 100) -> Response:
        return json_answer(await kept.list(model, limit))

    @app.get(
        "/api/models/{model}/disagreements/{picture}.jpg",
        summary="One of these frames, with what both versions found",
        response_class=JpegAnswer,
        responses=errors(404, 422, 503),
    )
    async def picture(model: ModelName, picture: PictureId, boxes: Boxes = True) -> Response:
        return JpegAnswer(await kept.picture(model, picture, boxes))
