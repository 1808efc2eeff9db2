# SPDX-License-Identifier: AGPL-3.0-or-later
"""How far a roll-out has come, for those who look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgeagent.core.fleet_report import Phase
from edgeagent.core.rollout import COORDINATOR_KEY, ENDED, FOLLOWED, Rollout, Status
from edgeagent.core.rollout_view import Fleet, View, advance_in_words, eligible, in_words, openings

HOW_TO_LEAD = f"edgeagent coordinate; nobody else may write {COORDINATOR_KEY}"
"""What there is to do where no coordinator leads."""


@dataclass(frozen=True)
class Wave:
    """One wave. wave: as it was planned, such as "5%"; nodes: how many are in once it is open, of those that are there
    now and follow the fleet; is_open: whether it is."""

    wave: str
    nodes: int
    is_open: bool


@dataclass(frozen=True)
class Progress:
    """Where a roll-out stands.

    summary: in a sentence. fleet: how many nodes are there and follow the fleet. nodes: how many of them take the
    version up, or did; stable: on how many of them it is through; serving: on how many it serves. pending: that have
    not acted yet, or not gone back yet. away: that are in and not there. refused, failed, excused: with the reason of
    each. evidence: that the version is worse, as a power of ten. notes: what else should be known, a sentence each.
    overtaken: somebody wrote `current` since it began, which counts instead.
    """

    rollout: Rollout
    summary: str
    waves: tuple[Wave, ...]
    fleet: int
    nodes: int
    stable: int
    serving: int
    pending: tuple[str, ...]
    away: tuple[str, ...]
    refused: Mapping[str, str]
    failed: Mapping[str, str]
    excused: Mapping[str, str]
    evidence: float
    notes: tuple[str, ...] = ()
    overtaken: bool = False


def progress_of(rollout: Rollout, fleet: Fleet, has_leader: bool) -> Progress:
    """fleet: with the revision of `current`; has_leader: whether a coordinator leads."""
    view = View(rollout, fleet, frozenset(fleet.members))
    members = fleet.members
    vanished = set(view.vanished)
    stable, pending = view.stable, view.pending
    if rollout.status not in FOLLOWED:  # the nodes follow something else by now
        stable, pending = [], view.serving if rollout.status is Status.ABORTING else []
    return Progress(
        rollout,
        in_words(rollout, fleet),
        waves_of(rollout, fleet),
        len(eligible(fleet)),
        len(view.taking),
        len(stable),
        len(view.serving),
        tuple(sorted(pending)),
        tuple(sorted(n for n, m in view.inside.items() if not m.present and n not in vanished)),
        {n: members[n].report.why or members[n].report.preload_refused for n in sorted(view.refused)},
        {n: "vanished with it" if n in vanished else members[n].report.why for n in sorted(view.failed)},
        {n: m.report.why for n, m in sorted(view.inside.items()) if m.report.phase is Phase.EXCUSED},
        view.evidence,
        tuple(_notes(rollout, fleet, has_leader)),
        _is_overtaken(rollout, fleet),
    )


def waves_of(rollout: Rollout, fleet: Fleet) -> tuple[Wave, ...]:
    """Each wave as it would open with the nodes that are there now."""
    unopened = replace(rollout, status=Status.PLANNED, wave=-1, open_below=0)
    sizes = {o.index: len(o.nodes) for o in openings(unopened, fleet)}
    sizes |= {o.index: len(o.nodes) for o in openings(rollout, fleet)}
    return tuple(Wave(wave, sizes[n], n <= rollout.wave) for n, wave in enumerate(rollout.plan.waves))


def _is_overtaken(rollout: Rollout, fleet: Fleet) -> bool:
    return rollout.status not in ENDED and fleet.current_revision != rollout.plan.based_on


def _notes(rollout: Rollout, fleet: Fleet, has_leader: bool) -> list[str]:
    found: list[str] = []
    if rollout.status in ENDED:
        return found
    if not has_leader:
        found.append(f"no coordinator leads: nothing moves until one does ({HOW_TO_LEAD})")
    if _is_overtaken(rollout, fleet):
        found.append(
            "somebody wrote `current` since it began: it is superseded, or stands still if that can't be read"
        )
    if rollout.status is Status.PAUSED:
        advance = f"`advance` {advance_in_words(rollout)}"
        found.append(f"no further wave opens until somebody resumes it; {advance}, `abort` takes all back")
    if rollout.advance:
        found.append("the next wave opens as soon as a coordinator sees it")
    return found
