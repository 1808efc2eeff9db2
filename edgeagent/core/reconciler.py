# SPDX-License-Identifier: AGPL-3.0-or-later
"""Decides what happens to one model on this node: state and event in, state and commands out.

Level-triggered: whatever the event, the last steps compare what should serve (`goal`) with what does, the form in which
it serves with the one that it should have, and what was refused with what the store holds. They ask for at most one
change each. A lost or repeated event changes nothing. Commands are performed in order; a Swap can't fail.
"""

from __future__ import annotations

from dataclasses import replace

from edgeagent.core import candidate, preload, probation_watch, rebuild, shadow
from edgeagent.core.comeback import WAITS, comeback_at, still_counts
from edgeagent.core.events import (
    ApproveRequested,
    CandidateFailed,
    Command,
    EngineRetired,
    Event,
    FormConfirmed,
    FrameAtFault,
    FramesSeen,
    GaveWay,
    IntentChanged,
    IntentInvalid,
    MomentCame,
    PairsJudged,
    PastJudged,
    PersistState,
    PreloadReady,
    PreloadWanted,
    PrepareCandidate,
    ProbationBreached,
    PromoteRequested,
    RefuseRequested,
    RollbackRequested,
    ShadowFinished,
    StageReached,
    StateSaved,
    Step,
    StoreChecked,
    Tick,
    WorkerFailed,
)
from edgeagent.core.goal import goal, rejection_of
from edgeagent.core.intent_change import intent_changed
from edgeagent.core.lifecycle import Stage
from edgeagent.core.policy import Policy
from edgeagent.core.probation_count import asked_again
from edgeagent.core.rollback import frame_at_fault, probation_breached, roll_back, worker_failed
from edgeagent.core.state import Candidate, Goal, Override, State
from edgeagent.core.store_watch import store_checked, watch_refused
from edgeagent.core.swap import retired, swap_in


def react(state: State, event: Event, now: float, policy: Policy) -> Step:
    """The state after `event` at monotonic time `now`, and the commands to perform.

    Raises ConflictError for a roll-back, an approval or a refusal that isn't possible (state unchanged),
    IllegalTransitionError for a report that the lifecycle doesn't know.
    """
    state, commands = _apply(state, event, now, policy)
    # What has come in may not be what should serve any more: after a start the last known good comes first.
    for compare in _COMPARISONS:
        state, more = compare(state, now, policy)
        commands = [*commands, *more]
    return state, commands


def next_deadline(state: State) -> float | None:
    """When (monotonic seconds) a Tick is due, None when nothing waits for time to pass."""
    times = [
        state.probation_until,
        state.candidate.retry_at if state.candidate else None,
        state.candidate.shadow.due if state.candidate and state.candidate.shadow else None,
        state.rebuild.retry_at if state.rebuild else None,
        state.run.store_watch.due if state.run.store_watch else None,
        state.run.preload.retry_at if state.run.preload else None,
    ]
    return min((t for t in times if t is not None), default=None)


# -- events ------------------------------------------------------------------------------------------


def _apply(state: State, event: Event, now: float, policy: Policy) -> Step:
    match event:
        case IntentChanged(directive):
            return intent_changed(state, directive)
        case IntentInvalid(why):
            return replace(state, last_error=why), []
        case RollbackRequested():
            return roll_back(state, event, now, policy)
        case PromoteRequested(directive):
            before = state.override.goal.directive if state.override else state.directive
            state = replace(
                state,
                override=Override(Goal(directive), "promote"),
                run=replace(state.run, stop_gap=None),
                begun_probations=asked_again(state, before, directive),
                comeback=still_counts(state, directive),
            )
            return state, [PersistState()]
        case PreloadWanted(directive):
            return preload.want(state, directive)
        case PreloadReady() | GaveWay():
            return preload.reported(state, event, now, policy)
        case StageReached() | CandidateFailed() | FormConfirmed():
            return _report(state, event, now, policy)
        case ApproveRequested():
            return shadow.approve(state, event, now)
        case RefuseRequested():
            return shadow.refuse(state, event, now, policy)
        case PairsJudged():
            return probation_watch.pairs_judged(shadow.pairs_judged(state, event, now), event, policy)
        case ShadowFinished():
            return shadow.finished(state, event, now, policy)
        case MomentCame():
            return shadow.moment_came(state, event, now, policy)
        case PastJudged():
            return probation_watch.past_judged(state, event, policy)
        case StateSaved(id):
            return shadow.saved(state, id), []
        case ProbationBreached():
            return probation_breached(state, event, now, policy)
        case FramesSeen():
            return rebuild.frames_seen(state, event, now)
        case StoreChecked():
            return store_checked(state, event, now, policy)
        case WorkerFailed():
            return worker_failed(state, event, now, policy)
        case FrameAtFault():
            return frame_at_fault(state, event, now)
        case EngineRetired(ref):
            return retired(state, ref), []
        case Tick():
            return _tick(state, now, policy)


