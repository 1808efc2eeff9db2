# SPDX-License-Identifier: AGPL-3.0-or-later
"""Weights judged by labelled pictures, in the preparing worker: what `edgeagent evaluate` shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeagent.core.golden import GoldenLimits, reasons
from edgeagent.datasets.labelled import read_set
from edgeagent.datasets.layout import layout_of
from edgeagent.gates.golden import Question, measure, shortened
from edgeagent.gates.port import ActiveVersion
from edgeagent.runtimes.detection.detector import Detector
from edgeagent.runtimes.inspect import read_metadata
from edgeagent.runtimes.load import load_runtime
from edgeagent.runtimes.port import EngineOptions
from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.tasks.prepare import Evaluate, Evaluated, GateProgress

_MOST_CLASSES = 500
"""The worst, that an answer shows: with more, and their names, it wouldn't fit a message."""


def evaluate(channel: WorkerChannel, task: Evaluate) -> Evaluated:
    """Raises UsageError (the set), WeightsError, MissingExtraError."""
    limits = GoldenLimits.of(task.limits)
    detector = _load(task.weights, task.threads)
    names = detector.runtime.metadata.contract.names
    against = task.against
    active = ActiveVersion(str(against), lambda: _load(against, task.threads)) if against else None
    found = read_set(layout_of(task.golden), names, most=int(limits.max_pictures))
    report = measure(
        Question(found, limits, task.confidence, task.iou),
        detector,
        active,
        lambda done, total: channel.send(GateProgress(done, total)),
    )
    why = reasons(report, limits)
    shown = replace(
        report,
        classes=report.classes[:_MOST_CLASSES],
        unseen=report.unseen[:_MOST_CLASSES],
        missed=report.missed[:_MOST_CLASSES],
    )
    return Evaluated(shown, tuple(shortened(why)), found.unlabelled)


def _load(weights: Path, threads: int) -> Detector:
    metadata = read_metadata(weights)
    return Detector(load_runtime(weights, metadata.format, EngineOptions(threads=threads)))
