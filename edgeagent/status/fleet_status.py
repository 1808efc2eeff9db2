# SPDX-License-Identifier: AGPL-3.0-or-later
"""The roll-outs that a node leads, as its status has them."""

from __future__ import annotations

from edgeagent.core.coordination import Coordination
from edgeagent.core.rollout import Rollout
from edgeagent.status.part import StatusPart


class LedRollout(StatusPart):
    """A roll-out, as it was seen last."""

    model: str
    id: str
    version: str
    status: str
    wave: int
    """The one that is open, from 0; -1: none is yet."""
    waves: int
    why: str | None
    """Of the status, where there is something to say."""


class FleetStatus(StatusPart):
    """A node that may lead roll-outs."""

    leads: bool
    leader: str | None
    """Who leads: the name that it was given, which is that of a node where a node does."""
    rollouts: list[LedRollout]
    """While it leads: those in force, and the last one of a model if that was aborted."""
    broken: dict[str, str]
    """Roll-outs that can't be carried on, by model, and why."""
    error: str | None
    """Why the config store can't be asked."""


def fleet_status(state: Coordination) -> FleetStatus:
    """The part of the status."""
    return FleetStatus(
        leads=state.leads,
        leader=state.leader.host if state.leader else None,
        rollouts=[_led(model, rollout) for model, rollout in sorted(state.rollouts.items())],
        broken=dict(state.broken),
        error=state.failure or None,
    )


def _led(model: str, rollout: Rollout) -> LedRollout:
    return LedRollout(
        model=model,
        id=rollout.id,
        version=rollout.plan.version,
        status=rollout.status,
        wave=rollout.wave,
        waves=len(rollout.plan.waves),
        why=rollout.why or None,
    )
