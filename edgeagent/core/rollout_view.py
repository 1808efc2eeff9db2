# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a roll-out's coordinator sees of the fleet: who is in, who has acted, who has failed, and whom the waves that
are to come would bring in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import exp, log, log1p

from edgeagent.core.evidence import log_mean
from edgeagent.core.fleet_report import Phase, Report
from edgeagent.core.rollout import EVERYBODY, FOLLOWED, PLACES, Rollout, is_canary, is_in, place, wave_size

_BEGUN = frozenset({Phase.BEGUN, Phase.SWAPPED, Phase.STABLE})
"""A node that vanishes in one of these counts as failed: it is the version that it had to do with last."""
_ACTED = frozenset({Phase.STABLE, Phase.REFUSED, Phase.ROLLED_BACK, Phase.EXCUSED})
_SERVES = frozenset({Phase.SWAPPED, Phase.STABLE})
_NAMED = 5
"""Nodes that a sentence names."""


@dataclass(frozen=True)
class Member:
    """A node. present: its presence lies in the config store. report: on the model."""

    present: bool
    report: Report


@dataclass(frozen=True)
class Fleet:
    """Every node that has a report on the model, and the revision of `current` now."""

    members: Mapping[str, Member]
    current_revision: str


@dataclass(frozen=True)
class View:
    """The fleet, as a roll-out sees it.

    counted: the nodes that were there when its wave opened. awaited: nodes that are away and may come back: they have
    neither failed nor acted.
    """

    rollout: Rollout
    fleet: Fleet
    counted: frozenset[str] = frozenset()
    awaited: frozenset[str] = frozenset()

    @cached_property
    def inside(self) -> Mapping[str, Member]:
        """The nodes of the open waves, whether they are there or not."""
        r = self.rollout
        return {n: m for n, m in self.fleet.members.items() if is_in(r, n, m.report.labels)}

    @cached_property
    def own(self) -> Mapping[str, Member]:
        """The nodes whose report is on this roll-out, whether their labels still have them in or not."""
        id = self.rollout.id
        return {n: m for n, m in self.fleet.members.items() if m.report.rollout == id}

    @cached_property
    def taking(self) -> list[str]:
        """Those that take the version up, or did: all that follow the fleet, and are inside and there, or were."""
        return [
            n
            for n, m in self.fleet.members.items()
            if m.report.phase is not Phase.EXCUSED
            and ((m.present and n in self.inside) or (n in self.own and m.report.phase is not Phase.NONE))
        ]

    @cached_property
    def vanished(self) -> list[str]:
        """Those that had begun, and are away without being awaited."""
        return [
            n
            for n, m in self.own.items()
            if m.report.phase in _BEGUN and not m.present and n not in self.awaited
        ]

    @cached_property
    def failed(self) -> list[str]:
        """Those that went back from the version, or vanished with it."""
        return [n for n, m in self.own.items() if m.report.phase is Phase.ROLLED_BACK] + self.vanished

    @cached_property
    def refused(self) -> list[str]:
        """Those on which the version never served; before the first wave, those that can't prepare it."""
        if self.rollout.wave < 0:
            return [n for n, m in eligible(self.fleet).items() if cannot_prepare(self.rollout, m)]
        return [n for n, m in self.own.items() if m.report.phase is Phase.REFUSED]

    @cached_property
    def pending(self) -> list[str]:
        """Those that were there when the wave opened, are there, and have not acted yet; and those that are awaited."""
        return [
            n for n, m in self.inside.items() if n in self.counted and m.present and not self._has_acted(n, m)
        ] + sorted(self.awaited)

    @cached_property
    def unseen(self) -> list[str]:
        """Those that were there when the wave opened, serve the version, and have not seen enough with it. Where it
        serves on none of these, those that came later: on what they have seen it rests then."""
        limits = self.rollout.limits
        judged = [n for n in self.stable if n in self.counted] or self.stable
        reports = {n: self.own[n].report for n in judged}
        return [
            n for n, r in reports.items() if r.frames < limits.min_frames or r.objects < limits.min_objects
        ]

    @cached_property
    def stable(self) -> list[str]:
        """Those that are there and serve the version for good."""
        return [n for n, m in self.own.items() if m.present and m.report.phase is Phase.STABLE]

    @cached_property
    def serving(self) -> list[str]:
        """Those that are there and serve the version, unless a pin or a hold has them do so."""
        version = self.rollout.plan.version
        return [
            n
            for n, m in {**self.inside, **self.own}.items()
            if m.present and m.report.version == version and m.report.phase is not Phase.EXCUSED
        ]

    @cached_property
    def evidence(self) -> float:
        """That the version is worse, from all nodes together, as a power of ten.

        Each node's figure is an e-value of its own line: on the average at most 1 where there is no difference. Counts
        of lines that differ are not put together, e-values may be (Vovk and Wang, "E-values: Calibration, combination
        and applications", 2021). Their mean tells when one line is much worse; the product of (1 + e) / 2, the lines
        being independent, when each is a little. Half of both is an e-value again. A node that tells 0 has judged
        nothing, which counts as 1, or too little to tell, which counts as 0.
        """
        told = [(m.report.evidence, m.report.objects) for m in self.own.values() if self._judges(m)]
        if not told:
            return 0.0
        logs = [max(-300.0, min(e, 300.0)) * log(10) for e, _ in told if e]
        unjudged = sum(1 for e, objects in told if not e and not objects)
        mean = log_mean([(1 / len(told), value) for value in (*logs, *[0.0] * unjudged)])
        product = sum(log1p(exp(value)) for value in logs) - (len(told) - unjudged) * log(2)
        return log_mean([(0.5, mean), (0.5, product)]) / log(10)

    def _has_acted(self, node: str, member: Member) -> bool:
        return member.report.phase is Phase.EXCUSED or (node in self.own and member.report.phase in _ACTED)

    def _judges(self, member: Member) -> bool:
        return member.report.phase in _SERVES and member.report.version == self.rollout.plan.version


