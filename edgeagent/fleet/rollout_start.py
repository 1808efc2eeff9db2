# SPDX-License-Identifier: AGPL-3.0-or-later
"""Before a roll-out is written: whether it may begin, and which nodes it will not reach."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from edgeagent.core.directive import Directive, current_key, decode_directive, pin_key
from edgeagent.core.fleet_nodes import only
from edgeagent.core.fleet_report import Phase
from edgeagent.core.rollout import (
    ENDED,
    Limits,
    Plan,
    Rollout,
    archive_key,
    is_canary,
    rollout_key,
)
from edgeagent.core.rollout_document import decode_rollout, encode_rollout
from edgeagent.core.rollout_progress import HOW_TO_LEAD
from edgeagent.core.rollout_view import Fleet, eligible, named
from edgeagent.errors import ConflictError, DirectiveError, RolloutError, UnavailableError, UsageError
from edgeagent.fleet.members import MemberReader, Members
from edgeagent.fleet.rollout_store import all_rollouts, find_rollout, is_led, under_way
from edgeagent.intent.port import Entry, Expected, KeyValueStore, Outcome


@dataclass(frozen=True)
class Start:
    """A roll-out that may begin; nothing of it is written yet.

    fleet: as it would see it. excused: nodes that a pin or a hold keeps from following it, and why; refused_before:
    those that refused the version or went back from it in an earlier roll-out, and why. warnings: what whoever begins
    it should know, a sentence each. expected, writes: of the transaction that begins it.
    """

    model: str
    rollout: Rollout
    fleet: Fleet
    excused: Mapping[str, str]
    refused_before: Mapping[str, str]
    warnings: tuple[str, ...]
    expected: tuple[Expected, ...]
    writes: Mapping[str, bytes | None]


def new_id(now: datetime) -> str:
    """Of a roll-out: it says when that began, in UTC, and is nobody else's."""
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def prepare_rollout(
    store: KeyValueStore, model: str, plan: Plan, limits: Limits, replace_unreadable: bool = False
) -> Start:
    """Look whether a roll-out may begin.

    plan: its `came_from`, `based_on` and `salt` are filled in here. replace_unreadable: whether a value of its key that
    can't be decoded may be overwritten.
    Raises ConflictError (there is no `current`, it says that version already, a roll-out is under way), UsageError (a
    wrong plan, canaries that nobody is, no right to read), DirectiveError, UnavailableError.
    """
    current, before = store.get(current_key(model)), store.get(rollout_key(model))
    serving = _current(model, current, plan.version)
    archived, unreadable = _ended(model, before, replace_unreadable)
    plan = replace(plan, came_from=serving.version, based_on=current.revision, salt=secrets.token_hex(8))
    rollout = Rollout(new_id(datetime.now(UTC)), plan, limits)
    value = encode_rollout(rollout)
    members = MemberReader(store).read()
    excused = _excused(store, model, members)
    before_it = members.fleet(model, current.revision)
    fleet = _as_it_begins(before_it, excused)
    _check_canaries(rollout, fleet)
    warnings = [*unreadable, *_warnings(store, model, fleet, excused), *_unseen(model, members)]
    return Start(
        model,
        rollout,
        fleet,
        excused,
        _refused_before(store, model, plan.version, before_it),
        tuple(warnings),
        (Expected(rollout_key(model), before.revision), Expected(current_key(model), current.revision)),
        {rollout_key(model): value, **archived},
    )


def begin_rollout(store: KeyValueStore, start: Start) -> None:
    """Write it. Raises ConflictError (somebody was quicker), UnavailableError, UsageError (no right to write)."""
    outcome = store.compare_and_set(start.expected, start.writes)
    if outcome is Outcome.WRITTEN:
        return
    if outcome is Outcome.UNKNOWN and find_rollout(store, start.model, start.rollout.id):
        return
    if outcome is Outcome.UNKNOWN:
        why = "the answer got lost, and it isn't there"
        raise UnavailableError(f"roll-out of {start.model}", why, "try again")
    raise ConflictError(
        f"roll-out of {start.model}",
        "somebody wrote `current` or began another roll-out just now",
        "see `edgeagent rollout status`",
    )


def read_pins(store: KeyValueStore, model: str) -> dict[str, str]:
    """The versions that nodes are pinned to, by node; "?" for a pin that can't be read.

    Raises UnavailableError, UsageError (no right to read).
    """
    prefix, pins = pin_key(model, ""), {}
    for entry in store.list(prefix):
        try:
            version = decode_directive(entry.key, entry.value or b"", entry.revision).version
        except DirectiveError:
            version = "?"
        pins[entry.key.removeprefix(prefix)] = version
    return pins


