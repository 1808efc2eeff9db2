# SPDX-License-Identifier: AGPL-3.0-or-later
"""Having a version made ready ahead: everything that an update does before it loads, and nothing that could serve.

It gives way to whatever is to serve. A failure that may pass is tried again after a while; what was refused isn't,
until it is asked for anew: an update judges for itself. When something else serves by then, or other frames come, it is
made ready for that.
"""

from __future__ import annotations

from dataclasses import replace

from edgeagent.core.directive import Directive
from edgeagent.core.events import (
    AppendAudit,
    Cancel,
    CandidateFailed,
    Command,
    GaveWay,
    PreloadReady,
    PrepareCandidate,
    StageReached,
    Step,
)
from edgeagent.core.lifecycle import Stage, advance
from edgeagent.core.policy import Policy
from edgeagent.core.preloaded import Circumstances, Preload, PreloadState
from edgeagent.core.state import Candidate, Goal, PrepareMode, State


def want(state: State, directive: Directive | None) -> Step:
    """This version is to be made ready from now on, in the place of another; None: none. The same again changes
    nothing, and what is made for both goes on, on whosever word."""
    p = state.run.preload
    if directive is None or p is None:
        return _with(state, Preload(directive) if directive else None), _cancel(p)
    if p.directive == directive:
        return state, []
    if p.stage is not Stage.REJECTED and p.directive.prepares_the_same_as(directive):
        return _with(state, replace(p, directive=directive, retry_at=None)), []
    return _with(state, Preload(directive)), _cancel(p)


def preload_if_needed(state: State, now: float, policy: Policy) -> Step:
    """Begin, begin anew, or give up because the version is here already."""
    p = state.run.preload
    if p is None:
        return state, []
    if _place(state, p):
        idle = replace(p, stage=Stage.ASPIRED, makes_for=None, retry_at=None)
        return _with(state, idle), _cancel(p)
    if p.retry_at is not None and now >= p.retry_at:
        p = replace(p, retry_at=None)  # its time has come, whatever it waits for beside that
        state = _with(state, p)
    is_made = p.ready_for == circumstances(state)
    if p.makes_for or p.stage is Stage.REJECTED or is_made or p.retry_at is not None or _busy(state):
        return state, []
    begun = replace(
        p,
        id=state.next_id,
        stage=advance(p.stage, Stage.FETCHING),
        attempt=p.attempt + 1,
        retry_at=None,
        gates=(),
        makes_for=circumstances(state),
        ready_for=None,
    )
    prepare = PrepareCandidate(begun.id, Goal(p.directive), PrepareMode.PRELOAD)
    return _with(replace(state, next_id=state.next_id + 1), begun), [prepare]


def circumstances(state: State) -> Circumstances:
    """What a version would be made ready for now."""
    return Circumstances(state.active.digest if state.active else "", state.frames.seen)


def reported(
    state: State, event: StageReached | CandidateFailed | PreloadReady | GaveWay, now: float, policy: Policy
) -> Step:
    """What is told of the work on it. An outdated report, of work that is no more, changes nothing."""
    p = state.run.preload
    if p is None or p.id != event.id or p.makes_for is None:
        return state, []
    match event:
        case StageReached():
            return _stage_reached(state, p, event)
        case CandidateFailed():
            return _failed(state, p, event, now, policy)
        case PreloadReady():
            return _ready(state, p, event)
        case GaveWay():
            return _gave_way(state, p)


def _stage_reached(state: State, p: Preload, event: StageReached) -> Step:
    """The work goes on, or waits for its turn. Raises IllegalTransitionError."""
    stage = p.stage if event.stage is p.stage else advance(p.stage, event.stage)
    p = replace(p, stage=stage, digest=event.digest or p.digest, gates=event.gates or p.gates)
    return _with(state, p), []


def _ready(state: State, p: Preload, event: PreloadReady) -> Step:
    """All is done that can be done before it is to serve."""
    p = replace(
        p,
        stage=advance(p.stage, Stage.ASPIRED),
        digest=event.digest,
        gates=event.gates,
        attempt=0,
        error="",
        makes_for=None,
        ready_for=p.makes_for,
    )
    return _with(state, p), [_told(state, p, "ready", p.directive.reason)]


def _gave_way(state: State, p: Preload) -> Step:
    """An update needs its place: it is begun anew when there is one. That counts as no try."""
    stage = Stage.ASPIRED if p.stage is Stage.ASPIRED else advance(p.stage, Stage.ASPIRED)
    idle = replace(p, stage=stage, attempt=p.attempt - 1, makes_for=None)
    return _with(state, idle), _cancel(p)


def _failed(state: State, p: Preload, event: CandidateFailed, now: float, policy: Policy) -> Step:
    """It is tried again after a growing while, or refused."""
    p = replace(p, error=event.why, makes_for=None)
    if event.transient:
        delay_s = min(policy.rebuild_retry_s, policy.retry_min_s * 2 ** min(p.attempt - 1, 16))
        waits = replace(p, stage=advance(p.stage, Stage.ASPIRED), retry_at=now + delay_s)
        return _with(state, waits), []
    p = replace(p, stage=advance(p.stage, Stage.REJECTED))
    return _with(state, p), [_told(state, p, "rejected", event.why)]


def preload_state(state: State, waits: str = "") -> PreloadState | None:
    """What is to be told of it; None when nothing is to be made ready. waits: what the work on it waits for, "" when it
    doesn't."""
    p = state.run.preload
    if p is None:
        return None
    place = _place(state, p)
    if place or p.ready_for == circumstances(state):
        return PreloadState(p.version, Stage.READY, True, place)
    idle = "" if p.makes_for or p.stage is Stage.REJECTED else _busy(state)
    return PreloadState(p.version, p.stage, False, waits or idle or p.error)


def _with(state: State, p: Preload | None) -> State:
    return replace(state, run=replace(state.run, preload=p))


def _place(state: State, p: Preload) -> str:
    """Where the version is already, so that nothing need be made ready; "" when it isn't."""
    if state.active and state.active.version == p.version:
        return "it serves"
    return "it is the standby" if state.standby and state.standby.version == p.version else ""


def _busy(state: State) -> str:
    """What comes before it on this model; "" when nothing does."""
    c, r = state.candidate, state.rebuild
    if c and _is_prepared(c):
        return f"{c.goal.version} comes first"
    return "what serves is being rebuilt" if r and _is_prepared(r) else ""


def _is_prepared(c: Candidate) -> bool:
    return c.retry_at is None and c.stage is not Stage.SHADOW


def _cancel(p: Preload | None) -> list[Command]:
    return [Cancel(p.id)] if p and p.makes_for else []


def _told(state: State, p: Preload, result: str, why: str) -> AppendAudit:
    return AppendAudit(
        event="preload",
        result=result,
        by=p.directive.by,
        from_version=state.active.version if state.active else "",
        to_version=p.version,
        digest=p.digest,
        why=why,
        gates=p.gates,
        from_digest=state.active.digest if state.active else "",
    )
