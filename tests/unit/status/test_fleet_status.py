# SPDX-License-Identifier: AGPL-3.0-or-later
"""The roll-outs that a node leads, in its status."""

from __future__ import annotations

from edgeagent.core.coordination import Coordination
from edgeagent.core.leader import Leader
from edgeagent.core.rollout import Plan, Rollout, Status
from edgeagent.status.fleet_status import fleet_status


def test_what_it_leads() -> None:
    """A wave counts from 0, and what isn't known is null."""
    plan = Plan("v2", "v1", "7", "salt")
    rollouts = {
        "yolo": Rollout("r1", plan, status=Status.PAUSED, wave=1, why="by hand"),
        "ocr": Rollout("r2", plan),
    }
    state = Coordination(True, Leader("x", "press-07", 12, 1.0), rollouts, {"seg": "no JSON"})
    assert fleet_status(state).model_dump() == {
        "leads": True,
        "leader": "press-07",
        "rollouts": [
            {
                "model": "ocr",
                "id": "r2",
                "version": "v2",
                "status": "planned",
                "wave": -1,
                "waves": 4,
                "why": None,
            },
            {
                "model": "yolo",
                "id": "r1",
                "version": "v2",
                "status": "paused",
                "wave": 1,
                "waves": 4,
                "why": "by hand",
            },
        ],
        "broken": {"seg": "no JSON"},
        "error": None,
    }


def test_one_that_waits() -> None:
    """It knows of no roll-out."""
    status = fleet_status(Coordination(failure="etcd is away"))
    assert (status.leads, status.leader, status.rollouts, status.error) == (False, None, [], "etcd is away")
