# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who serves, who stays warm beside it, and who goes."""

from __future__ import annotations

from dataclasses import replace

from edgeagent.core.events import AppendAudit, Command, PersistState, RetireEngine, Step, Swap
from edgeagent.core.form import Form
from edgeagent.core.goal import event_name
from edgeagent.core.lifecycle import Stage, advance
from edgeagent.core.policy import Policy
from edgeagent.core.probation_count import is_trusted, uncount_active
from edgeagent.core.state import Candidate, Override, State, VersionRef


def swap_in(state: State, c: Candidate, form: Form | None, now: float, policy: Policy) -> Step:
    """The candidate takes the slot; what it replaces stays warm if it has earned that."""
    new, old = VersionRef(c.goal.version, c.digest), state.active
    trusted = is_trusted(state, c)
    advance(c.stage, Stage.STABLE if trusted else Stage.PROBATION)
    if trusted:
        state = uncount_active(state)
    commands: list[Command] = [Swap(new, state.next_epoch)]
    record = AppendAudit(
        event=event_name(state, c.goal),
        result="swapped",
        by=c.goal.directive.by,
        from_version=old.version if old else "",
        to_version=new.version,
        digest=new.digest,
        why=c.goal.directive.reason,
        stages=c.durations(now),
        gates=c.gates,
    )
    standby = None
    for ref, stage in ((state.standby, Stage.READY), (old, state.stage)):
        if ref is None or ref == new:
            continue
        if not trusted and ref == state.last_known_good:
            standby = ref
            if ref == old:
                advance(stage, Stage.READY)
        else:
            advance(stage, Stage.DRAINING)
            state = retire(state, ref)
            commands.append(RetireEngine(ref))
    # What kept this version away is over; what was said of another, or of the key, stays.
    is_over = c.attempt > 1 or state.last_error.startswith(f"{new.version} refused")
    state = replace(
        serving(state, new),
        forms={**state.forms, new: form} if form else state.forms,
        last_error="" if is_over else state.last_error,
        standby=standby,
        candidate=None,
        override=state.override and _done(state.override, new, now),
        probation_until=now + policy.probation_s,
    )
    if trusted:
        # Going back to an earlier version forgets those after it.
        at = state.stable_versions.index(new) if new in state.stable_versions else len(state.stable_versions)
        state = stable(replace(state, stable_versions=state.stable_versions[:at]), policy)
    return state, [*commands, record, PersistState()]


def _done(override: Override, new: VersionRef, now: float) -> Override:
    is_done = override.kind == "rollback" and override.goal.version == new.version
    return replace(override, done_at=now) if is_done else override


def serving(state: State, ref: VersionRef) -> State:
    """This version serves from the next frame on, and nothing is held against it yet."""
    return replace(
        state, active=ref, epoch=state.next_epoch, run=replace(state.run, failures=None, stop_gap=None)
    )


def stable(state: State, policy: Policy) -> State:
    """The active version has earned its place. What else was good under its name is no longer there."""
    assert state.active is not None
    c = state.comeback
    stable_versions = (*(r for r in state.stable_versions if r.version != state.active.version), state.active)
    return replace(
        state,
        stable_versions=stable_versions[-policy.keep_stable :],
        probation_until=None,
        run=replace(state.run, boot_failed=frozenset()),
        comeback=None if c and c.directive.version == state.active.version else c,
    )


def end_probation(state: State, policy: Policy) -> Step:
    """The active version has served well for long enough: the standby can go."""
    assert state.active is not None
    advance(Stage.PROBATION, Stage.STABLE)
    commands: list[Command] = []
    record = AppendAudit("probation", "stable", "edgeagent", "", state.active.version, state.active.digest)
    if state.standby:
        advance(Stage.READY, Stage.DRAINING)
        commands = [RetireEngine(state.standby)]
        state = retire(state, state.standby)
    return stable(replace(state, standby=None, begun_probations=None), policy), [
        *commands,
        record,
        PersistState(),
    ]


def retire(state: State, ref: VersionRef) -> State:
    """The only engine of this version takes no more frames."""
    forms = {known: form for known, form in state.forms.items() if known != ref}
    return replace(state, forms=forms, draining=(*state.draining, ref))


def retired(state: State, ref: VersionRef) -> State:
    """One engine of this version is gone."""
    if ref not in state.draining:
        return state
    advance(Stage.DRAINING, Stage.RETIRED)
    at = state.draining.index(ref)
    return replace(state, draining=(*state.draining[:at], *state.draining[at + 1 :]))
