# SPDX-License-Identifier: AGPL-3.0-or-later
"""Going back to a version that has served well: on the operator's word, or because the one that serves fails."""

from __future__ import annotations

from dataclasses import replace

from edgeagent.core.candidate import begin_later
from edgeagent.core.comeback import went_back
from edgeagent.core.directive import Directive
from edgeagent.core.events import (
    AppendAudit,
    FrameAtFault,
    PersistState,
    ProbationBreached,
    RetireEngine,
    RollbackRequested,
    Step,
    WorkerFailed,
)
from edgeagent.core.goal import goal
from edgeagent.core.lifecycle import Stage, advance
from edgeagent.core.policy import Policy
from edgeagent.core.probation import count_failure, exceeds_failure_budget, keeps_failing
from edgeagent.core.state import MAX_REJECTIONS, Goal, Override, Rejection, State, VersionRef
from edgeagent.core.swap import retire, serving, swap_to
from edgeagent.errors import ConflictError


def rollback_target(state: State) -> VersionRef | None:
    """The version that a roll-back would bring: the last that was stable before the active one."""
    if state.active is None:
        return None
    others = (r for r in reversed(state.stable_versions) if r.version != state.active.version)
    return next(others, None)


def roll_back(state: State, event: RollbackRequested, now: float, policy: Policy) -> Step:
    """The version before should serve, until the intent itself changes.

    Who asks again without saying of which epoch, before a roll-back has served for as long as a probation takes, means
    the same one. Raises ConflictError when there is none, or another epoch serves.
    """
    if event.if_epoch is not None and event.if_epoch != state.epoch:
        raise ConflictError(
            f"roll-back of {state.model}",
            f"epoch {state.epoch} serves by now, not {event.if_epoch}",
            "look at the status, and ask again if it is still to be",
        )
    if event.if_epoch is None and _has_just_been_done(state, now, policy):
        return state, []
    target = rollback_target(state)
    if gap := state.run.gap:
        raise ConflictError(
            f"roll-back of {state.model}",
            f"nothing serves just now: {gap.stopped.version} made room for the version that is being loaded",
            "ask again when that serves, or write the version before into the key",
        )
    if target is None:
        raise ConflictError(
            f"roll-back of {state.model}",
            "no earlier version has served well on this node",
            "promote a version instead",
        )
    reason = event.reason or "roll-back"
    wanted = Goal(Directive(target.version, f"rollback@{state.epoch}", event.by, reason), target.digest)
    # Asked again, it is tried again.
    rejections = tuple(r for r in state.rejections if r.intent_id != wanted.intent_id)
    override = Override(wanted, "rollback")
    run = replace(state.run, stop_gap=None)
    return replace(state, override=override, rejections=rejections, run=run), [PersistState()]


def _has_just_been_done(state: State, now: float, policy: Policy) -> bool:
    o = state.override
    if o is None or o.kind != "rollback" or o.done_at is None:
        return False
    serves = state.active is not None and state.active.version == o.goal.version
    return serves and now < o.done_at + policy.probation_s


def worker_failed(state: State, event: WorkerFailed, now: float, policy: Policy) -> Step:
    """Count a failure of the active version's worker; go back when there are too many."""
    if event.ref != state.active:
        return state, []
    window_s = policy.failure_window_s
    failures = count_failure(state.run.failures, now, event.why, event.from_outside, window_s)
    state = replace(state, run=replace(state.run, failures=failures))
    if state.stage is Stage.PROBATION and exceeds_failure_budget(failures):
        state, commands = _end_probation_badly(state, event.why, now, policy)
        blamed = event.ref if state.active != event.ref else None
        return replace(state, run=replace(state.run, blamed=blamed)), commands
    if state.stage is Stage.STABLE and policy.leave_failing and keeps_failing(failures):
        return _leave_stable(state, event, now, policy)
    return state, []


def frame_at_fault(state: State, event: FrameAtFault, now: float) -> Step:
    """The frame that the version on probation was taken back for has failed on the version before as well, so it says
    nothing of either. The version is tried again, after a while that grows: such frames may come again and again."""
    ref, served = state.run.blamed, state.active
    if ref is None or ref != event.ref or served is None:
        return state, []
    why = f"{ref.version} isn't to blame: the frame that it failed on failed on {served.version}, too"
    kept = tuple(r for r in state.rejections if (r.digest, r.stage) != (ref.digest, Stage.PROBATION))
    state = replace(state, rejections=kept, last_error=why, run=replace(state.run, blamed=None))
    wanted, c = goal(state), state.comeback
    due = (
        c.until if c and c.until and now < c.until else None
    )  # over: it begins at once, as all that is wanted
    if wanted and wanted.version == ref.version and due and state.candidate is None:
        state = begin_later(state, wanted, due, why, now)
    record = AppendAudit("probation", "cleared", "edgeagent", "", ref.version, ref.digest, why)
    return state, [record, PersistState()]


