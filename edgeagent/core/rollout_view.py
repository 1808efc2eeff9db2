# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a roll-out's coordinator sees of the fleet: who is in, who has acted, who has failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log10

from edgeagent.core.fleet_report import Phase, Report
from edgeagent.core.rollout import PLACES, Rollout, is_canary, is_in, place, wave_size

_ACTED = frozenset({Phase.STABLE, Phase.REFUSED, Phase.ROLLED_BACK, Phase.EXCUSED})
_HARMED = frozenset({Phase.BEGUN, Phase.SWAPPED, Phase.STABLE})
"""A node that vanishes in one of these counts as failed: it is the version that it had to do with last."""
_NAMED = 5
"""Nodes that a sentence names."""


@dataclass(frozen=True)
class Member:
    """A node. present: its presence lies in the config store. report: on the model, None where it has none."""

    present: bool
    report: Report


@dataclass(frozen=True)
class Fleet:
    """Every node that has a report on the model, and the revision of `current` now."""

    members: Mapping[str, Member]
    current_revision: str


@dataclass(frozen=True)
class View:
    """The fleet, as a roll-out sees it. counted: the nodes that were there when its wave opened."""

    rollout: Rollout
    fleet: Fleet
    counted: frozenset[str]

    @property
    def inside(self) -> dict[str, Member]:
        """The nodes of the open waves."""
        r = self.rollout
        return {n: m for n, m in self.fleet.members.items() if is_in(r, n, m.report.labels)}

    @property
    def failed(self) -> list[str]:
        """Those that went back from the version, or vanished with it."""
        return [n for n, m in self._own() if m.report.phase is Phase.ROLLED_BACK or self._vanished(m)]

    @property
    def refused(self) -> list[str]:
        """Those on which the version never served."""
        return [n for n, m in self._own() if m.report.phase is Phase.REFUSED]

    @property
    def pending(self) -> list[str]:
        """Those that were there when the wave opened, are there, and have not acted yet."""
        own = dict(self._own())
        return [
            n
            for n, m in self.inside.items()
            if n in self.counted
            and m.present
            and m.report.phase is not Phase.EXCUSED
            and (n not in own or m.report.phase not in _ACTED)
        ]

    @property
    def unseen(self) -> list[str]:
        """Those that serve the version, and have not seen enough with it."""
        r = self.rollout
        return [
            n
            for n, m in self._own()
            if m.report.phase is Phase.STABLE
            and (m.report.frames < r.limits.min_frames or m.report.objects < r.limits.min_objects)
        ]

    @property
    def serving(self) -> list[str]:
        """Those that are there and serve the version, unless a pin or a hold has them do so."""
        version = self.rollout.plan.version
        return [
            n
            for n, m in self.inside.items()
            if m.present and m.report.version == version and m.report.phase is not Phase.EXCUSED
        ]

    @property
    def evidence(self) -> float:
        """That the version is worse, from all nodes together, as a power of ten.

        Each node's figure is an e-value of its own line. (1 + e) / 2 is one, too, and so is the product over lines that
        are independent; counts of lines that differ are not put together (Vovk and Wang, "E-values: Calibration,
        combination and applications", 2021).
        """
        figures = (m.report.evidence for _, m in self._own() if m.report.phase in _HARMED)
        return sum(log10((1 + 10 ** min(e, 300.0)) / 2) if e > 0 else log10(0.5) for e in figures)

    def _own(self) -> Iterable[tuple[str, Member]]:
        """The nodes inside whose report is on this roll-out."""
        return ((n, m) for n, m in self.inside.items() if m.report.rollout == self.rollout.id)

    @staticmethod
    def _vanished(member: Member) -> bool:
        return not member.present and member.report.phase in _HARMED


def eligible(fleet: Fleet) -> dict[str, Member]:
    """The nodes that are there and follow what the fleet is told."""
    return {n: m for n, m in fleet.members.items() if m.present and m.report.phase is not Phase.EXCUSED}


def nodes_of_wave(rollout: Rollout, index: int, fleet: Fleet) -> tuple[frozenset[str], int]:
    """Who would be in with the waves up to `index` open, of those that are there; and below which place."""
    there = eligible(fleet)
    order = sorted(there, key=lambda n: place(rollout.plan.salt, n))
    below = rollout.open_below
    wave = rollout.plan.waves[index]
    if wave == "100%":
        return frozenset(order), PLACES
    size = wave_size(wave, len(order))
    if size:
        below = max(below, place(rollout.plan.salt, order[size - 1]) + 1)
    inside = {n for n in order if place(rollout.plan.salt, n) < below}
    return frozenset(inside | {n for n in order if is_canary(rollout, n, there[n].report.labels)}), below


def named(nodes: Iterable[str]) -> str:
    """Some of them, for a sentence."""
    ordered = sorted(nodes)
    more = len(ordered) - _NAMED
    return ", ".join(ordered[:_NAMED]) + (f" and {more} more" if more > 0 else "")
