# SPDX-License-Identifier: AGPL-3.0-or-later
"""/api/alarms over alarms of the test's own: what is asked of them, and how it is answered."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from edgeagent.core.alarms import Alarm, Condition
from edgeagent.core.alarms.alarm import Acknowledgement
from edgeagent.core.alarms.views import RuleView
from edgeagent.errors import ConflictError
from edgeagent.web.alarms_routes import add_alarms
from edgeagent.web.answers import add_error_answers

ALARM = Alarm(
    "a1", Condition("r", "present", "critical", "<b>seen</b>", "go", "line-1", "yolo"), "raised", True, 5.0
)


class FakeAlarms:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def alarms(self) -> list[Alarm]:
        return [ALARM]

    def rules(self) -> list[RuleView]:
        return [RuleView("r", "line-1", "present", "critical", "seen", "no such class")]

    async def acknowledge(self, id: str, by: str) -> Alarm:
        self.asked.append((id, by))
        if id != "a1":
            raise ConflictError(f"alarm {id}", "it is over", "nothing is to be done any more")
        return replace(ALARM, state="acknowledged", acknowledged=Acknowledgement(by, 6.0))

    async def shelve(self, id: str, by: str, minutes: int, reason: str) -> Alarm:
        self.asked.append((id, by, minutes, reason))
        return ALARM

    async def unshelve(self, id: str, by: str) -> Alarm:
        self.asked.append((id, by))
        return ALARM


def ask(alarms: FakeAlarms, method: str, path: str, **kwargs: Any) -> httpx.Response:
    """One request."""

    async def asked() -> httpx.Response:
        app = FastAPI()
        add_error_answers(app)
        add_alarms(app, alarms)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://node") as client:
            return await client.request(method, path, **kwargs)

    return asyncio.run(asked())


def test_the_list() -> None:
    """Each as `Alarm.as_dict` says it."""
    answer = ask(FakeAlarms(), "GET", "/api/alarms").json()
    assert answer["alarms"] == [ALARM.as_dict()]
    assert answer["rules"][0]["error"] == "no such class"


def test_acknowledging() -> None:
    """With a name, or without one; what is over answers 409, in words."""
    alarms = FakeAlarms()
    answer = ask(alarms, "POST", "/api/alarms/a1/ack", json={"by": "ann"})
    assert (answer.status_code, answer.json()["acknowledged_by"]) == (200, "ann from 127.0.0.1")
    assert ask(alarms, "POST", "/api/alarms/a1/ack").status_code == 200
    gone = ask(alarms, "POST", "/api/alarms/a2/ack")
    assert (gone.status_code, gone.json()["error"]["why"]) == (409, "it is over")
    assert [by.partition(" ")[0] for _, by in alarms.asked] == ["ann", "api", "api"]


@pytest.mark.parametrize(
    "body", [None, {}, {"minutes": 0}, {"minutes": 1.5}, {"minutes": "60"}, {"minutes": 60, "colour": "red"}]
)
def test_shelving_wrongly(body: Any) -> None:
    """Reaches nobody."""
    alarms = FakeAlarms()
    assert ask(alarms, "POST", "/api/alarms/a1/shelve", json=body).status_code == 422
    assert alarms.asked == []


def test_shelving_and_back() -> None:
    """For minutes, with a reason."""
    alarms = FakeAlarms()
    assert ask(alarms, "POST", "/api/alarms/a1/shelve", json={"minutes": 60, "reason": "light"}).is_success
    assert ask(alarms, "POST", "/api/alarms/a1/unshelve").is_success
    assert alarms.asked[0][2:] == (60, "light")
