# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two versions of a model side by side: what the nodes of a roll-out's open waves see, and what the others do.

A node is one value, however many frames it has seen: frames of one line are not independent, and lines differ. Nodes
fall into the waves by chance (core/rollout.py), so both groups are random samples of the fleet; canaries are not, which
`Comparison.chosen` counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from edgeagent.core.binomial import share_within
from edgeagent.core.fleet_report import Phase, Report
from edgeagent.core.rollout import Rollout, is_canary
from edgeagent.core.rollout_view import Fleet, Member, View
from edgeagent.core.student import CONFIDENCE, Estimate, difference_of, mean_of

FIGURES: Mapping[str, Callable[[Report], float | None]] = {
    "frames": lambda r: float(r.frames) if r.frames else None,
    "boxes": lambda r: r.boxes if r.frames else None,
    "latency_ms": lambda r: r.latency_ms if r.latency_ms > 0 else None,
    "golden": lambda r: r.golden if r.golden >= 0 else None,
    "evidence": lambda r: r.evidence if r.objects else None,
}
"""What is compared, by its name in a node's report; None where the node has no such figure."""


@dataclass(frozen=True)
class Group:
    """The nodes of one version.

    nodes: how many belong to it; serving: how many of them are there and serve the version: only these have figures.
    refused, rolled_back: the share of the nodes on which it never served, or was taken back: only known of the version
    that comes.
    """

    version: str
    nodes: int
    serving: int
    refused: Estimate
    rolled_back: Estimate
    figures: Mapping[str, Estimate]


@dataclass(frozen=True)
class Comparison:
    """Both groups, and for each figure the mean of `inside` less that of `outside`. chosen: nodes of `inside` that were
    named or met by the selector."""

    inside: Group
    outside: Group
    differences: Mapping[str, Estimate]
    chosen: int


def compare(rollout: Rollout, fleet: Fleet) -> Comparison:
    """The nodes of the open waves, and those that follow the fleet and are not in."""
    view = View(rollout, fleet)
    inside = {n: m for n, m in view.inside.items() if m.report.phase is not Phase.EXCUSED}
    outside = [
        m
        for n, m in fleet.members.items()
        if n not in view.inside and m.present and m.report.phase is not Phase.EXCUSED
    ]
    new = _serving(inside.values(), rollout.plan.version)
    old = _serving(outside, rollout.plan.came_from)
    tried = sum(m.report.rollout == rollout.id and m.report.phase in _TRIED for m in inside.values())
    return Comparison(
        _group(
            rollout.plan.version,
            len(inside),
            new,
            _share(sum(n in inside for n in view.refused), tried),
            _share(sum(n in inside for n in view.failed), tried),
        ),
        _group(rollout.plan.came_from, len(outside), old, Estimate(0), Estimate(0)),
        {name: difference_of(_values(new, of), _values(old, of)) for name, of in FIGURES.items()},
        sum(is_canary(rollout, n, m.report.labels) for n, m in inside.items()),
    )


_TRIED = frozenset({Phase.BEGUN, Phase.SWAPPED, Phase.STABLE, Phase.REFUSED, Phase.ROLLED_BACK})
"""Nodes that have tried to take the version up: of so many a share refused it, or went back."""


def _serving(members: Iterable[Member], version: str) -> list[Report]:
    return [m.report for m in members if m.present and m.report.version == version]


def _group(
    version: str, nodes: int, serving: list[Report], refused: Estimate, rolled_back: Estimate
) -> Group:
    figures = {name: mean_of(_values(serving, of)) for name, of in FIGURES.items()}
    return Group(version, nodes, len(serving), refused, rolled_back, figures)


def _values(reports: list[Report], of: Callable[[Report], float | None]) -> list[float]:
    return [value for report in reports if (value := of(report)) is not None]


def _share(count: int, nodes: int) -> Estimate:
    """Of so many nodes; a share is no mean of values that lie around it, so its interval is the exact one."""
    if not nodes:
        return Estimate(0)
    return Estimate(nodes, count / nodes, *share_within(count, nodes, CONFIDENCE))
