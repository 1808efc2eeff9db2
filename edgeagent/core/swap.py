# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who serves, who stays warm beside it, and who goes."""

from __future__ import annotations

from dataclasses import replace

from edgeagent.core.contract import Names, continues, names_after
from edgeagent.core.directive import Directive
from edgeagent.core.entry import probation_seconds
from edgeagent.core.events import AppendAudit, Command, PersistState, RetireEngine, Step, Swap
from edgeagent.core.goal import event_name
from edgeagent.core.lifecycle import Stage, advance
from edgeagent.core.policy import Policy
from edgeagent.core.probation_count import is_trusted, uncount_active
from edgeagent.core.state import Candidate, Override, Probation, State, VersionRef


def swap_in(state: State, c: Candidate, now: float, policy: Policy) -> Step:
    """The candidate takes the slot; what it replaces stays warm if it has earned that."""
    new, old, form, gap = c.ref, state.active, c.form, state.run.gap
    before = old or (gap.stopped if gap else None)
    trusted = is_trusted(state, c)
    advance(c.stage, Stage.STABLE if trusted else Stage.PROBATION)
    if trusted:
        state = uncount_active(state)
    state = replace(state, forms={**state.forms, new: form} if form else state.forms)
    state = _under_contract(state, c, new)
    commands: list[Command] = [swap_to(state, new, state.next_epoch)]
    record = AppendAudit(
        event=event_name(state, c.goal),
        result="swapped",
        by=c.goal.directive.by,
        from_version=before.version if before else "",
        to_version=new.version,
        digest=new.digest,
        why=_why(c),
        stages={**c.durations(now), **({"gap": now - gap.since} if gap else {})},
        gates=c.gates,
        from_digest=before.digest if before else "",
        epoch=state.next_epoch,
        shadow=c.pairs,
        moment=_moment(c, now),
        tag=c.goal.directive.tag,
    )
    asked = c.goal.directive
    watch = Probation(now, probation_seconds(asked, policy), _may_be_slow(asked))
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
        last_error="" if is_over else state.last_error,
        standby=standby,
        candidate=None,
        override=state.override and _done(state.override, new, now),
        probation_until=now + watch.seconds,
    )
    state = replace(state, run=replace(state.run, probation=watch))
    if trusted:
        # Going back to an earlier version forgets those after it.
        at = state.stable_versions.index(new) if new in state.stable_versions else len(state.stable_versions)
        state = stable(replace(state, stable_versions=state.stable_versions[:at]), policy)
    return state, [*commands, record, PersistState()]


def swap_to(state: State, ref: VersionRef, epoch: int) -> Swap:
    """The command that has this version serve, under the contract that it has or is given."""
    own, names = _own_names(state, ref), state.contracts.get(ref, ())
    return Swap(ref, epoch, () if names == own else names)


def _own_names(state: State, ref: VersionRef) -> Names:
    form = state.forms.get(ref)
    return form.contract.names if form else ()


def _under_contract(state: State, c: Candidate, new: VersionRef) -> State:
    """The class contract with the candidate in the slot, and what that means for the versions that served before.

    What has served well here comes back under the contract that it had. Another joins the contract in force, by name,
    or begins one of its own, if the operator lets it. A contract that only got further classes goes on for all the
    versions under it: an id that was given once isn't given to another class after a roll-back either.
    """
    own = _own_names(state, new)
    if c.goal.known_good:
        names = _known(state, new)
    else:
        names = names_after(_in_force(state, own), own, c.goal.directive.allow_new_contract)
    contracts = {ref: _known(state, ref) for ref in (*state.stable_versions, *_warm(state))}
    contracts = {
        ref: names if continues(names, known) else known for ref, known in contracts.items() if known
    }
    return replace(state, contracts={**contracts, new: names} if names else contracts)


def _in_force(state: State, own: Names) -> Names:
    """The contract that a version with the classes `own` comes under. While nothing serves, and a line waits, nothing
    was held against it: then the last known good version's, if it covers these classes."""
    if serves := state.active or (state.run.gap and state.run.gap.stopped):
        return _known(state, serves)
    last = _known(state, state.last_known_good) if state.last_known_good else ()
    return last if set(own) <= set(last) else ()


def _known(state: State, ref: VersionRef) -> Names:
    return state.contracts.get(ref) or _own_names(state, ref)


def _warm(state: State) -> tuple[VersionRef, ...]:
    gap = state.run.gap
    return tuple(ref for ref in (state.active, state.standby, gap and gap.stopped) if ref)


def _may_be_slow(asked: Directive) -> bool:
    """Whether the operator has said for this version how slow it may be: the gate has held it to that."""
    return asked.allow_slow or bool(asked.gates.get("latency"))


def _moment(c: Candidate, now: float) -> str:
    """For which moment it has waited, and how long; "" when for none."""
    s = c.shadow
    return f"{s.awaits}: {s.moment}, after {now - s.awaits_since:.1f} s" if s and s.moment else ""


def _why(c: Candidate) -> str:
    """The operator's reason, and why it didn't have to prove itself beside what served."""
    skipped = f"SHADOW was skipped: {c.shadow.skipped}" if c.shadow and c.shadow.skipped else ""
    return "; ".join(filter(None, (c.goal.directive.reason, skipped)))


def _done(override: Override, new: VersionRef, now: float) -> Override:
    is_done = override.kind == "rollback" and override.goal.version == new.version
    return replace(override, done_at=now) if is_done else override


def serving(state: State, ref: VersionRef) -> State:
    """This version serves from the next frame on, and nothing is held against it yet."""
    return replace(
        state,
        active=ref,
        epoch=state.next_epoch,
        run=replace(state.run, failures=None, stop_gap=None, probation=None, blamed=None, gap=None),
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
        run=replace(state.run, boot_failed=frozenset(), probation=None),
        comeback=None if c and c.directive.version == state.active.version else c,
    )


def end_probation(state: State, policy: Policy, why: str = "") -> Step:
    """The active version has served well for long enough: the standby can go. why: what couldn't be judged of it."""
    assert state.active is not None
    advance(Stage.PROBATION, Stage.STABLE)
    commands: list[Command] = []
    ref, watch = state.active, state.run.probation
    record = AppendAudit(
        "probation",
        "stable",
        "edgeagent",
        "",
        ref.version,
        ref.digest,
        why,
        epoch=state.epoch,
        probation=watch.pairs if watch else None,
    )
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
