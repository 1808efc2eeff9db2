# SPDX-License-Identifier: AGPL-3.0-or-later
"""The figures of a golden report as a gate shows them, by name, and what they are held against. Pure."""

from __future__ import annotations

from edgeagent.core.gating import Figure
from edgeagent.core.golden import GoldenLimits, GoldenReport, objects_needed

MAX_SHOWN = 20
"""Classes with a figure of their own, the worst; `evaluate` shows all."""


def figures_of(found: GoldenReport, digest: str) -> dict[str, Figure]:
    """`recall.<class>` for each class that the set shows; none for one that it doesn't show."""
    figures: dict[str, Figure] = {
        "set": digest[:12],
        "pictures": found.pictures,
        "objects": found.objects,
        "found": found.found,
        "false_boxes": round(found.false_per_picture, 4),
    }
    if found.of > found.pictures:
        figures["sample_of"] = found.of
    figures |= {f"recall.{c.name}": round(c.recall, 4) for c in found.classes[:MAX_SHOWN]}
    if found.unseen:
        figures["classes_not_shown"] = len(found.unseen)
    if found.must:
        figures |= {"must_find": found.must - len(found.missed)}
    if beside := found.compared:
        figures |= {
            "lost": beside.lost,
            "gained": beside.gained,
            "p_value": float(f"{beside.p_value:.3g}"),
            "overlap_drop": round(beside.overlap_drop, 4),
            "score_drop": round(beside.score_drop, 4),
            "more_false": round(beside.more_false, 4),
        }
    return figures | {name: round(value, 4) for name, value in found.precision.items()}


def limits_of(found: GoldenReport, limits: GoldenLimits) -> dict[str, Figure]:
    """Under the same names."""
    held: dict[str, Figure] = {
        "false_boxes": limits.max_false_boxes,
        "objects_of_a_class": objects_needed(max(found.tests, 1), limits),
    }
    held |= {f"recall.{c.name}": limits.min_recall for c in found.classes[:MAX_SHOWN]}
    if found.must:
        held["must_find"] = found.must
    if found.compared:
        held |= {
            "lost": limits.min_lost,
            "p_value": limits.p_value / max(found.tests, 1),
            "overlap_drop": limits.max_overlap_drop,
            "score_drop": limits.max_score_drop,
            "more_false": limits.max_more_false,
        }
    floors = {"map50": limits.min_map50, "map50_95": limits.min_map50_95}
    return held | {name: least for name, least in floors.items() if least is not None}
