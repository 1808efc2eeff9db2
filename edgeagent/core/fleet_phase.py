# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node has done in the roll-out in force, and what it says of that to the fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import floor

from edgeagent.core.fleet_report import Phase, Report, coarse
from edgeagent.core.following import Followed, Part, Standing
from edgeagent.core.goal import state_name
from edgeagent.core.lifecycle import Stage
from edgeagent.core.pairs import PairSummary
from edgeagent.core.preloaded import PreloadState
from edgeagent.core.rollback import rollback_target
from edgeagent.core.rollout import FOLLOWED, GOES_BACK, Rollout, is_in, rollout_intent
from edgeagent.core.state import Rejection, State, VersionRef

_AFTER_SWAP = (Stage.PROBATION, Stage.STABLE)
_ON_THE_WAY = (Stage.FETCHING, Stage.VERIFYING, Stage.PREPARING, Stage.GATING, Stage.WARMING, Stage.READY)
_MOVED, _MOVED_EVIDENCE = 0.25, 0.5
"""From which share on a figure has moved, and from which power of ten on the evidence has."""


@dataclass(frozen=True)
class Figures:
    """What the version that serves has shown since its swap; see `Report`."""

    since: int = 0
    frames: int = 0
    latency_ms: float = 0.0
    boxes: float = 0.0
    golden: float = -1.0


@dataclass(frozen=True)
class RolloutView:
    """The roll-out in force, as this node sees it. is_in: the node belongs to a wave that is open; why: of the phase,
    or of the roll-out's status; led: whether a coordinator leads, None while that isn't known; orphaned: for too long
    none does."""

    rollout: Rollout
    is_in: bool
    phase: Phase
    why: str
    led: bool | None
    orphaned: bool = False


def view_of(state: State, followed: Followed, me: Standing, waits: str = "") -> RolloutView | None:
    """What the status shows, None where there is no roll-out. waits: why the node can't begin yet."""
    if followed.seen is None:
        return None
    rollout = followed.seen.rollout
    phase, why = phase_of(state, followed, waits)
    led = None if followed.leader is None else followed.leader != ""
    return RolloutView(rollout, is_in(rollout, me.node, me.labels), phase, why or rollout.why, led)


def phase_of(state: State, followed: Followed, waits: str = "") -> tuple[Phase, str]:
    """What the node has done, and why. waits: why it can't begin yet."""
    seen, hold = followed.seen, state.override
    refused = _refused(state, seen.rollout) if seen else None
    if followed.pin:
        return Phase.EXCUSED, f"pinned to {followed.pin.version}"
    if hold and hold.kind == "rollback" and followed.part is Part.FOLLOWS:
        said = hold.goal.directive
        return Phase.ROLLED_BACK, f"taken back by {said.by}" + (f": {said.reason}" if said.reason else "")
    if hold and not (hold.kind == "sentinel" and refused):
        return Phase.EXCUSED, f"held on {hold.goal.version} by {hold.goal.directive.by}"
    if seen is None or seen.rollout.status not in FOLLOWED | GOES_BACK:
        return Phase.NONE, ""
    if refused:
        return (Phase.ROLLED_BACK if _has_served(state, refused) else Phase.REFUSED), refused.why
    if followed.part is Part.WAITS:
        return Phase.WAITING, waits
    if followed.part is not Part.FOLLOWS:
        return Phase.NONE, ""
    serves = state.active is not None and state.active.version == seen.rollout.plan.version
    if not serves:
        return Phase.BEGUN, ""
    return (Phase.STABLE if state.stage is Stage.STABLE else Phase.SWAPPED), ""


def _refused(state: State, rollout: Rollout) -> Rejection | None:
    """Why the node doesn't serve the roll-out's version, or no more."""
    intent_id, version = rollout_intent(state.model, rollout.id), rollout.plan.version
    found = (r for r in reversed(state.rejections) if (r.version, r.intent_id) == (version, intent_id))
    return next(found, None)


def _has_served(state: State, refused: Rejection) -> bool:
    """Whether the version served before it was refused: also where the node ended with it, and started without it."""
    begun = state.begun_probations
    return refused.stage in _AFTER_SWAP or (begun is not None and begun.intent_id == refused.intent_id)


def _refused_intent(state: State) -> str:
    """Why what is to serve was refused, "" where it wasn't."""
    intent = state.directive.intent_id if state.directive else ""
    return next((r.why for r in reversed(state.rejections) if r.intent_id == intent), "")


def pairs_of(state: State, known: Mapping[VersionRef, PairSummary]) -> dict[VersionRef, PairSummary]:
    """What pairs say of the version that serves, and of the one that is to; what was said last stays (`known`)."""
    watch, c = state.run.probation, state.candidate
    last = {ref: pairs for ref, pairs in known.items() if ref in (state.active, c and c.ref)}
    if c and c.pairs:
        last[c.ref] = c.pairs
    if state.active and watch and watch.pairs:
        last[state.active] = watch.pairs
    return last


def report_of(
    state: State,
    followed: Followed,
    figures: Figures,
    pairs: Mapping[VersionRef, PairSummary],
    ahead: PreloadState | None = None,
    waits: str = "",
) -> Report:
    """What the node says of a model, but for its labels. ahead: the version that is made ready; waits: why it can't
    begin yet."""
    phase, why = phase_of(state, followed, waits)
    why = why or (_refused_intent(state) if phase is Phase.NONE else "")
    active, before, rollout, c = state.active, rollback_target(state), followed.seen, state.candidate
    judged = c.ref if c and c.stage is Stage.SHADOW else active
    seen = pairs.get(judged) if judged else None
    return Report(
        version=active.version if active else "",
        digest=active.digest if active else "",
        before=before.version if before else "",
        state=state_name(state),
        since=figures.since,
        rollout=rollout.rollout.id if rollout and phase is not Phase.NONE else "",
        phase=phase,
        why=why,
        preloaded=ahead.version if ahead and (ahead.ready or ahead.stage is Stage.REJECTED) else "",
        preload_refused=(ahead.why or "refused") if ahead and ahead.stage is Stage.REJECTED else "",
        frames=coarse(figures.frames),
        objects=coarse(seen.objects) if seen else 0,
        evidence=floor(10 * seen.evidence) / 10 if seen else 0.0,
        latency_ms=round(figures.latency_ms, 1),
        boxes=round(figures.boxes, 2),
        golden=figures.golden,
    )


def carried_on(now: Report, before: Report) -> Report:
    """With what was said of the same version before a restart, of which nothing is known any more."""
    if not now.version or (now.version, now.digest) != (before.version, before.digest):
        return now
    seen = now if now.objects else before
    frames = coarse(before.frames + now.frames)
    since = before.since or now.since
    return replace(now, since=since, frames=frames, objects=seen.objects, evidence=seen.evidence)


def is_news(before: Report, now: Report) -> bool:
    """Whether it is to be told. What changes all the time goes with the next that is: a stage on the way, and figures
    that move a little."""
    as_before = replace(
        now,
        latency_ms=before.latency_ms,
        boxes=before.boxes,
        evidence=before.evidence,
        state=before.state if now.state in _ON_THE_WAY else now.state,
    )
    if as_before != before:
        return True
    moved = ((before.latency_ms, now.latency_ms), (before.boxes, now.boxes))
    much = any(abs(b - a) > _MOVED * max(abs(a), abs(b)) for a, b in moved)
    return much or abs(now.evidence - before.evidence) >= _MOVED_EVIDENCE
