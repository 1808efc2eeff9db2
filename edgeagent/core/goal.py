# SPDX-License-Identifier: AGPL-3.0-or-later
"""What should serve, and whether it may."""

from __future__ import annotations

from edgeagent.core.directive import Directive
from edgeagent.core.lifecycle import Stage
from edgeagent.core.state import Goal, Rejection, State


def goal(state: State) -> Goal | None:
    """What should serve now: at boot the last known good, then a stop-gap, an intent made on this node, the intent.

    None: whatever serves is right. So it is after a start until the intent was read: what stood there before may be
    what made the node fail, or no longer stand there.
    """
    if state.active is None and not is_awaited(state):
        for ref in reversed(state.stable_versions):
            if ref.version not in state.run.boot_failed:
                return Goal(Directive(ref.version, "boot", "boot", "last known good"), ref.digest)
    gap = state.run.stop_gap
    if gap and not rejection_of(state, gap):
        return gap
    if state.override:
        return state.override.goal
    if state.active and not state.run.intent_synced:
        return None
    return _intended(state.directive, state) if state.directive else None


def _intended(directive: Directive, state: State) -> Goal:
    """What a roll-out's end brings back has served well here, and need not prove itself anew."""
    good = (r.digest for r in state.stable_versions if directive.returns and r.version == directive.version)
    return Goal(directive, next(good, ""))


def is_awaited(state: State) -> bool:
    """Whether nothing serves for the candidate's sake: what served was stopped, for there was no room for two."""
    gap, c = state.run.gap, state.candidate
    return gap is not None and c is not None and c.id == gap.candidate_id


def rejection_of(state: State, wanted: Goal) -> Rejection | None:
    """Why `wanted` was refused under the intent that still stands, if it was."""
    return next(
        (r for r in state.rejections if r.version == wanted.version and r.intent_id == wanted.intent_id), None
    )


def rejections_in_force(state: State) -> list[Rejection]:
    """All but those of a roll-out, or of a key, to which the node may come back."""
    return [r for r in state.rejections if r.intent_id == state.intent or not r.intent_id.startswith("/")]


def event_name(state: State, wanted: Goal) -> str:
    """What bringing in `wanted` is called in the audit log."""
    if wanted.intent_id == "boot":
        return "boot"
    if wanted.directive.returns:
        return "rollback"
    if wanted == state.run.stop_gap:
        return "sentinel"
    is_override = state.override and state.override.goal.intent_id == wanted.intent_id
    return state.override.kind if state.override and is_override else "update"


def state_name(s: State) -> str:
    """Where the model stands, in the words of the lifecycle."""
    if s.candidate:
        return s.candidate.stage.value
    wanted = goal(s)
    if wanted and rejection_of(s, wanted):
        return Stage.REJECTED.value
    if s.active is None:
        return Stage.ASPIRED.value
    return s.stage.value
