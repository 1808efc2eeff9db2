# SPDX-License-Identifier: AGPL-3.0-or-later
"""GET /api/fleet."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from edgeagent.errors import EdgeAgentError, NotFoundError, UnavailableError
from edgeagent.web.answers import add_error_answers
from edgeagent.web.fleet_routes import add_fleet


class FakeFleet:
    """Answers, or fails."""

    error: EdgeAgentError | None = None

    async def overview(self) -> str:
        if self.error:
            raise self.error
        return "{}"


def ask(fleet: FakeFleet, path: str = "/api/fleet") -> httpx.Response:
    """One request."""
    app = FastAPI()
    add_error_answers(app)
    add_fleet(app, fleet)

    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://node") as client:
            return await client.get(path)

    return asyncio.run(asked())


def test_what_the_fleet_says() -> None:
    """As it is."""
    answer = ask(FakeFleet())
    assert (answer.status_code, answer.json()) == (200, {})
    described = ask(FakeFleet(), "/openapi.json").json()["paths"]["/api/fleet"]["get"]["responses"]
    assert {"200", "401", "404", "422", "503"} <= described.keys()


@pytest.mark.parametrize(
    ("error", "code"),
    [(NotFoundError("the fleet", "no leases"), 404), (UnavailableError("config store", "away"), 503)],
)
def test_why_it_says_nothing(error: EdgeAgentError, code: int) -> None:
    """There is none, or the config store doesn't answer."""
    fleet = FakeFleet()
    fleet.error = error
    answer = ask(fleet)
    assert (answer.status_code, answer.json()["error"]["why"]) == (code, error.why)
