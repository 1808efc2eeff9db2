# SPDX-License-Identifier: AGPL-3.0-or-later
"""Histograms of the scores of what is found, by class and by the version that serves: a distribution to look at, and
never a reason to take a version back."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

BOUNDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Upper ends of the buckets."""
MAX_CLASSES = 32
"""Classes of a contract that have a histogram each, the first ones by their ids."""
OTHERS = "(others)"
"""Of all other classes together."""
MAX_VERSIONS = 4
"""Versions of a model whose histograms are kept, those that served last."""

Box = tuple[float, float, float, float, float, float]
_ZEROS = [0] * (len(BOUNDS) + 1)  # the last one is of what is above all bounds


class _Scores:
    """Of one version. rows: how many boxes each bucket has, by class name; sums: of their scores."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.rows: dict[str, list[int]] = {}
        self.sums: dict[str, float] = {}


class ScoreHistograms(Collector):
    """Counted on the event loop's thread, collected on any."""

    def __init__(self) -> None:
        self._models: dict[str, list[_Scores]] = {}  # the last one is of the version that serves

    def count(self, model: str, version: str, names: Sequence[str], boxes: Sequence[Box]) -> None:
        """A frame has these boxes, of classes that have these names: a look-up and two additions a box."""
        kept = self._models.get(model)
        if kept is None or kept[-1].version != version:
            kept = self._switch(model, version)
        rows, sums = kept[-1].rows, kept[-1].sums
        for box in boxes:
            id = int(box[5])
            name = names[id] if id < MAX_CLASSES else OTHERS
            if name not in rows:
                rows[name], sums[name] = _ZEROS.copy(), 0.0
            rows[name][bisect_left(BOUNDS, box[4])] += 1
            sums[name] += box[4]

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What Prometheus scrapes."""
        family = HistogramMetricFamily(
            "edgeagent_detection_score", "Scores of what was found.", labels=["model", "version", "class"]
        )
        for model, kept in list(self._models.items()):
            for scores in list(kept):
                for name, row in list(scores.rows.items()):
                    buckets, below = [], 0
                    for bound, count in zip((*map(str, BOUNDS), "+Inf"), row.copy(), strict=True):
                        below += count
                        buckets.append((bound, below))
                    family.add_metric([model, scores.version, name], buckets, scores.sums.get(name, 0.0))
        yield family

    def _switch(self, model: str, version: str) -> list[_Scores]:
        before = self._models.get(model, [])
        known = next((scores for scores in before if scores.version == version), None) or _Scores(version)
        kept = [*(scores for scores in before if scores is not known), known][-MAX_VERSIONS:]
        self._models[model] = kept
        return kept
