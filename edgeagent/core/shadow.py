# SPDX-License-Identifier: AGPL-3.0-or-later
"""From READY into the slot: at once, or through SHADOW, where a candidate proves itself beside what serves.

What it waits for there, in this order: to have seen enough, or the operator's word; then the moment for the swap. It is
judged all the time, and refused for what it does worse. Versions that have served well here, the first ever on a node,
and whatever comes while a line waits skip all of it.
"""

from __future__ import annotations

from dataclasses import replace

from edgeagent.core import probation_count
from edgeagent.core.candidate import enter, reject
from edgeagent.core.entry import entry_terms
from edgeagent.core.events import (
    AppendAudit,
    ApproveRequested,
    AwaitMoment,
    Cancel,
    CandidateFailed,
    Command,
    MomentCame,
    PairsJudged,
    PersistState,
    RefuseRequested,
    SaveFirst,
    ShadowFinished,
    StartShadow,
    Step,
)
from edgeagent.core.lifecycle import Stage
from edgeagent.core.policy import EntryTerms, Policy
from edgeagent.core.probation import MIN_FAILING_S, keeps_failing
from edgeagent.core.state import Candidate, Shadow, State
from edgeagent.core.swap import swap_in
from edgeagent.errors import ConflictError


def waits_for(c: Candidate, now: float, policy: Policy) -> str:
    """What a candidate in SHADOW waits for: approval, frames or moment; "" when it may serve."""
    s, terms = c.shadow, entry_terms(c.goal.directive, policy)
    assert s is not None
    if not s.approved_by:
        if terms.approval == "manual":
            return "approval"
        if terms.has_shadow and not _has_seen_enough(s, terms, now, policy):
            return "frames"
    return "moment" if terms.at != "now" and not s.moment else ""


def _has_seen_enough(s: Shadow, terms: EntryTerms, now: float, policy: Policy) -> bool:
    """Time alone proves nothing: without a frame it goes on, and without as much as it takes to tell."""
    if s.skipped:
        return True
    lacks = policy.pairs.shadow_needs_evidence and s.shortfall and not s.breach
    if s.pairs is None or not s.pairs.frames or lacks:
        return False
    long_enough = terms.seconds > 0 and now >= s.since + terms.seconds
    return long_enough or 0 < terms.frames <= s.pairs.frames


# -- the comparison ----------------------------------------------------------------------------------


def bring_in(state: State, now: float, policy: Policy) -> Step:
    """Swap in what is READY, or has proved itself in SHADOW; have begun what it still waits for."""
    c = state.candidate
    if c is None or c.stage not in (Stage.READY, Stage.SHADOW):
        return state, []
    commands: list[Command] = []
    if c.stage is Stage.READY:
        skips = probation_count.is_trusted(state, c) or state.active is None
        if skips or entry_terms(c.goal.directive, policy).at_once:
            return swap_in(state, c, now, policy)
        # That it dies while it serves is counted from the swap on: it may stay here for days.
        state = probation_count.uncount(state, c)
        c = enter(c, Stage.SHADOW, now)
        commands = [PersistState()]
    if c.shadow and c.shadow.counted:
        if c.shadow.against == state.active:
            return swap_in(state, c, now, policy) if c.shadow.saved else (state, commands)
        state, commands = probation_count.uncount(state, c), [PersistState()]
    c, more = _compared(state, c, now)
    c = _unless_blind(state, c, now, policy)
    c, again = _awaiting(c, now, policy)
    if not waits_for(c, now, policy):
        # That it is tried is on disk before it serves, in case that the node dies of it.
        assert c.shadow is not None
        state = probation_count.count(state, c)
        state = replace(state, candidate=replace(c, shadow=replace(c.shadow, counted=True)))
        return state, [*commands, *more, SaveFirst(c.id)]
    return replace(state, candidate=c), [*commands, *more, *again]


def _compared(state: State, c: Candidate, now: float) -> tuple[Candidate, list[Command]]:
    """With its shadow beside what serves now: another version that serves has it begun anew."""
    assert state.active is not None
    s = c.shadow
    if s and s.against == state.active:
        return c, []
    new = Shadow(state.active, now, seen_at=now)
    if s:  # whatever it has waited for and has got, it keeps
        new = replace(
            new, approved_by=s.approved_by, awaits=s.awaits, awaits_since=s.awaits_since, moment=s.moment
        )
    return replace(c, shadow=new), [StartShadow(c.id, c.ref)]


def _unless_blind(state: State, c: Candidate, now: float, policy: Policy) -> Candidate:
    """While what serves keeps failing, and no frame has been seen by both for so long, evidence doesn't come; and the
    candidate may be what mends it. Then it need see no more, unless a person is to decide."""
    s, failures = c.shadow, state.run.failures
    if s is None or failures is None or not keeps_failing(failures) or waits_for(c, now, policy) != "frames":
        return c
    if now - s.seen_at < MIN_FAILING_S or now - failures.last > policy.failure_window_s:
        return c
    why = f"{s.against.version} keeps failing, so that there is nothing to compare with: {failures.why}"
    return replace(c, shadow=replace(s, skipped=why))


