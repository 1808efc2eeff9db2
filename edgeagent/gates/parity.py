# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gate `parity`: a converted model must find what its source weights find: the same objects, in the same places.

The trial of a form compares it with the source; the gate judges by what came of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from edgeagent.core.boxes import Box, iou
from edgeagent.core.gating import GateResult
from edgeagent.core.tuning import Parity, Tolerance, most_share
from edgeagent.gates.port import Gate, GateContext


def compare(
    reference: Sequence[Sequence[Box]],
    candidate: Sequence[Sequence[Box]],
    confidence: float,
    tolerance: Tolerance,
) -> Parity:
    """Match the boxes of each frame by class and IoU, best reference score first.

    Both sides hold boxes from well below `confidence`. A box counts when its score is at least that; its partner may
    lie below by the tolerated difference, so that what stands on the threshold doesn't decide. Raises ValueError when
    the two are not of the same number of frames.
    """
    objects = missing = extra = differing = 0
    least_iou, most_score = 1.0, 0.0
    for ours, theirs in zip(reference, candidate, strict=True):
        free = list(theirs)
        counting = sorted((b for b in ours if b[4] >= confidence), key=lambda b: -b[4])
        objects += len(counting)
        lost, score = 0, 0.0
        for box in counting:
            partner = max((b for b in free if b[5] == box[5]), key=lambda b: iou(box, b), default=None)
            overlap = iou(box, partner) if partner else 0.0
            if partner is None or not overlap >= tolerance.iou:
                lost += 1
                continue
            free.remove(partner)
            least_iou = min(least_iou, overlap)
            score = max(score, abs(box[4] - partner[4]))
        more = sum(1 for b in free if b[4] >= confidence + tolerance.score)
        missing, extra, most_score = missing + lost, extra + more, max(most_score, score)
        differing += bool(lost or more or score > tolerance.score)
    frames = len(reference)
    sure = round(most_share(differing, frames), 4)
    return Parity(frames, objects, missing, extra, least_iou, most_score, differing, sure)


def judge(found: Parity, tolerance: Tolerance) -> GateResult:
    """Whether that is the same model."""
    limits = {
        "missing": 0,
        "extra": 0,
        "least_iou": tolerance.iou,
        "most_score": tolerance.score,
        "differing": 0,
    }
    return GateResult.judged("parity", found.failures(tolerance), asdict(found), limits)


LOWEST = 0.001
"""The score from which boxes are compared at all."""


def threshold(reference: Sequence[Sequence[Box]], confidence: float, at_least: int = 5) -> float:
    """The score from which boxes count: `confidence`, or lower where the frames hold next to nothing.

    A comparison of nothing with nothing would prove nothing. But not so low that a partner which is a hair less sure
    would fall below `LOWEST`, and be missed.
    """
    return min(confidence, max(_least_of_the_best(reference, at_least), 2 * LOWEST))


def _least_of_the_best(reference: Sequence[Sequence[Box]], count: int) -> float:
    scores = sorted((box[4] for boxes in reference for box in boxes), reverse=True)
    return scores[:count][-1] if scores else 0.0


def _run(context: GateContext) -> GateResult:
    assert context.parity is not None  # else it doesn't apply
    return judge(context.parity, context.tolerance)


GATE = Gate("parity", _run, applies=lambda context: context.parity is not None)