def eligible(fleet: Fleet) -> dict[str, Member]:
    """The nodes that are there and follow what the fleet is told."""
    return {n: m for n, m in fleet.members.items() if m.present and m.report.phase is not Phase.EXCUSED}


@dataclass(frozen=True)
class Opening:
    """A wave that is to come. index: of the plan's; below: places below it are in then; nodes: all that would be in, of
    those that are there; brings: those that no wave before brought in, in the order of their places."""

    index: int
    below: int
    nodes: frozenset[str]
    brings: tuple[str, ...]


def openings(rollout: Rollout, fleet: Fleet) -> list[Opening]:
    """The waves that are to come, as they would open now, one right after the other: who is away, or doesn't follow the
    fleet, is not counted. This is what `rollout start --dry-run` shows."""
    there, salt = eligible(fleet), rollout.plan.salt
    canaries = {n for n, m in there.items() if is_canary(rollout, n, m.report.labels)}
    others = sorted((place(salt, n), n) for n in there if n not in canaries)
    inside = {n for n in there if is_in(rollout, n, there[n].report.labels)}
    below, coming = rollout.open_below, []
    for index, wave in enumerate(rollout.plan.waves):
        if index <= rollout.wave:
            continue
        more = wave_size(wave, len(there)) - len(canaries)
        if wave == EVERYBODY:
            below = PLACES
        elif more > 0:
            below = max(below, others[more - 1][0] + 1)
        nodes = canaries | {n for at, n in others if at < below}
        brings = sorted(nodes - inside, key=lambda n: (n not in canaries, place(salt, n), n))
        coming.append(Opening(index, below, frozenset(nodes), tuple(brings)))
        inside |= nodes
    return coming


def has_prepared(rollout: Rollout, member: Member) -> bool:
    """Whether a node could begin at once."""
    version, report = rollout.plan.version, member.report
    return report.version == version or (report.preloaded == version and not report.preload_refused)


def cannot_prepare(rollout: Rollout, member: Member) -> bool:
    """Whether a node has refused to make the version ready; what it says of another one counts for nothing."""
    return member.report.preloaded == rollout.plan.version and member.report.preload_refused != ""


def advance_in_words(rollout: Rollout) -> str:
    """What `rollout advance` does, whatever the open waves wait for."""
    return "has it become `current` all the same" if rollout.ends_next else "opens the next one"


def in_words(rollout: Rollout, fleet: Fleet) -> str:
    """How far a roll-out is, in a sentence: "wave 2 of 4 (5%) is rolling: 3 of 5 nodes stable, 1 preparing, 1 away"."""
    plan, there = rollout.plan, eligible(fleet)
    if rollout.wave < 0:
        said = f"{rollout.status}: no wave of {len(plan.waves)} is open"
        if plan.preload:
            ready = sum(1 for m in there.values() if has_prepared(rollout, m))
            said += f", {ready} of {len(there)} nodes have prepared it"
    else:
        view = View(rollout, fleet)
        wave = f"wave {rollout.wave + 1} of {len(plan.waves)} ({plan.waves[rollout.wave]})"
        if rollout.status in FOLLOWED:
            counts = Counter(_does(view, n, m) for n, m in {**view.inside, **view.own}.items())
            others = "".join(f", {counts[what]} {what}" for what in _DOING if counts[what])
            said = (
                f"{wave} is {rollout.status}: {len(view.stable)} of {len(view.taking)} nodes stable{others}"
            )
        else:  # the nodes follow something else by now
            said = f"{rollout.status} in {wave}, nodes that serve it: {len(view.serving)}"
    return said + (f"; {rollout.why}" if rollout.why else "")


_DOING = (
    "on probation",
    "preparing",
    "waiting to begin",
    "refused",
    "went back",
    "vanished",
    "excused",
    "away",
)


def _does(view: View, node: str, member: Member) -> str:
    phase = member.report.phase
    if phase is Phase.EXCUSED:
        return "excused" if member.present else "away"
    if node in view.own and phase in (Phase.REFUSED, Phase.ROLLED_BACK):
        return "refused" if phase is Phase.REFUSED else "went back"
    if not member.present:
        return "vanished" if node in view.vanished else "away"
    if node not in view.own:
        return "waiting to begin"
    words = {Phase.STABLE: "stable", Phase.SWAPPED: "on probation", Phase.BEGUN: "preparing"}
    return words.get(phase, "waiting to begin")


def named(nodes: Iterable[str]) -> str:
    """Some of them, for a sentence."""
    ordered = sorted(nodes)
    more = len(ordered) - _NAMED
    return ", ".join(ordered[:_NAMED]) + (f" and {more} more" if more > 0 else "")
