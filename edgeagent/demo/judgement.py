# SPDX-License-Identifier: AGPL-3.0-or-later
"""What should hold of the demo's whole run."""

from __future__ import annotations

from edgeagent.demo.measurements import Measurements, longest_gap_ms
from edgeagent.demo.scenario import LAB_ONLY, Scenario

_BUSY_MACHINE = 0.1  # of its processors, taken by other programs
_NO_TIME = "busy"  # why a node drops a frame of a live line when its engine is at work on another


def judge(scenario: Scenario, measurements: Measurements, other_load: float) -> None:
    """The expectations about the whole run. other_load: what other programs took of the machine (0 to 1)."""
    before, after = (measurements.recall(v, True) for v in ("v1", "v2"))
    scenario.expect(
        "v2 finds more tiny defects than v1",
        (after.share or 0) > (before.share or 0),
        f"recall of tiny defects {before} → {after}, "
        f"of all {measurements.recall('v1', False)} → {measurements.recall('v2', False)}",
    )
    rollbacks = [c for c in scenario.changes if c.kind == "roll back"]
    took = " and ".join(f"{c.serving_ms:.0f} ms" for c in rollbacks if c.serving_ms is not None)
    scenario.expect(
        "roll-back brought v1 back, loaded and warm",
        len(rollbacks) == 2 and all(c.result == "swapped" for c in rollbacks),
        f"v1 served after {took or 'never'}",
    )
    bad = [v for v in measurements.versions if v not in ("v1", "v2", LAB_ONLY)]
    scenario.expect(
        "only good versions served, and the one that was tried on probation",
        not bad and not measurements.mixed,
        f"{', '.join(measurements.versions) or 'none'}; {len(measurements.swaps)} swaps, "
        f"longest gap at one {max((s.gap_ms for s in measurements.swaps), default=0):.0f} ms",
    )
    scenario.expect(
        "no frame lost, doubled or out of order",
        *_whole(measurements, scenario, other_load),
    )


def _whole(measurements: Measurements, scenario: Scenario, other_load: float) -> tuple[bool, str]:
    """Whether each frame gave one result in its turn, and what was seen.

    Frames that the node dropped for want of time, while other programs had the processors, are the machine's loss: at
    its rate the line leaves an engine half idle. Any other is edgeagent's.
    """
    lost, dropped = measurements.lost, scenario.dropped()
    taken = other_load >= _BUSY_MACHINE and not scenario.unaccounted and dropped.keys() <= {_NO_TIME}
    seen = f"{len(measurements.frames)} frames, {lost} lost"
    if dropped:
        seen += f" (dropped by the node: {', '.join(f'{n} {reason}' for reason, n in dropped.items())})"
    seen += (
        f", {measurements.disordered} out of order; longest gap in the run "
        f"{longest_gap_ms(measurements.frames):.0f} ms"
    )
    if lost:
        seen += f"; other programs took {other_load:.0%} of this machine: " + (
            "the loss is theirs, not edgeagent's" if taken else "no reason to lose a frame"
        )
    return bool(measurements.frames) and not measurements.disordered and (not lost or taken), seen