def _report(
    state: State, event: StageReached | CandidateFailed | FormConfirmed, now: float, policy: Policy
) -> Step:
    """What is told of the candidate, the rebuild or the preload. An outdated report, of one that is no more, changes
    nothing."""
    c, r = _reporting(state.candidate, event.id), _reporting(state.rebuild, event.id)
    match event:
        case StageReached() if c and c.stage is not Stage.SHADOW:  # told again after it was READY
            return candidate.stage_reached(state, c, event, now, policy)
        case CandidateFailed() if c:
            return candidate.failed(state, c, event, now, policy)
        case StageReached() if r:
            return rebuild.stage_reached(state, r, event, now, policy)
        case CandidateFailed(why=why) if r:
            return rebuild.failed(state, r, why, now, policy)
        case FormConfirmed() if r:
            return rebuild.form_confirmed(state, r, event, now, policy)
        case StageReached() | CandidateFailed():
            return preload.reported(state, event, now, policy)
    return state, []


def _reporting(c: Candidate | None, id: int) -> Candidate | None:
    return c if c and c.id == id and c.retry_at is None else None


def _tick(state: State, now: float, policy: Policy) -> Step:
    state, commands = probation_watch.end_if_due(state, now, policy)
    c = state.candidate
    if c and c.retry_at is not None and now >= c.retry_at:
        state, again = candidate.begin(state, c.goal, now, c.attempt + 1)
        state = replace(state, candidate=again)
        commands = [*commands, PrepareCandidate(again.id, again.goal, again.goal.mode)]
    return state, commands


# -- the comparison ----------------------------------------------------------------------------------


def _reconcile(state: State, now: float, policy: Policy) -> Step:
    wanted, c = goal(state), state.candidate
    commands: list[Command] = []
    settled = wanted is None or (state.active is not None and state.active.version == wanted.version)
    if c and (settled or wanted != c.goal):
        if wanted and not settled and _goes_on(state, c, wanted):
            return replace(state, candidate=replace(c, goal=wanted)), []
        state, commands = candidate.superseded(state, c, now)
        # If what served was stopped for its sake, that comes first.
        wanted, c = goal(state), None
    if settled or c or wanted is None or rejection_of(state, wanted):
        return state, commands
    if state.standby and state.standby.version == wanted.version:
        # Still warm: a swap, not a load. The standby is the last known good by construction.
        known_good = replace(wanted, digest=state.standby.digest)
        ready = Candidate(state.next_id, known_good, Stage.READY, ((Stage.READY, now),), state.standby.digest)
        state, more = swap_in(replace(state, next_id=state.next_id + 1), ready, now, policy)
        return state, [*commands, *more]
    state, until = comeback_at(state, wanted, now, policy)
    if until is not None:
        return candidate.begin_later(state, wanted, until, WAITS, now), commands
    state, new = candidate.begin(state, wanted, now)
    return replace(state, candidate=new), [*commands, PrepareCandidate(new.id, wanted, wanted.mode)]


_COMPARISONS = (
    _reconcile,
    shadow.bring_in,
    _reconcile,
    rebuild.rebuild_if_needed,
    preload.preload_if_needed,
    watch_refused,
)


def _goes_on(state: State, c: Candidate, wanted: Goal) -> bool:
    """Whether the work on the candidate is also what is wanted now, on another's word, under which it isn't refused."""
    waits_on = c.attempt == 0 and state.comeback is not None
    is_at_work = c.retry_at is None or waits_on
    same = wanted.digest == c.goal.digest and wanted.directive.prepares_the_same_as(c.goal.directive)
    names = {wanted.version, c.digest} - {""}
    refused = any(r.intent_id == wanted.intent_id and names & {r.version, r.digest} for r in state.rejections)
    return is_at_work and same and not refused
