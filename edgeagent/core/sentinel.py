# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a machine still gives the results that it gave: the same version, the same pictures, at another time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeagent.core.gating import GateResult
from edgeagent.core.tuning import Parity, Tolerance

MAX_PICTURES = 64
"""Of a set: as many as show what drifts. They are spread over the set."""


@dataclass(frozen=True)
class DriftLimits:
    """tolerance: how alike two boxes are that are one; differing: the share of pictures on which something may be
    beyond that, for a driver or a runtime that was replaced rounds otherwise."""

    tolerance: Tolerance
    differing: float


def judge(found: Parity, unanswered: int, limits: DriftLimits) -> GateResult:
    """Hold a replay against the first one. found: what the comparison of the boxes came to; unanswered: pictures that
    were answered then, and are not now."""
    pictures = found.frames + unanswered
    differing = found.differing + unanswered
    reasons = []
    if differing > limits.differing * pictures:
        reasons.append(
            f"on {differing} of {pictures} golden pictures it finds something else than when it was proved: "
            f"{found.missing} of {found.objects} objects are missing, {found.extra} are new, scores differ by up to "
            f"{found.most_score:.3f}" + (f", {unanswered} pictures are not answered" if unanswered else "")
        )
    figures = {
        "pictures": pictures,
        "objects": found.objects,
        "missing": found.missing,
        "extra": found.extra,
        "most_score": round(found.most_score, 4),
        "differing": differing,
    }
    most = {"differing": int(limits.differing * pictures), "most_score": limits.tolerance.score}
    return GateResult.judged("sentinel", reasons, figures, most)


def spread(count: int, most: int = MAX_PICTURES) -> Sequence[int]:
    """Places of at most `most` of `count` pictures, evenly spread, always the same."""
    return range(count) if count <= most else [i * count // most for i in range(most)]


@dataclass(frozen=True)
class SentinelState:
    """Where the watch over one version stands.

    at: of the last replay, Unix seconds, None before the first; first_at: of the one that it is compared with; found:
    the last comparison, None while there was only the first; why: the drift, or why no replay came about, "" for
    neither.
    """

    at: float | None = None
    first_at: float | None = None
    found: GateResult | None = None
    why: str = ""

    @property
    def figures(self) -> Mapping[str, float]:
        """Of the last comparison."""
        return {k: float(v) for k, v in self.found.figures.items()} if self.found else {}
