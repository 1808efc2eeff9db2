# SPDX-License-Identifier: AGPL-3.0-or-later
"""`/api/models/<m>/versions`: what there is to choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from fastapi import FastAPI, Response
from pydantic import BaseModel

from edgeagent.update.version_list import VersionList
from edgeagent.web.answers import ErrorText, errors, json_answer
from edgeagent.web.asked import ModelName


class VersionsApi(Protocol):
    """Whoever knows what the model store holds."""

    async def versions(self, model: str) -> VersionList:
        """Of one model. Raises NotFoundError."""


class WithdrawnBy(BaseModel):
    """Why no node is to take a version up any more."""

    reason: str
    by: str
    at: str


class VersionRow(BaseModel):
    """A version, as `edgeagent versions --json` prints it."""

    version: str
    created: str | None
    digest: str | None
    sequence: int | None
    tags: Sequence[str]
    metrics: Mapping[str, float] | None
    note: str | None
    withdrawn: WithdrawnBy | None
    error: str | None


class Versions(BaseModel):
    """From the oldest to the newest, as they were found last; error: why they can't be read now. left_out: older ones
    than are shown; at: when they were read, Unix seconds, null for never."""

    model: str
    versions: Sequence[VersionRow]
    error: ErrorText | None
    left_out: int
    broken_tags: Sequence[str]
    at: float | None


def add_versions(app: FastAPI, api: VersionsApi) -> None:
    """The route."""

    @app.get(
        "/api/models/{model}/versions",
        summary="What the model store holds of a model, with tags and what was withdrawn",
        response_model=Versions,
        responses=errors(404, 422, 503),
    )
    async def versions(model: ModelName) -> Response:
        found = await api.versions(model)
        e = found.error
        return json_answer(
            Versions(
                model=model,
                versions=[VersionRow.model_validate(row.to_json()) for row in found.versions],
                error=ErrorText(what=e.what, why=e.why, todo=e.todo) if e else None,
                left_out=found.left_out,
                broken_tags=found.broken_tags,
                at=found.at,
            )
        )
