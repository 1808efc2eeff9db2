# SPDX-License-Identifier: AGPL-3.0-or-later
"""Decides what happens to one model on this node: state and event in, state and commands out.

Level-triggered: whatever the event, the last step compares what should serve (`goal`) with what does, and asks for
at most one change. A lost or repeated event changes nothing. Commands are performed in order; a Swap can't fail.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeagent.core.directive import Directive
from edgeagent.core.events import (
    ActiveUnhealthy,
    AppendAudit,
    Cancel,
    CandidateFailed,
    Command,
    Event,
    IntentChanged,
    IntentInvalid,
    PersistState,
    PrepareCandidate,
    PromoteRequested,
    RetireEngine,
    RollbackRequested,
    StageReached,
    StoreChanged,
    Swap,
    Tick,
)
from edgeagent.core.lifecycle import Stage, advance
from edgeagent.core.state import MAX_REJECTIONS, Candidate, Goal, Override, Rejection, State, VersionRef
from edgeagent.errors import ConflictError


@dataclass(frozen=True)
class Policy:
    """The operator's settings for updates: times in seconds, `keep_good` in versions."""

    probation_s: float = 60.0
    retry_min_s: float = 1.0
    retry_max_s: float = 30.0
    keep_stable: int = 3


Step = tuple[State, list[Command]]


def react(state: State, event: Event, now: float, policy: Policy) -> Step:
    """The state after `event` at monotonic time `now`, and the commands to perform.

    Raises ConflictError for a roll-back that isn't possible (state unchanged), IllegalTransitionError for a
    report that the lifecycle doesn't know.
    """
    state, commands = _apply(state, event, now, policy)
    state, more = _reconcile(state, now, policy)
    return state, commands + more


def goal(state: State) -> Goal | None:
    """What should serve now: at boot the last known good first, then a local wish, then the intent.

    None: whatever serves is right. So it is after a start until the intent was read: what was wished for before may
    be what made the node fail, or no longer be wished for.
    """
    if state.active is None:
        for ref in reversed(state.stable_versions):
            if ref.version not in state.boot_failed:
                return Goal(Directive(ref.version, "boot", "boot", "last known good"), ref.digest)
    if state.override:
        return state.override.goal
    if state.active and not state.intent_synced:
        return None
    return Goal(state.directive) if state.directive else None


def next_deadline(state: State) -> float | None:
    """When (monotonic seconds) a Tick is due, None when nothing waits for time to pass."""
    times = [state.probation_until, state.candidate.retry_at if state.candidate else None]
    return min((t for t in times if t is not None), default=None)


def rollback_target(state: State) -> VersionRef | None:
    """The version that a roll-back would bring: the last that was stable before the active one."""
    active = state.active
    return (
        next((r for r in reversed(state.stable_versions) if r.version != active.version), None)
        if active
        else None
    )


def rejection_of(state: State, wanted: Goal) -> Rejection | None:
    """Why `wanted` was refused under the wish that still stands, if it was."""
    return next(
        (r for r in state.rejections if r.version == wanted.version and r.intent_id == wanted.intent_id), None
    )


# -- events ------------------------------------------------------------------------------------------


def _apply(state: State, event: Event, now: float, policy: Policy) -> Step:
    match event:
        case IntentChanged(directive):
            if directive == state.directive:
                # Seen again after a restart it is equal, since it was saved whole: holds and quarantines stand.
                return replace(state, intent_synced=True), []
            state = replace(
                state, directive=directive, intent_synced=True, override=None, rejections=(), last_error=""
            )
            return state, [PersistState()]
        case IntentInvalid(why):
            return replace(state, last_error=why), []
        case RollbackRequested(by, reason):
            return _roll_back(state, by, reason)
        case PromoteRequested(directive):
            return replace(state, override=Override(Goal(directive), "promote")), [PersistState()]
        case StageReached():
            return _stage_reached(state, event, now, policy)
        case CandidateFailed(id, why, transient):
            return _failed(state, id, why, transient, now, policy)
        case StoreChanged(version):
            return _allow_retry(state, version)
        case ActiveUnhealthy(ref, why):
            return _active_unhealthy(state, ref, why)
        case Tick():
            return _tick(state, now, policy)


def _allow_retry(state: State, version: str) -> Step:
    """The version is tried again; content that was refused stays refused, by its digest."""
    if all(r.version != version for r in state.rejections):
        return state, []
    kept = (replace(r, version="") if r.version == version else r for r in state.rejections)
    return replace(state, rejections=tuple(r for r in kept if r.version or r.digest)), [PersistState()]


def _roll_back(state: State, by: str, reason: str) -> Step:
    target = rollback_target(state)
    if target is None:
        raise ConflictError(
            f"roll-back of {state.model}",
            "no earlier version has served well on this node",
            "promote a version instead",
        )
    asked = Directive(target.version, f"rollback@{state.epoch}", by, reason or "roll-back")
    wanted = Goal(asked, target.digest)
    # Asked again, it is tried again.
    rejections = tuple(r for r in state.rejections if r.intent_id != wanted.intent_id)
    override = Override(wanted, "rollback")
    return replace(state, override=override, rejections=rejections), [PersistState()]


