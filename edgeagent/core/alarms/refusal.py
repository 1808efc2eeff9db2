# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether the version that a model was asked for doesn't serve because the node refused it, or went back from it."""

from __future__ import annotations

from edgeagent.core.alarms.system import Refused
from edgeagent.core.goal import rejection_of
from edgeagent.core.lifecycle import Stage
from edgeagent.core.state import Goal, Rejection, State

_SERVED = (Stage.PROBATION, Stage.STABLE)
LEFT_BY_ITSELF = "sentinel"
"""Kind of the intent under which a node holds the version before one that kept failing."""


def refused_version(state: State) -> Refused | None:
    """What was asked for and doesn't serve, and why; None where it serves, is on its way, or was never tried. What an
    operator took back is nobody's failure."""
    hold = state.override
    if hold and hold.kind != LEFT_BY_ITSELF:
        return _refused(state, rejection_of(state, hold.goal))
    asked = rejection_of(state, Goal(state.directive)) if state.directive else None
    left = next((r for r in reversed(state.rejections) if r.stage is Stage.STABLE), None) if hold else None
    return _refused(state, asked or left)


def _refused(state: State, rejection: Rejection | None) -> Refused | None:
    if rejection is None or not rejection.version:
        return None
    if state.active and state.active.version == rejection.version:
        return None
    return Refused(rejection.version, rejection.why, rejection.stage in _SERVED, rejection.stage)