def _current(model: str, entry: Entry, version: str) -> Directive:
    """What `current` says. Raises ConflictError, DirectiveError."""
    if entry.value is None:
        raise ConflictError(
            f"roll-out of {model}",
            "there is no `current`, so nothing that nodes could go back to",
            f"promote a first version (edgeagent promote {model} V)",
        )
    directive = decode_directive(entry.key, entry.value, entry.revision)
    if directive.preload:
        raise ConflictError(
            f"roll-out of {model}",
            f"`current` only has {directive.version} made ready, and doesn't say what nodes would go back to",
            f"promote what is to serve until then; rollout start --preload has {version} made ready",
        )
    if directive.version == version:
        raise ConflictError(f"roll-out of {model}", f"{version} is what `current` says already", "")
    return directive


def _ended(model: str, before: Entry, replace_unreadable: bool) -> tuple[dict[str, bytes], list[str]]:
    """What of the roll-out's key is to be kept, and to be said. Raises ConflictError."""
    if before.value is None:
        return {}, []
    try:
        rollout = decode_rollout(before.key, before.value)
    except RolloutError as e:
        if not replace_unreadable:
            todo = "a newer release may have written it; --replace-unreadable writes over it"
            raise ConflictError(e.what, e.why, todo) from e
        return {}, [f"{e.what}: {e.why}; it is written over"]
    if rollout.status not in ENDED:
        raise under_way(model, rollout)
    return {archive_key(model, rollout.id): before.value}, []


def _excused(store: KeyValueStore, model: str, members: Members) -> dict[str, str]:
    """The nodes that don't follow what the fleet is told, and why."""
    said, held = {}, {}
    for row in only(members.nodes(), model).rows:
        if row.report and row.report.phase is Phase.EXCUSED:
            said[row.node] = row.report.why
        if row.held:
            held[row.node] = row.held
    return said | held | {node: f"pinned to {version}" for node, version in read_pins(store, model).items()}


def _as_it_begins(fleet: Fleet, excused: Collection[str]) -> Fleet:
    """What nodes did in an earlier roll-out says nothing of this one."""
    phases = {name: Phase.EXCUSED if name in excused else Phase.NONE for name in fleet.members}
    members = {n: replace(m, report=replace(m.report, phase=phases[n])) for n, m in fleet.members.items()}
    return replace(fleet, members=members)


def _refused_before(store: KeyValueStore, model: str, version: str, fleet: Fleet) -> dict[str, str]:
    """What the nodes' reports say of earlier roll-outs of the version. They may take it this time: it is for whoever
    looks whether to try."""
    earlier = {
        r.id for r in all_rollouts(store, model) if isinstance(r, Rollout) and r.plan.version == version
    }
    reports = {n: m.report for n, m in sorted(fleet.members.items()) if m.report.rollout in earlier}
    bad = Phase.REFUSED, Phase.ROLLED_BACK
    whys = {n: r.why or str(r.phase) if r.phase in bad else r.preload_refused for n, r in reports.items()}
    return {node: why for node, why in whys.items() if why}


def _check_canaries(rollout: Rollout, fleet: Fleet) -> None:
    """Raises UsageError where nobody, or not everybody who is named, is there."""
    plan, there = rollout.plan, eligible(fleet)
    if missing := [name for name in plan.canaries if name not in fleet.members]:
        raise UsageError(
            f"--canary {named(missing)}", "no node of this name uses the model", "see `edgeagent nodes`"
        )
    if not (plan.canaries or plan.selector):
        return
    if any(is_canary(rollout, name, member.report.labels) for name, member in there.items()):
        return
    given = ", ".join([*plan.canaries, *(f"{k}={v}" for k, v in plan.selector.items())])
    raise UsageError(
        f"canaries {given}",
        "no node that is there and follows the fleet is one",
        "see `edgeagent nodes` for names and labels",
    )


def _unseen(model: str, members: Members) -> list[str]:
    """Nodes that use the model and don't report on it: no wave has them, and they follow `current` alone."""
    rows = only(members.nodes(), model).rows
    found = [row.node for row in rows if row.present and row.report is None]
    if not found:
        return []
    why = "an earlier release, or no right to write their report"
    return [f"in no wave ({why}), and all at once with it when it is done: {named(found)}"]


def _warnings(store: KeyValueStore, model: str, fleet: Fleet, excused: Mapping[str, str]) -> list[str]:
    found = []
    if not eligible(fleet):
        found.append(f"no node that is there uses {model} and follows the fleet")
    if not is_led(store):
        found.append(f"no coordinator leads: it begins when one does ({HOW_TO_LEAD})")
    if excused:
        each = named(f"{node} ({why})" for node, why in excused.items())
        found.append(f"{len(excused)} of the nodes will not follow it: {each}")
    return found
