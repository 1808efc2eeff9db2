# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way of a candidate: begun, reported on, tried again, refused or superseded."""

from __future__ import annotations

from dataclasses import replace

from edgeagent.core import probation_count
from edgeagent.core.entry import missing_setting
from edgeagent.core.events import (
    AppendAudit,
    Cancel,
    CandidateFailed,
    Command,
    PersistState,
    StageReached,
    Step,
)
from edgeagent.core.goal import event_name, is_awaited
from edgeagent.core.lifecycle import Stage, advance
from edgeagent.core.policy import Policy
from edgeagent.core.state import MAX_REJECTIONS, Candidate, Goal, Rejection, State
from edgeagent.core.stop_start import stop_for
from edgeagent.core.store_watch import watch_again
from edgeagent.core.tuning import Tuning


def begin(state: State, wanted: Goal, now: float, attempt: int = 1) -> tuple[State, Candidate]:
    """A new candidate, under an id of its own: whatever an earlier try still reports is outdated."""
    stage = advance(Stage.ASPIRED, Stage.FETCHING)
    c = Candidate(state.next_id, wanted, stage, ((stage, now),), attempt=attempt)
    return replace(state, next_id=state.next_id + 1), c


def enter(c: Candidate, stage: Stage, now: float) -> Candidate:
    """The candidate in another stage. Raises IllegalTransitionError."""
    if stage is c.stage:
        return c
    return replace(c, stage=advance(c.stage, stage), times=(*c.times, (stage, now)))


def wait(c: Candidate, until: float, why: str, now: float) -> Candidate:
    """The candidate after a failure: it is tried again at `until` (monotonic seconds)."""
    return replace(enter(c, Stage.ASPIRED, now), retry_at=until, error=why, shadow=None)


def begin_later(state: State, wanted: Goal, until: float, why: str, now: float) -> State:
    """The same, to be begun at `until` (monotonic seconds): its attempt 0."""
    stage = Stage.ASPIRED
    c = Candidate(state.next_id, wanted, stage, ((stage, now),), attempt=0, retry_at=until, error=why)
    return replace(state, next_id=state.next_id + 1, candidate=c)


def stage_reached(state: State, c: Candidate, event: StageReached, now: float, policy: Policy) -> Step:
    """The candidate goes on; one whose content must not serve is refused as soon as that is known."""
    begins_to_warm = event.stage is Stage.WARMING is not c.stage
    c = replace(enter(c, event.stage, now), gates=event.gates or c.gates)
    if event.digest and event.digest != c.digest:
        c = replace(c, digest=event.digest)
        why = _rejection_reason(state, c, policy)
        if why:
            state, commands = reject(state, c, CandidateFailed(c.id, why), now, policy)
            return state, [Cancel(c.id), *commands]
    if event.stage is Stage.READY:
        if why := _pace_reason(c, event):
            return reject(state, c, CandidateFailed(c.id, why), now, policy)
        c = replace(c, form=event.form)
    if begins_to_warm:
        state = replace(probation_count.count(state, c), candidate=c)
        state, stopped = stop_for(state, c, now) if event.stops else (state, [])
        return state, [*stopped, PersistState()]
    return replace(state, candidate=c), []


def _rejection_reason(state: State, c: Candidate, policy: Policy) -> str:
    """What speaks against the candidate, now that its content is known; "" if nothing does."""
    if c.goal.known_good and c.digest != c.goal.digest:
        return f"its content is no longer what served well here ({c.goal.digest})"
    refused = next(
        (r for r in state.rejections if (r.digest, r.intent_id) == (c.digest, c.goal.intent_id)), None
    )
    if refused:
        return f"quarantined: {refused.why.removeprefix('quarantined: ')}"
    if not probation_count.is_trusted(state, c) and (missing := missing_setting(c.goal.directive, policy)):
        return missing
    return probation_count.rejection_reason(state, c)