def _stage_reached(state: State, event: StageReached, now: float, policy: Policy) -> Step:
    c, stage = _reporting(state, event.id), event.stage
    if c is None:
        return state, []
    if stage is not c.stage:
        c = replace(c, stage=advance(c.stage, stage), times=(*c.times, (stage, now)))
    if event.gates:
        c = replace(c, gates=event.gates)
    if event.digest and event.digest != c.digest:
        c = replace(c, digest=event.digest)
        why = _rejection_reason(state, c)
        if why:
            state, commands = _reject(state, c, why, now)
            return state, [Cancel(c.id), *commands]
    state = replace(state, candidate=c)
    if stage is Stage.READY:
        return _swap_in(state, c, now, policy)
    return state, []


def _reporting(state: State, id: int) -> Candidate | None:
    """The candidate that a report is about; None when the report is outdated: cancelled already, or given up."""
    c = state.candidate
    return c if c and c.id == id and c.retry_at is None else None


def _rejection_reason(state: State, c: Candidate) -> str:
    """What speaks against the candidate, now that its content is known; "" if nothing does."""
    if c.goal.known_good and c.digest != c.goal.digest:
        return f"its content is no longer what served well here ({c.goal.digest})"
    refused = next(
        (r for r in state.rejections if (r.digest, r.intent_id) == (c.digest, c.goal.intent_id)), None
    )
    return f"quarantined: {refused.why.removeprefix('quarantined: ')}" if refused else ""


def _swap_in(state: State, c: Candidate, now: float, policy: Policy) -> Step:
    """The candidate takes the slot; what it replaces stays warm if it has earned that."""
    new, old = VersionRef(c.goal.version, c.digest), state.active
    # The first version on a node has passed its gates, and there is none to go back to: nothing to watch it for.
    trusted = c.goal.known_good or not state.stable_versions
    advance(c.stage, Stage.STABLE if trusted else Stage.PROBATION)
    epoch = state.epoch + 1
    commands: list[Command] = [Swap(new, epoch)]
    standby = None
    for ref in (state.standby, old):
        if ref is None or ref == new:
            continue
        if not trusted and ref == state.last_known_good:
            standby = ref
        else:
            commands.append(RetireEngine(ref))
    commands.append(
        AppendAudit(
            event=_event_name(state, c.goal),
            result="swapped",
            by=c.goal.directive.by,
            from_version=old.version if old else "",
            to_version=new.version,
            digest=new.digest,
            why=c.goal.directive.reason,
            stages=c.durations(now),
            gates=c.gates,
        )
    )
    # What kept this version away is over; what was said of another, or of the key, stays.
    is_over = c.attempt > 1 or state.last_error.startswith(f"{new.version} refused")
    state = replace(
        state,
        active=new,
        epoch=epoch,
        last_error="" if is_over else state.last_error,
        standby=standby,
        candidate=None,
        probation_until=now + policy.probation_s,
    )
    if trusted:
        # Going back to an earlier version forgets those after it.
        at = state.stable_versions.index(new) if new in state.stable_versions else len(state.stable_versions)
        state = _stable(replace(state, stable_versions=state.stable_versions[:at]), policy)
    return state, [*commands, PersistState()]


def _event_name(state: State, wanted: Goal) -> str:
    if wanted.intent_id == "boot":
        return "boot"
    return (
        state.override.kind
        if state.override and state.override.goal.intent_id == wanted.intent_id
        else "update"
    )


def _stable(state: State, policy: Policy) -> State:
    """The active version has earned its place. What else was good under its name is no longer there."""
    assert state.active is not None
    stable_versions = (*(r for r in state.stable_versions if r.version != state.active.version), state.active)
    return replace(
        state,
        stable_versions=stable_versions[-policy.keep_stable :],
        probation_until=None,
        boot_failed=frozenset(),
    )


def _failed(state: State, id: int, why: str, transient: bool, now: float, policy: Policy) -> Step:
    c = _reporting(state, id)
    if c is None:
        return state, []
    if (
        not transient or c.goal.intent_id == "boot"
    ):  # at boot the next known good one serves sooner than a retry
        return _reject(state, c, why, now)
    delay = min(policy.retry_max_s, policy.retry_min_s * 2 ** min(c.attempt - 1, 16))
    c = replace(
        c,
        stage=advance(c.stage, Stage.ASPIRED),
        times=(*c.times, (Stage.ASPIRED, now)),
        retry_at=now + delay,
        error=why,
    )
    return replace(state, candidate=c, last_error=why), []


