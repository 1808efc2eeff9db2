# SPDX-License-Identifier: AGPL-3.0-or-later
"""After how many frames pairs tell a faulty version from the good one, without a node: `python -m bench.fault_pairs`.

Both look at the same rendered frames of the demo's line; every n-th is a pair, as a node with less time to spare takes
them. The good version against itself, against v1, and v1 against it show what pairs take for a difference.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from bench.detectors import Detector, load_detector
from bench.fault_versions import CONFIDENCE, FAULTS, GOOD, IOU, MORE, V1, find_fault
from bench.page import put
from bench.report import table
from edgeagent.core.boxes import Box
from edgeagent.core.pairs import FramePair, PairLimits, PairTally
from edgeagent.errors import WeightsError
from edgeagent.scenes.conveyor import CLASSES, Conveyor

FPS, SEED = 30.0, 7
Finder = Callable[[int], tuple[Box, ...] | None]
"""What a version finds on the frame of an index; None: no answer."""


def main() -> int:
    """Print after how many frames each is told apart."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=1800, help="of the line, at most")
    parser.add_argument("--every", type=int, nargs="+", default=[1, 3], help="n: each n-th is a pair")
    parser.add_argument("--only", nargs="*", help="faults by name")
    parser.add_argument("--seed", type=int, default=SEED, help="of the line")
    parser.add_argument("--page", type=Path, help="a page that has a place for the table")
    arguments = parser.parse_args()
    line = Conveyor(seed=arguments.seed, fps=FPS)
    names = arguments.only or [f.name for f in (*FAULTS, *MORE) if not f.in_runtime]
    rows: list[tuple[str, int, str]] = []
    with tempfile.TemporaryDirectory(prefix="edgeagent-faults-") as temp:
        good, older = finder(GOOD, line), finder(V1, line)
        cases = [
            ("v2 against itself", good, good),
            ("v2 after v1", older, good),
            ("v1 after v2", good, older),
        ]
        for name in names:
            weights = Path(temp) / f"{name}.onnx"
            find_fault(name).make(GOOD, weights)
            cases.append((name, good, finder(weights, line)))
        for name, incumbent, candidate in cases:
            for every in arguments.every:
                frame, shown, why = told_apart(incumbent, candidate, line, every, arguments.frames)
                rows.append((name, frame, why))
                print(name, every, frame, shown, why, sep=" | ", file=sys.stderr, flush=True)
    text = table(("candidate", *(f"every {n}." for n in arguments.every), "what told it"), shown_rows(rows))
    print(text)
    if arguments.page:
        put(arguments.page, "pairs", text)
    return 0


def shown_rows(rows: Sequence[tuple[str, int, str]]) -> list[list[str]]:
    """A row a candidate: on which frame it was told, for each n; what told it first."""
    found: dict[str, list[str]] = {}
    said: dict[str, str] = {}
    for name, frame, why in rows:
        found.setdefault(name, []).append(str(frame) if why else f"not in {frame}")
        said.setdefault(name, why)
    what = {fault.name: fault.what for fault in (*FAULTS, *MORE)}
    return [[what.get(name, name), *frames, said[name] or "–"] for name, frames in found.items()]


def told_apart(
    incumbent: Finder, candidate: Finder, line: Conveyor, every: int, frames: int
) -> tuple[int, int, str]:
    """On which frame of the line a breach was seen, how many until then show objects by the truth, and why; the last
    frame, and "" for none."""
    tally, shown = PairTally(PairLimits(), CLASSES), 0
    for index in range(frames):
        shown += bool(line.truth(index))
        if index % every == 0:
            both = incumbent(index), candidate(index)
            tally.observe(FramePair("line-1", index, index / FPS, line.width, line.height, *both))
            if why := tally.breach():
                return index, shown, why
    return frames, shown, ""


def finder(weights: Path, line: Conveyor) -> Finder:
    """What weights find on frames of a line, each looked at once."""
    detector: Detector = load_detector(weights, 1)

    @cache
    def find(index: int) -> tuple[Box, ...] | None:
        try:
            boxes: Sequence[Sequence[float]] = detector.detect(
                line.frame(index), CONFIDENCE, IOU
            ).boxes.tolist()
        except WeightsError:
            return None
        return tuple((x0, y0, x1, y1, score, int(cls)) for x0, y0, x1, y1, score, cls in boxes)

    return find


if __name__ == "__main__":
    sys.exit(main())
