# SPDX-License-Identifier: AGPL-3.0-or-later
"""/api/alarms: what is wrong, what to do about it, and who has taken notice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path as PathOnDisk
from typing import Annotated, Protocol

from fastapi import FastAPI, Path, Request, Response
from fastapi.responses import FileResponse
from pydantic import Field

from edgeagent.core.alarms import Alarm
from edgeagent.core.alarms.views import RuleView
from edgeagent.status.part import StatusPart
from edgeagent.web.answers import errors, json_answer
from edgeagent.web.asked import Body, Text, who
from edgeagent.workers.tasks.clips import What

AlarmId = Annotated[str, Path(max_length=64)]


class AlarmsApi(Protocol):
    """The alarms of a node. The verbs raise NotFoundError, ConflictError, UsageError, NotKeptError."""

    def alarms(self) -> Sequence[Alarm]:
        """Those that are not over and the last of those that are, the newest first."""

    def rules(self) -> Sequence[RuleView]:
        """What may raise one."""

    async def acknowledge(self, id: str, by: str) -> Alarm:
        """Somebody has taken notice. Returns it as it is then, once that is on disk."""

    async def shelve(self, id: str, by: str, minutes: int, reason: str) -> Alarm:
        """Nobody is to hear of it for so long. Likewise."""

    async def unshelve(self, id: str, by: str) -> Alarm:
        """It is to be heard again. Likewise."""

    async def file(self, id: str, what: What) -> tuple[PathOnDisk, str]:
        """Where an alarm's picture or clip is, and its media type. Raises NotFoundError."""


class AlarmTrail(StatusPart):
    """What people did about an alarm, and how it came to its end."""

    acknowledged_by: str | None
    acknowledged_at: float | None
    shelved_by: str | None
    shelved_until: float | None
    shelved_reason: str | None
    closed_at: float | None
    closed_why: str | None


class AlarmView(AlarmTrail):
    """One alarm. Times are Unix seconds."""

    id: str
    rule: str
    pipeline: str | None
    model: str | None
    kind: str
    """Of a rule: present, count or absent; of one of the system: the name of the rule."""
    severity: str
    """info, warning or critical"""
    state: str
    """raised (nobody has taken notice, whether it holds or no more), acknowledged, shelved, or cleared: it is over."""
    active: bool
    """Its condition holds now."""
    count: int
    """How often it came."""
    text: str
    todo: str
    figures: dict[str, float | str]
    raised_at: float
    cleared_at: float | None
    picture: str | None
    """Where it is, relative to where the API begins; so is the clip."""
    clip: str | None
    changed_at: float
    change: int
    """Grows by one with each change."""
    own_text: bool = False
    """`text` is that of whoever wrote the rule; else it is the node's, and `kind` and `figures` say the same."""
    own_todo: bool = False
    """Likewise `todo`."""


class AlarmsAnswer(StatusPart):
    """The alarms of a node, the newest first, and what may raise one."""

    alarms: list[AlarmView]
    rules: list[RuleView]


class AckRequest(Body):
    """Body of an acknowledgement; may be left out."""

    by: Text = ""


class ShelveRequest(AckRequest):
    """For how long nobody is to hear of it."""

    minutes: Annotated[int, Field(strict=True, ge=1, le=10_080)]
    reason: Text = ""


_ACT_ERRORS = errors(404, 408, 409, 413, 422, 507)


def add_alarms(app: FastAPI, alarms: AlarmsApi) -> None:
    """The routes."""

    @app.get(
        "/api/alarms",
        summary="What is wrong, and what may be",
        response_model=AlarmsAnswer,
        responses=errors(503),
    )
    async def listing() -> Response:
        return json_answer(
            AlarmsAnswer(alarms=[_view(a) for a in alarms.alarms()], rules=list(alarms.rules()))
        )

    @app.post(
        "/api/alarms/{id}/ack",
        summary="Somebody has taken notice",
        response_model=AlarmView,
        responses=_ACT_ERRORS,
    )
    async def acknowledge(request: Request, id: AlarmId, body: AckRequest | None = None) -> Response:
        return json_answer(_view(await alarms.acknowledge(id, who(request, (body or AckRequest()).by))))

    @app.post(
        "/api/alarms/{id}/shelve",
        summary="Nobody is to hear of it for a while",
        response_model=AlarmView,
        responses=_ACT_ERRORS,
    )
    async def shelve(request: Request, id: AlarmId, body: ShelveRequest) -> Response:
        by = who(request, body.by)
        return json_answer(_view(await alarms.shelve(id, by, body.minutes, body.reason)))

    @app.post(
        "/api/alarms/{id}/unshelve",
        summary="It is to be heard again",
        response_model=AlarmView,
        responses=_ACT_ERRORS,
    )
    async def unshelve(request: Request, id: AlarmId, body: AckRequest | None = None) -> Response:
        return json_answer(_view(await alarms.unshelve(id, who(request, (body or AckRequest()).by))))

    @app.get(
        "/api/alarms/{id}/picture.jpg",
        summary="The frame by which an alarm was raised, with what was found on it",
        response_class=FileResponse,
        responses=errors(404),
    )
    async def picture(id: AlarmId) -> Response:
        path, media_type = await alarms.file(id, "picture")
        return FileResponse(path, media_type=media_type)

    @app.get(
        "/api/alarms/{id}/clip.mp4",
        summary="From some seconds before an alarm was raised to some seconds after; a part of it with Range",
        response_class=FileResponse,
        responses=errors(404),
    )
    async def clip(id: AlarmId) -> Response:
        path, media_type = await alarms.file(id, "clip")
        return FileResponse(path, media_type=media_type)


def _view(alarm: Alarm) -> AlarmView:
    return AlarmView(**alarm.as_dict())
