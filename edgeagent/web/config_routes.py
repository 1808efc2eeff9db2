# SPDX-License-Identifier: AGPL-3.0-or-later
"""The configuration over HTTP: what it says, and changes of pipelines and models, written into the file."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Query, Request, Response
from pydantic import Field

from edgeagent.config.edits import DropPipeline, Edit, PutPipeline, PutSettings
from edgeagent.core.text import MAX_BY
from edgeagent.status.config_status import ConfigChange, ConfigView
from edgeagent.web.answers import errors, json_answer
from edgeagent.web.asked import Body, ModelName, PipelineName, Text, who

Revision = Annotated[str, Field(max_length=64)]


class ConfigApi(Protocol):
    """The configuration of a running node."""

    async def view(self) -> ConfigView:
        """What the file says, without secrets."""

    async def change(self, edit: Edit, if_revision: str | None, by: str) -> ConfigChange:
        """Write it into the file, and take it over. Raises ForbiddenError, NotFoundError, ConflictError, UsageError
        with every mistake, UnavailableError; nothing has changed then."""


class PutPipelineRequest(Body):
    """A pipeline as it is to be. if_revision: only while the file has this one, else 409."""

    pipeline: dict[str, Any]
    if_revision: Revision | None = None
    by: Text = ""


class PutSettingsRequest(Body):
    """What counts as a detection of a model; an empty mapping for nothing but the pipelines' own limits."""

    settings: dict[str, Any]
    if_revision: Revision | None = None
    by: Text = ""


_CHANGE_ERRORS = errors(404, 408, 409, 413, 422, 503)


def add_config(app: FastAPI, config: ConfigApi) -> None:
    """The routes."""

    @app.get(
        "/api/config",
        summary="The configuration file, without secrets",
        response_model=ConfigView,
        responses=errors(503),
    )
    async def view() -> Response:
        return json_answer(await config.view())

    @app.put(
        "/api/pipelines/{pipeline}",
        summary="Add a pipeline, or change one, while the others run; written into the configuration file",
        response_model=ConfigChange,
        responses=_CHANGE_ERRORS,
    )
    async def put_pipeline(request: Request, pipeline: PipelineName, body: PutPipelineRequest) -> Response:
        edit = PutPipeline(pipeline, body.pipeline)
        return json_answer(await config.change(edit, body.if_revision, who(request, body.by)))

    @app.delete(
        "/api/pipelines/{pipeline}",
        summary="Take a pipeline away, while the others run; written into the configuration file",
        response_model=ConfigChange,
        responses=_CHANGE_ERRORS,
    )
    async def drop_pipeline(
        request: Request,
        pipeline: PipelineName,
        if_revision: Annotated[str | None, Query(max_length=64)] = None,
        by: Annotated[str, Query(max_length=MAX_BY)] = "",
    ) -> Response:
        return json_answer(await config.change(DropPipeline(pipeline), if_revision, who(request, by)))

    @app.put(
        "/api/models/{model}/settings",
        summary="What counts as a detection of a model, whichever version serves; written into the file",
        response_model=ConfigChange,
        responses=_CHANGE_ERRORS,
    )
    async def put_settings(request: Request, model: ModelName, body: PutSettingsRequest) -> Response:
        edit = PutSettings(model, body.settings)
        return json_answer(await config.change(edit, body.if_revision, who(request, body.by)))