def _awaiting(c: Candidate, now: float, policy: Policy) -> tuple[Candidate, list[Command]]:
    """With the moment watched for, if it waits for that; and with the time of the next look."""
    terms, commands = entry_terms(c.goal.directive, policy), list[Command]()
    s = c.shadow
    assert s is not None
    waits = waits_for(c, now, policy)
    if waits == "moment" and s.awaits != terms.at:
        s = replace(s, awaits=terms.at, awaits_since=now)
        commands = [AwaitMoment(c.id, terms.at)]
    elif waits in ("approval", "frames"):
        s = replace(s, awaits="", awaits_since=0.0, moment="")
    due = None
    if waits == "frames" and terms.seconds > 0 and now < s.since + terms.seconds:
        due = s.since + terms.seconds
    elif waits == "moment" and s.awaits == "between-parts":
        due = s.awaits_since + policy.switch_max_wait_s
        if now >= due:
            s, due = replace(s, moment="none came, and no longer is waited"), None
    return replace(c, shadow=replace(s, due=due)), commands


# -- events ------------------------------------------------------------------------------------------


def in_shadow(state: State, id: int) -> Candidate | None:
    """The candidate of this id, if it is in SHADOW."""
    c = state.candidate
    return c if c and c.id == id and c.stage is Stage.SHADOW else None


def pairs_judged(state: State, event: PairsJudged, now: float) -> State:
    """What the candidate's shadow has seen until now."""
    c = state.candidate
    if c is None or c.shadow is None or c.ref != event.ref:
        return state
    s = c.shadow
    is_new = event.summary.frames > (s.pairs.frames if s.pairs else 0)
    s = replace(s, pairs=event.summary, shortfall=event.shortfall, seen_at=now if is_new else s.seen_at)
    return replace(state, candidate=replace(c, shadow=s))


def finished(state: State, event: ShadowFinished, now: float, policy: Policy) -> Step:
    """It does worse than what serves: it is refused, unless that is only to be told."""
    c = in_shadow(state, event.id)
    if c is None or c.shadow is None:
        return state, []
    s = replace(c.shadow, pairs=event.summary)
    if "shadow" in policy.pairs.reports:
        record = AppendAudit(
            event="shadow",
            result="reported",
            by="edgeagent",
            from_version=s.against.version,
            from_digest=s.against.digest,
            to_version=c.goal.version,
            digest=c.digest,
            why=event.why,
            shadow=event.summary,
        )
        return replace(state, candidate=replace(c, shadow=replace(s, breach=event.why))), [record]
    return _refused(state, replace(c, shadow=s), event.why, now, policy)


def saved(state: State, id: int) -> State:
    """The disk holds that the candidate is tried, or can't: it is swapped in all the same."""
    c = in_shadow(state, id)
    if c is None or c.shadow is None or not c.shadow.counted:
        return state
    return replace(state, candidate=replace(c, shadow=replace(c.shadow, saved=True)))


def moment_came(state: State, event: MomentCame, now: float, policy: Policy) -> Step:
    """It is the moment that the candidate waits for, if it still waits for one."""
    c = in_shadow(state, event.id)
    if c is None or c.shadow is None or waits_for(c, now, policy) != "moment":
        return state, []
    return replace(state, candidate=replace(c, shadow=replace(c.shadow, moment=event.why))), []


def approve(state: State, event: ApproveRequested, now: float) -> Step:
    """The candidate need not see more. Asked for again, nothing changes.

    Raises ConflictError when it doesn't wait in SHADOW.
    """
    c = _waiting(state, event, "approve")
    assert c.shadow is not None
    if c.shadow.approved_by:
        return state, []
    record = AppendAudit(
        event="approval",
        result="approved",
        by=event.by,
        from_version=state.active.version if state.active else "",
        from_digest=state.active.digest if state.active else "",
        to_version=c.goal.version,
        digest=c.digest,
        stages=c.durations(now),
        gates=c.gates,
        shadow=c.shadow.pairs,
    )
    return replace(state, candidate=replace(c, shadow=replace(c.shadow, approved_by=event.by))), [record]


def refuse(state: State, event: RefuseRequested, now: float, policy: Policy) -> Step:
    """The candidate is refused on somebody's word. Raises ConflictError when it doesn't wait in SHADOW."""
    c = _waiting(state, event, "refuse")
    return _refused(state, c, f"refused by {event.by}: {event.reason}", now, policy, event.by)


def _refused(state: State, c: Candidate, why: str, now: float, policy: Policy, by: str = "") -> Step:
    state, commands = reject(state, c, CandidateFailed(c.id, why), now, policy, by)
    return state, [Cancel(c.id), *commands]


def _waiting(state: State, event: ApproveRequested | RefuseRequested, verb: str) -> Candidate:
    """The candidate that is meant. Raises ConflictError where none is, or it isn't that far."""
    c = state.candidate
    meant = event.version or (c.goal.version if c else "")
    what = f"{verb} {meant} of {state.model}".replace("  ", " ")
    todo = "look at the status, and ask again if it is still to be"
    if c is None:
        serves = state.active and f"; {state.active.version} serves"
        raise ConflictError(what, f"no version waits on this node{serves or ''}", todo)
    if event.version not in ("", c.goal.version):
        raise ConflictError(what, f"{c.goal.version} is on its way in by now, not {event.version}", todo)
    if c.stage is not Stage.SHADOW:
        raise ConflictError(what, f"{c.goal.version} is at {c.stage}, not at SHADOW", todo)
    if event.digest not in ("", c.digest):
        raise ConflictError(what, f"the content of {c.goal.version} is {c.digest}, not {event.digest}", todo)
    return c
