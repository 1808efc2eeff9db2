# SPDX-License-Identifier: AGPL-3.0-or-later
"""`edgeagent evaluate`: the figures of the golden gate where weights are trained, before a node has to refuse them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from edgeagent.errors import UsageError


def evaluate(
    weights: Annotated[
        Path, typer.Argument(metavar="WEIGHTS", help="A .pt or .onnx file.", show_default=False)
    ],
    golden: Annotated[
        Path,
        typer.Option(
            metavar="DATA",
            help="A data.yaml of the YOLO layout, or a folder with images/ and labels/.",
            show_default=False,
        ),
    ],
    against: Annotated[
        Path | None,
        typer.Option(metavar="WEIGHTS", help="What serves now, to compare with.", show_default=False),
    ] = None,
    confidence: Annotated[float, typer.Option(min=0, max=1, metavar="C", help="As in the pipeline.")] = 0.25,
    iou: Annotated[
        float, typer.Option(min=0, max=1, metavar="IOU", help="Of NMS, as in the pipeline.")
    ] = 0.45,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Of update.gates.golden, such as min_recall=0.9; once for each.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All figures, as JSON.")] = False,
) -> None:
    """Judge weights by labelled pictures, as a node's golden gate does; exit 1 below the thresholds."""
    from edgeagent.cli.progress import Progress
    from edgeagent.cli.render_evaluation import evaluation_json, show_evaluation
    from edgeagent.cli.tables import show_json
    from edgeagent.datasets.layout import layout_of
    from edgeagent.workers.evaluation import evaluate_weights
    from edgeagent.workers.tasks.prepare import Evaluate

    for path in (weights, *([against] if against else [])):
        if not path.is_file():
            raise UsageError(f"weights {path}", "no such file", "give a .pt or .onnx file")
    limits = _limits(threshold or [])
    layout_of(golden)  # what is wrong with it is known before anything is loaded
    task = Evaluate(
        weights.resolve(),
        against.resolve() if against else None,
        golden.resolve(),
        confidence,
        iou,
        limits,
        threads=os.cpu_count() or 1,
    )
    with Progress("pictures judged") as progress:
        found = evaluate_weights(task, progress)
    if as_json:
        show_json(evaluation_json(found, limits))
    else:
        show_evaluation(found, limits)
    raise typer.Exit(1 if found.reasons else 0)


def _limits(thresholds: Sequence[str]) -> Mapping[str, float]:
    from edgeagent.config.verdict import GatesConfig

    asked = dict(_threshold(text) for text in thresholds)
    try:
        return GatesConfig().limits({"golden": asked})["golden"]
    except UsageError as e:
        what = e.what.removeprefix("gates.golden.").removesuffix(" of the intent")
        raise UsageError(f"--threshold {what}", e.why, e.todo) from e


def _threshold(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        if name and equals:
            return name, float(value)
    except ValueError:
        pass
    raise UsageError(
        f"--threshold {text}", "is not NAME=VALUE with a number", "give one such as min_recall=0.9"
    )
