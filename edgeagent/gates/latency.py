# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gate `latency`: a candidate must be fast enough here, beside what serves.

Measured in the preparing worker, at the lowest priority, while the line goes on: in turns with the active version, so
that whatever disturbs one disturbs the other; without the waits for a processor; and of each picture the least of
several turns. So it is what a frame takes where the machine lets it, not what it takes in the queue: that shows once
the version serves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edgeagent.core.gating import Figure, GateResult, GateTerms
from edgeagent.core.pace import Latency, p95
from edgeagent.errors import EdgeAgentError
from edgeagent.gates.port import Gate, GateContext
from edgeagent.util.memory import free_bytes
from edgeagent.util.processor_time import OwnTime

if TYPE_CHECKING:
    from edgeagent.runtimes.detection.detector import Detector
    from edgeagent.runtimes.port import Image

TURNS, LEAST_TURNS = 7, 2
MEASURED_S = 3.0
"""After so many seconds it is measured no longer, if each had LEAST_TURNS."""

_MAX_PICTURES = 8
_ROOM = 1.2
"""Of how many times what the candidate took there has to be room for what serves, to measure that beside it."""

Work = Callable[["Image"], object]


def least_times(
    entrants: Sequence[Work],
    pictures: Sequence[Image],
    own_time: Callable[[Callable[[], object]], float],
    clock: Callable[[], float] = time.perf_counter,
    on_turn: Callable[[int], None] = lambda turn: None,
) -> tuple[list[list[float]], int]:
    """The least seconds of each of `entrants` for each picture, in turns, and how many turns there were."""
    least = [[float("inf")] * len(pictures) for _ in entrants]
    begun, turn = clock(), 0
    while turn < TURNS and (turn < LEAST_TURNS or clock() - begun < MEASURED_S):
        for number, picture in enumerate(pictures):
            for entrant, times in zip(entrants, least, strict=True):
                times[number] = min(times[number], own_time(lambda: entrant(picture)))  # noqa: B023  (called at once)
        turn += 1
        on_turn(turn)
    return least, turn


def _run(context: GateContext) -> GateResult:
    limits = _limits(context.terms)
    detectors, why = _entrants(context)
    pictures = [*context.frames[:_MAX_PICTURES]] or [_grey(context.detector)]

    def detects(detector: Detector) -> Work:
        return lambda picture: detector.detect(picture, context.terms.confidence, context.terms.iou)

    least, turns = least_times(
        [detects(detector) for detector in detectors],
        pictures,
        OwnTime().of,
        on_turn=lambda turn: context.on_progress(turn, TURNS),
    )
    candidate, *active = [p95(times) * 1000 for times in least]
    found = Latency(candidate, active[0] if active else 0.0, context.terms.interval_ms)
    figures: dict[str, Figure] = {"p95_ms": round(found.p95_ms, 2), "pictures": len(pictures), "turns": turns}
    if found.active_ms:
        figures |= {"active_p95_ms": round(found.active_ms, 2), "ratio": round(found.ratio, 2)}
    if why:
        figures["active_not_measured"] = why
    return GateResult.judged("latency", judge(found, limits), figures, _held_against(found, limits))


def judge(found: Latency, limits: dict[str, float]) -> list[str]:
    """Why it is too slow, and how to let it in."""
    reasons = found.reasons(limits.get("budget_ms"), limits["max_ratio"])
    return [f"{reason} (allow_slow lets it in all the same)" for reason in reasons]


def _held_against(found: Latency, limits: dict[str, float]) -> dict[str, Figure]:
    budget = limits.get("budget_ms") or round(found.interval_ms, 1)
    held: dict[str, Figure] = {"p95_ms": budget} if budget else {}
    return held | ({"ratio": limits["max_ratio"]} if found.active_ms else {})


def _entrants(context: GateContext) -> tuple[list[Detector], str]:
    """The candidate, and what serves; or why that can't be measured, which says nothing of the candidate."""
    if context.active is None:
        return [context.detector], ""
    loading, free = context.loading(), free_bytes()
    if loading and free is not None and free < loading.needs * _ROOM:
        return [context.detector], "there is no room to load what serves a second time, beside it"
    try:
        return [context.detector, context.active.detector], ""
    except EdgeAgentError as e:
        return [context.detector], str(e)


def _grey(detector: Detector) -> Image:
    import numpy as np

    return np.full((*detector.runtime.metadata.contract.imgsz, 3), 114, np.uint8)


def _limits(terms: GateTerms) -> dict[str, float]:
    return dict(terms.limits.get("latency", {}))


def _applies(context: GateContext) -> bool:
    """Something serves: while nothing does a slow version is better than none, and is made faster beside the line."""
    return context.active is not None and bool(_limits(context.terms))


def _inputs(terms: GateTerms) -> object:
    """Not the interval of the frames: it changes by the minute, and is asked for again when the version is loaded."""
    return _limits(terms)


GATE = Gate("latency", _run, applies=_applies, inputs=_inputs)
