# SPDX-License-Identifier: AGPL-3.0-or-later
"""GET /api/fleet: what the nodes of the fleet say of themselves, and how its roll-outs go."""

from __future__ import annotations

from typing import Protocol

from fastapi import FastAPI, Response

from edgeagent.status.fleet_overview import FleetAnswer
from edgeagent.web.answers import errors


class FleetApi(Protocol):
    """Whoever knows the fleet."""

    async def overview(self) -> str:
        """The JSON of a `FleetAnswer`; it may be some seconds old.

        Raises NotFoundError where there is no fleet, UnavailableError, and UsageError where the config store refuses
        this node's user.
        """


def add_fleet(app: FastAPI, fleet: FleetApi) -> None:
    """The route."""

    @app.get(
        "/api/fleet",
        summary="The nodes of the fleet, its roll-outs, and who leads them",
        response_model=FleetAnswer,
        responses=errors(404, 422, 503),
    )
    async def overview() -> Response:
        return Response(await fleet.overview() + "\n", media_type="application/json")
