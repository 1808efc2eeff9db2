# SPDX-License-Identifier: AGPL-3.0-or-later
"""Roll-outs to follow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgeagent.core.directive import Directive
from edgeagent.core.following import SeenRollout
from edgeagent.core.rollout import PLACES, Plan, Rollout, Status

CURRENT = Directive("v1", "/models/yolo/current@5", by="Ada", reason="good")
"""What the roll-outs of `a_rollout` build on."""


def a_rollout(status: Status = Status.ROLLING, **fields: Any) -> Rollout:
    """One of v2 that is open for every node, unless `fields` say otherwise."""
    plan = Plan("v2", "v1", "5", "salt", waves=("100%",), by="CI", reason="release 2")
    return replace(Rollout("r1", plan, status=status, wave=0, open_below=PLACES), **fields)


def seen(status: Status = Status.ROLLING, revision: str = "7", **fields: Any) -> SeenRollout:
    """The same, as it stands under its key."""
    return SeenRollout(a_rollout(status, **fields), revision)