def _reject(state: State, c: Candidate, why: str, now: float) -> Step:
    advance(c.stage, Stage.REJECTED)
    rejection = Rejection(c.goal.version, c.digest, c.goal.intent_id, c.stage, why)
    # One entry a version, and one a content, under each wish.
    replaced = (("", c.digest, c.goal.intent_id), (c.goal.version, c.digest, c.goal.intent_id))
    others = tuple(r for r in state.rejections if (r.version, r.digest, r.intent_id) not in replaced)
    boot_failed = state.boot_failed | {c.goal.version} if c.goal.intent_id == "boot" else state.boot_failed
    record = AppendAudit(
        event=_event_name(state, c.goal),
        result="rejected",
        by=c.goal.directive.by,
        from_version=state.active.version if state.active else "",
        to_version=c.goal.version,
        digest=c.digest,
        why=why,
        stages=c.durations(now),
        gates=c.gates,
    )
    state = replace(
        state,
        candidate=None,
        rejections=(*others, rejection)[-MAX_REJECTIONS:],
        boot_failed=boot_failed,
        last_error=f"{c.goal.version} refused while {c.stage.lower()}: {why}",
    )
    return state, [record, PersistState()]


def _active_unhealthy(state: State, ref: VersionRef, why: str) -> Step:
    """A version that disappoints on probation is refused, and the standby serves again at once."""
    if ref != state.active or state.probation_until is None or state.standby is None:
        return state, []
    wanted = goal(state)
    intent_id = wanted.intent_id if wanted and wanted.version == ref.version else state.intent
    rejection = Rejection(ref.version, ref.digest, intent_id, Stage.PROBATION, why)
    back, epoch = state.standby, state.epoch + 1
    record = AppendAudit("probation", "rolled_back", "edgeagent", ref.version, back.version, back.digest, why)
    state = replace(
        state,
        active=back,
        standby=None,
        epoch=epoch,
        probation_until=None,
        rejections=(*state.rejections, rejection)[-MAX_REJECTIONS:],
        last_error=f"{ref.version} refused on probation: {why}",
    )
    return state, [Swap(back, epoch), RetireEngine(ref), record, PersistState()]


def _tick(state: State, now: float, policy: Policy) -> Step:
    commands: list[Command] = []
    if state.active and state.probation_until is not None and now >= state.probation_until:
        record = AppendAudit(
            "probation", "stable", "edgeagent", "", state.active.version, state.active.digest
        )
        commands = [*([RetireEngine(state.standby)] if state.standby else []), record, PersistState()]
        state = _stable(replace(state, standby=None), policy)
    c = state.candidate
    if c and c.retry_at is not None and now >= c.retry_at:
        # A new id: whatever the last attempt still reports is outdated.
        again, state = _new_candidate(state, c.goal, now, c.attempt + 1)
        commands.append(PrepareCandidate(again.id, again.goal, again.goal.mode))
    return state, commands


# -- the comparison ----------------------------------------------------------------------------------


def _reconcile(state: State, now: float, policy: Policy) -> Step:
    wanted, c = goal(state), state.candidate
    commands: list[Command] = []
    settled = wanted is None or (state.active is not None and state.active.version == wanted.version)
    if c and (settled or wanted != c.goal):
        if not settled and wanted and c.retry_at is None and _same_work(wanted, c.goal):
            return replace(state, candidate=replace(c, goal=wanted)), []
        commands = [Cancel(c.id), _superseded(state, c, now)]
        state, c = replace(state, candidate=None), None
    if settled or c or wanted is None or rejection_of(state, wanted):
        return state, commands
    if state.standby and state.standby.version == wanted.version:
        # Still warm: a swap, not a load. The standby is the last known good by construction.
        times = ((Stage.READY, now),)
        known_good = replace(wanted, digest=state.standby.digest)
        ready = Candidate(state.next_id, known_good, Stage.READY, times, state.standby.digest)
        state = replace(state, candidate=ready, next_id=state.next_id + 1)
        state, more = _swap_in(state, ready, now, policy)
        return state, commands + more
    new, state = _new_candidate(state, wanted, now, 1)
    return state, [*commands, PrepareCandidate(new.id, wanted, wanted.mode)]


def _same_work(a: Goal, b: Goal) -> bool:
    """Whether both ask for the same preparation, on whosever word."""
    leave = a.directive.allow_new_contract == b.directive.allow_new_contract
    return leave and (a.version, a.digest) == (b.version, b.digest)


def _superseded(state: State, c: Candidate, now: float) -> AppendAudit:
    return AppendAudit(
        event=_event_name(state, c.goal),
        result="superseded",
        by=c.goal.directive.by,
        from_version=state.active.version if state.active else "",
        to_version=c.goal.version,
        digest=c.digest,
        why="the wish changed",
        stages=c.durations(now),
        gates=c.gates,
    )


def _new_candidate(state: State, wanted: Goal, now: float, attempt: int) -> tuple[Candidate, State]:
    stage = advance(Stage.ASPIRED, Stage.FETCHING)
    c = Candidate(state.next_id, wanted, stage, ((stage, now),), attempt=attempt)
    return c, replace(state, candidate=c, next_id=state.next_id + 1)
