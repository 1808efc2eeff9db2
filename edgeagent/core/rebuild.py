# SPDX-License-Identifier: AGPL-3.0-or-later
"""Having the version that serves rebuilt, beside its engine, when it isn't in the form that it should have.

Version, digest and epoch stay as they are. A rebuild that fails disturbs nothing: it is tried again when other frames
come, or after a while. What only awaits confirmation, a provisional tuning result, waits until the swap is over.
"""

from __future__ import annotations

from dataclasses import replace

from edgeagent.core.candidate import begin, enter, wait
from edgeagent.core.directive import Directive
from edgeagent.core.events import (
    AppendAudit,
    Cancel,
    Command,
    FormConfirmed,
    FramesSeen,
    PrepareCandidate,
    ReplaceEngine,
    StageReached,
    Step,
)
from edgeagent.core.form import Form
from edgeagent.core.lifecycle import Stage, advance
from edgeagent.core.policy import Policy
from edgeagent.core.state import Candidate, Goal, PrepareMode, State, VersionRef
from edgeagent.core.tuning import Tuning


def rebuild_if_needed(state: State, now: float, policy: Policy) -> Step:
    """Begin or plan a rebuild, try one again whose time has come, or give one up that nobody needs any more."""
    active, r = state.active, state.rebuild
    form = state.forms.get(active) if active else None
    lacks = form.lacks(state.frames) if form else ""
    commands: list[Command] = []
    if r and (not lacks or _ref(r) != active):
        advance(r.stage, Stage.RETIRED)
        state, commands, r = replace(state, rebuild=None), [Cancel(r.id)], None
    is_due = r is None or (r.retry_at is not None and now >= r.retry_at)
    if active is None or form is None or not lacks or not is_due:
        return state, commands
    wanted = Goal(Directive(active.version, "rebuild", "edgeagent", lacks), active.digest)
    if r is None and not form.misfit(state.frames):
        return _planned(state, wanted, now + policy.settle_after_s, now), commands
    state, c = begin(state, wanted, now, r.attempt + 1 if r else 1)
    return replace(state, rebuild=replace(c, error=r.error if r else "")), [
        *commands,
        PrepareCandidate(c.id, wanted, PrepareMode.REBUILD),
    ]


def _planned(state: State, wanted: Goal, at: float, now: float) -> State:
    """A rebuild that begins at `at` (monotonic seconds)."""
    r = Candidate(
        state.next_id, wanted, Stage.ASPIRED, ((Stage.ASPIRED, now),), wanted.digest, attempt=0, retry_at=at
    )
    return replace(state, next_id=state.next_id + 1, rebuild=r)


def frames_seen(state: State, event: FramesSeen, now: float) -> Step:
    """Other frames: another chance for a rebuild that failed."""
    r = state.rebuild
    if r and r.retry_at is not None and event.frames != state.frames:
        r = replace(r, retry_at=now)
    return replace(state, frames=event.frames, rebuild=r), []


def stage_reached(state: State, r: Candidate, event: StageReached, now: float, policy: Policy) -> Step:
    """The rebuild goes on. Once it is ready, its engine takes the place of the one that serves."""
    if event.digest not in ("", r.goal.digest):
        state, commands = failed(state, r, "its content is no longer what serves", now, policy)
        return state, [Cancel(r.id), *commands]
    r = replace(r, digest=r.goal.digest, gates=event.gates or r.gates)
    if event.stage is not Stage.READY:
        return replace(state, rebuild=enter(r, event.stage, now)), []
    assert event.form is not None
    if _is_no_better(state, r, event.form):
        return failed(state, r, _why_no_better(event.form), now, policy)
    advance(enter(r, Stage.READY, now).stage, state.stage)
    ref = _ref(r)
    state = replace(state, draining=(*state.draining, ref))
    state, record = _finished(state, r, event.form, "rebuilt", now)
    return state, [ReplaceEngine(ref), record]


def form_confirmed(state: State, r: Candidate, event: FormConfirmed, now: float, policy: Policy) -> Step:
    """What was found out says that the version serves in its best form already."""
    if _is_no_better(state, r, event.form):
        return failed(state, r, _why_no_better(event.form), now, policy)
    advance(r.stage, Stage.RETIRED)
    state, record = _finished(state, r, event.form, "confirmed", now)
    return state, [record]


def failed(state: State, r: Candidate, why: str, now: float, policy: Policy) -> Step:
    """The version goes on as it is. What fails in the same way again is not told again."""
    form = state.forms.get(_ref(r))
    delay_s = policy.rebuild_retry_s
    if form and not form.misfit(state.frames):
        delay_s = min(delay_s * 2 ** min(r.attempt - 1, 16), policy.settle_max_s)
    again = wait(r, now + delay_s, why, now)
    told = [] if why == r.error else [_told(r, "not rebuilt", why, now)]
    return replace(state, rebuild=again), [*told]


def _is_no_better(state: State, r: Candidate, form: Form) -> bool:
    """Whether rebuilding once more at once would come to the same."""
    return form == state.forms.get(_ref(r)) and form.lacks(state.frames) != ""


def _why_no_better(form: Form) -> str:
    if form.tuning is Tuning.PROVISIONAL:
        return "what is fastest can't be told yet: the machine was busy, or there was nothing to be seen"
    return "it came out as it was"


def _finished(state: State, r: Candidate, form: Form, result: str, now: float) -> tuple[State, AppendAudit]:
    state = replace(state, forms={**state.forms, _ref(r): form}, rebuild=None)
    return state, _told(r, result, r.goal.directive.reason, now)


def _told(r: Candidate, result: str, why: str, now: float) -> AppendAudit:
    return AppendAudit(
        event="rebuild",
        result=result,
        by=r.goal.directive.by,
        to_version=r.goal.version,
        digest=r.goal.digest,
        why=why,
        stages=r.durations(now),
        gates=r.gates,
    )


def _ref(r: Candidate) -> VersionRef:
    return VersionRef(r.goal.version, r.goal.digest)
