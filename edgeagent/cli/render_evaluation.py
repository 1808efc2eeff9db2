# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `edgeagent evaluate` found, as a table for people and as JSON for pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from edgeagent.cli.tables import printable, show_table
from edgeagent.core.golden import GoldenLimits, GoldenReport, objects_needed
from edgeagent.util.codec import to_json
from edgeagent.workers.tasks.prepare import Evaluated


def evaluation_json(found: Evaluated, limits: Mapping[str, float]) -> dict[str, Any]:
    """All figures, the thresholds, and whether it passed."""
    report = found.report
    classes = [{**to_json(c), "recall": round(c.recall, 6)} for c in report.classes]
    compared = to_json(report.compared)
    if report.compared:
        compared["p_value"] = report.compared.p_value
    return {
        **to_json(report),
        "classes": classes,
        "compared": compared,
        "false_boxes_per_picture": round(report.false_per_picture, 6),
        "objects_needed": objects_needed(report.tests, GoldenLimits.of(limits)),
        "unlabelled": found.unlabelled,
        "limits": dict(limits),
        "passed": not found.reasons,
        "reasons": list(found.reasons),
    }


def show_evaluation(found: Evaluated, limits: Mapping[str, float]) -> None:
    """A table of the classes, the figures of all, and the verdict."""
    report = found.report
    columns = ["class", "objects", "found", "recall", "false boxes"]
    columns += ["lost", "gained"] if report.compared else []
    rows = []
    for c in report.classes:
        row: list[object] = [c.name, c.objects, c.found, f"{c.recall:.3f}", c.false_boxes]
        rows.append(row + ([c.lost, c.gained] if report.compared else []))
    show_table(columns, rows)
    for line in _lines(report, found.unlabelled):
        typer.echo(printable(line))
    for why in found.reasons:
        typer.echo(printable(f"refused: {why}"))
    if not found.reasons:
        needed = objects_needed(report.tests, GoldenLimits.of(limits))
        typer.echo(
            f"passed: the set shows a drop of recall by {limits['drop']:g} (at least {needed} objects a class)"
        )


def _lines(report: GoldenReport, unlabelled: int) -> list[str]:
    of = f", a sample of {report.of}" if report.of > report.pictures else ""
    lines = [
        f"{report.pictures} pictures{of}: {report.found} of {report.objects} objects found,"
        f" {report.false_per_picture:.3g} false boxes per picture"
    ]
    if unlabelled:
        lines.append(f"{unlabelled} pictures have no label file, and count as showing nothing")
    if report.unseen:
        lines.append(f"not shown, so not judged: {', '.join(report.unseen)[:500]}")
    if report.must:
        lines.append(f"{report.must - len(report.missed)} of {report.must} objects that must be found")
    if beside := report.compared:
        lines.append(
            f"beside the other: {beside.lost} lost, {beside.gained} gained (p = {beside.p_value:.2g}); over the"
            f" {beside.both} objects that both find, IoU of the boxes {0 - beside.overlap_drop:+.3f}, scores"
            f" {0 - beside.score_drop:+.3f}; {beside.more_false:+.3f} false boxes per picture"
        )
    if report.precision:
        lines.append(", ".join(f"{name} {value:.4f}" for name, value in report.precision.items()))
    return lines