def _pace_reason(c: Candidate, event: StageReached) -> str:
    """Why it is too slow to serve here; "" if it isn't, or may be: what has served well, what the operator wants all
    the same, and what is to be made faster as soon as it serves."""
    will_be_tuned = event.form is not None and event.form.tuning is Tuning.UNCONVERTED
    if event.pace is None or c.goal.known_good or c.goal.directive.allow_slow or will_be_tuned:
        return ""
    return event.pace.rejection_reason()


def failed(state: State, c: Candidate, event: CandidateFailed, now: float, policy: Policy) -> Step:
    """The candidate is refused, or tried again later when it is not to blame."""
    ended: list[Command] = (
        [Cancel(c.id)] if c.stage is Stage.SHADOW else []
    )  # else its work has ended with that
    # At boot the known good version before serves sooner than a retry; and nothing waits for a stop-gap.
    # What served was stopped for it: that is not done again and again.
    alone = c.goal.intent_id == "boot" or c.goal == state.run.stop_gap or is_awaited(state)
    if not event.transient or alone:
        state, commands = reject(state, c, event, now, policy)
        return state, [*ended, *commands]
    was_counted = c.stage is Stage.WARMING or (c.shadow is not None and c.shadow.counted)
    saved: list[Command] = [*ended, PersistState()] if was_counted else ended
    state = probation_count.uncount(state, c)
    delay = min(policy.retry_max_s, policy.retry_min_s * 2 ** min(c.attempt - 1, 16))
    return replace(state, candidate=wait(c, now + delay, event.why, now), last_error=event.why), saved


def reject(
    state: State, c: Candidate, event: CandidateFailed, now: float, policy: Policy, by: str = ""
) -> Step:
    """It isn't tried again under its intent. by: who refuses it, if that is a person."""
    advance(c.stage, Stage.REJECTED)
    state = probation_count.uncount(state, c)
    rejection = Rejection(c.goal.version, c.digest, c.goal.intent_id, c.stage, event.why)
    # One entry a version, and one a content, under each intent.
    replaced = (("", c.digest, c.goal.intent_id), (c.goal.version, c.digest, c.goal.intent_id))
    others = tuple(r for r in state.rejections if (r.version, r.digest, r.intent_id) not in replaced)
    run = state.run
    if c.goal.intent_id == "boot":
        run = replace(run, boot_failed=run.boot_failed | {c.goal.version})
    record = _told(state, c, "rejected", event.why, now)
    record = replace(record, by=by) if by else record
    state = replace(
        state,
        candidate=None,
        rejections=(*others, rejection)[-MAX_REJECTIONS:],
        run=run,
        last_error=f"{c.goal.version} refused {_when(c.stage)}: {event.why}",
    )
    state = watch_again(state, c.goal.version, event.fingerprint, now, policy)
    return state, [record, PersistState()]


def superseded(state: State, c: Candidate, now: float) -> Step:
    """Something else should serve now: the candidate goes, whatever it has reached."""
    advance(c.stage, Stage.RETIRED)
    cancel = [Cancel(c.id)] if c.attempt else []  # else it was never begun
    record = _told(state, c, "superseded", "the intent changed", now)
    return replace(probation_count.uncount(state, c), candidate=None), [*cancel, record]


def _when(stage: Stage) -> str:
    return "in shadow" if stage is Stage.SHADOW else f"while {stage.lower()}"


def _told(state: State, c: Candidate, result: str, why: str, now: float) -> AppendAudit:
    return AppendAudit(
        event=event_name(state, c.goal),
        result=result,
        by=c.goal.directive.by,
        from_version=state.active.version if state.active else "",
        to_version=c.goal.version,
        digest=c.digest,
        why=why,
        stages=c.durations(now),
        gates=c.gates,
        from_digest=state.active.digest if state.active else "",
        tag=c.goal.directive.tag,
        shadow=c.pairs,
    )