def probation_breached(state: State, event: ProbationBreached, now: float, policy: Policy) -> Step:
    """The version on probation does worse than the one before; go back. That is only told where pairs show it, or this
    line's past, and the operator wants it so; and where there is nothing to go back to."""
    watch = state.run.probation
    if event.ref != state.active or watch is None:
        return state, []
    by_finds = event.summary is not None or event.by_past
    is_stuck = state.standby is None and not (policy.stop_start and rollback_target(state))
    reported = is_stuck or (by_finds and "probation" in policy.pairs.reports)
    if reported and watch.breach:
        return state, []
    watch = replace(watch, pairs=event.summary or watch.pairs, breach=event.why if reported else watch.breach)
    state = replace(state, run=replace(state.run, probation=watch))
    if reported:
        ref, seen = event.ref, event.summary
        return state, [
            AppendAudit(
                "probation",
                "reported",
                "edgeagent",
                "",
                ref.version,
                ref.digest,
                event.why,
                epoch=state.epoch,
                probation=seen,
            )
        ]
    return _end_probation_badly(state, event.why, now, policy)


def _end_probation_badly(state: State, why: str, now: float, policy: Policy) -> Step:
    """A version on probation is refused, and the standby serves again at once. Without a standby it goes on: its worker
    is started again, and that is better than nothing; where there was no room for one, the version before is loaded in
    its place."""
    ref, back, watch = state.active, state.standby, state.run.probation
    if ref is None:
        return state, []
    if back is None:
        return _load_the_one_before(state, ref, why, now, policy) if policy.stop_start else (state, [])
    advance(Stage.PROBATION, Stage.REJECTED)
    advance(Stage.READY, Stage.STABLE)
    state = went_back(_reject_active(state, why), now, policy)
    state = replace(
        serving(retire(state, ref), back), standby=None, probation_until=None, begun_probations=None
    )
    record = AppendAudit(
        "probation",
        "rolled_back",
        "edgeagent",
        ref.version,
        back.version,
        back.digest,
        why,
        from_digest=ref.digest,
        epoch=state.epoch,
        probation=watch.pairs if watch else None,
    )
    return state, [swap_to(state, back, state.epoch), RetireEngine(ref), record, PersistState()]


def _load_the_one_before(state: State, ref: VersionRef, why: str, now: float, policy: Policy) -> Step:
    target, intent_id, gap = rollback_target(state), f"sentinel@{state.epoch}", state.run.stop_gap
    if target is None or (gap and gap.intent_id == intent_id):
        return state, []
    state = went_back(_reject_active(state, why), now, policy)
    asked = Directive(target.version, intent_id, "edgeagent", f"{ref.version} refused on probation: {why}")
    record = AppendAudit("probation", "rejected", "edgeagent", "", ref.version, ref.digest, why)
    run = replace(state.run, stop_gap=Goal(asked, target.digest))
    return replace(state, run=run), [record, PersistState()]


def _leave_stable(state: State, event: WorkerFailed, now: float, policy: Policy) -> Step:
    """A stable version that keeps failing gives way to the one before, which is loaded beside it, and held until the
    intent itself changes. Without one before it, or when that doesn't come up, it goes on.

    If another version is asked for already, that is what should come: the one before is only a stop-gap, and not even
    that while the other is worked on.
    """
    target, intent_id = rollback_target(state), f"sentinel@{state.epoch}"
    intents = (state.override and state.override.goal, state.run.stop_gap)
    if target is None or any(tried and tried.intent_id == intent_id for tried in intents):
        return state, []
    asked, c = goal(state), state.candidate
    asks_for_another = asked is not None and asked.version != event.ref.version
    if asks_for_another and c and c.retry_at is None and c.stage not in (Stage.ASPIRED, Stage.SHADOW):
        return state, []  # it comes soon; when its turn comes, or out of SHADOW, who knows when
    why = f"{event.ref.version} keeps failing: {event.why}"
    state = went_back(_reject_active(state, event.why), now, policy)
    wanted = Goal(Directive(target.version, intent_id, "edgeagent", why), target.digest)
    record = AppendAudit(
        "sentinel", "rejected", "edgeagent", "", event.ref.version, event.ref.digest, event.why
    )
    if asks_for_another:
        return replace(state, run=replace(state.run, stop_gap=wanted)), [record, PersistState()]
    return replace(state, override=Override(wanted, "sentinel")), [record, PersistState()]


def _reject_active(state: State, why: str) -> State:
    """What serves is refused under the intent that brought it."""
    assert state.active is not None
    ref, wanted = state.active, goal(state)
    intent_id = wanted.intent_id if wanted and wanted.version == ref.version else state.intent
    rejection = Rejection(ref.version, ref.digest, intent_id, state.stage, why)
    when = "on probation" if state.stage is Stage.PROBATION else "when it was stable"
    return replace(
        state,
        rejections=(*state.rejections, rejection)[-MAX_REJECTIONS:],
        last_error=f"{ref.version} refused {when}: {why}",
    )
