# SPDX-License-Identifier: AGPL-3.0-or-later
"""Histograms of scores: by class and version, in bounds."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from edgeagent.observe.scores import MAX_CLASSES, MAX_VERSIONS, OTHERS, Box, ScoreHistograms

NAMES = ("scratch", "dent")


def box(score: float, cls: int = 0) -> Box:
    """A detection."""
    return (0.0, 0.0, 1.0, 1.0, score, float(cls))


def scraped(histograms: ScoreHistograms) -> dict[tuple[str, str, str, str], float]:
    """By name, version, class and bound."""
    registry = CollectorRegistry()
    registry.register(histograms)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (
            s.name.removeprefix("edgeagent_detection_score_"),
            s.labels["version"],
            s.labels["class"],
            s.labels.get("le", ""),
        ): s.value
        for family in families
        for s in family.samples
    }


def test_each_box_is_in_its_bucket() -> None:
    """At a bound in the lower one, as Prometheus counts."""
    histograms = ScoreHistograms()
    histograms.count("yolo", "v1", NAMES, [box(0.5), box(0.51), box(0.9, 1)])
    histograms.count("yolo", "v1", NAMES, [box(1.0), box(1.5)])
    histograms.count("yolo", "v1", NAMES, [])
    found = scraped(histograms)
    bounds = ("0.4", "0.5", "0.6", "0.9", "1.0", "+Inf")
    assert [found["bucket", "v1", "scratch", le] for le in bounds] == [0, 1, 2, 2, 3, 4]
    assert [found["bucket", "v1", "dent", le] for le in bounds] == [0, 0, 0, 1, 1, 1]
    assert found["count", "v1", "scratch", ""] == 4
    assert found["sum", "v1", "scratch", ""] == 0.5 + 0.51 + 1.0 + 1.5


def test_each_version_has_its_own() -> None:
    """Frames that the version before finishes after the swap are its own, too."""
    histograms = ScoreHistograms()
    for version in ("v1", "v2", "v1", "v2", "v2"):
        histograms.count("yolo", version, NAMES, [box(0.5)])
    found = scraped(histograms)
    assert (found["count", "v1", "scratch", ""], found["count", "v2", "scratch", ""]) == (2, 3)


def test_labels_are_bounded() -> None:
    """Many classes share one; of versions the last ones are kept."""
    histograms = ScoreHistograms()
    names = tuple(f"c{id}" for id in range(1000))
    for version in range(10):
        histograms.count("yolo", f"v{version}", names, [box(0.5, id) for id in range(1000)])
    found = {key: value for key, value in scraped(histograms).items() if key[0] == "count"}
    assert {version for _, version, _, _ in found} == {f"v{n}" for n in range(10 - MAX_VERSIONS, 10)}
    assert {cls for _, _, cls, _ in found} == {*names[:MAX_CLASSES], OTHERS}
    assert found["count", "v9", OTHERS, ""] == 1000 - MAX_CLASSES
