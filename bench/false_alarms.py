# SPDX-License-Identifier: AGPL-3.0-or-later
"""How pairs judge: false alarms on a line without a difference, and how soon a fault shows.

`python -m bench.false_alarms` prints three tables: a simulated day of a line (an empty belt for ten minutes, an hour of
other light, another mix of products) seen by two equally good versions that err by themselves; the frames that each
fault takes to be a breach, on rendered frames and the boxes that the demo's models find there; and the demo's versions
against each other, and against themselves in another runtime.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import edgeagent.demo
from bench.report import table
from edgeagent.core.boxes import Box
from edgeagent.core.pairs import FramePair, PairLimits, PairTally
from edgeagent.errors import EdgeAgentError
from edgeagent.runtimes.detection.detector import Detector
from edgeagent.runtimes.load import load_runtime
from edgeagent.runtimes.port import EngineOptions
from edgeagent.scenes.conveyor import CLASSES, Conveyor, Truth

WEIGHTS = Path(edgeagent.demo.__file__).parent / "weights"
CONFIDENCE, IOU = 0.25, 0.45
WIDTH, HEIGHT = 640, 360
LINE_FPS = 15
HOUR_S = 3600.0
PROBATION_S = 600.0

Boxes = tuple[Box, ...]
Change = Callable[[Boxes, Sequence[Truth]], Boxes]


# -- a simulated day ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conditions:
    """Of a time of the day. rate: objects a second; mix: weights of their classes; weak: share of those that either
    version finds or not, by chance, each for itself; flicker: how often any object is missed on a frame."""

    rate: float = 0.9
    mix: tuple[float, float, float] = (0.45, 0.42, 0.13)
    weak: float = 0.02
    flicker: float = 0.04


USUAL = Conditions()


def conditions(hour: float) -> Conditions:
    """What the line is like at an hour of the day."""
    if 3.0 <= hour < 3.0 + 1 / 6:
        return replace(USUAL, rate=0.0)  # an empty belt
    if 10.0 <= hour < 11.0:
        return replace(USUAL, weak=0.06, flicker=0.12)  # other light
    if hour >= 16.0:
        return replace(USUAL, rate=1.3, mix=(0.1, 0.3, 0.6))  # other products
    return USUAL


@dataclass(frozen=True)
class _Object:
    at: float
    y: float
    size: float
    cls: int
    seen_by: tuple[bool, bool]
    flicker: float


def simulated(seconds: float, fps: float, seed: int, speed: float = 170.0) -> Iterator[FramePair]:
    """What two equally good versions find on a belt. Both err, each for itself; so do false boxes come and go."""
    rng = random.Random(seed)
    view: list[_Object] = []
    coming = _objects(rng, seconds)
    following = next(coming, None)
    for frame in range(int(seconds * fps)):
        now = frame / fps
        while following and following.at <= now:
            view.append(following)
            following = next(coming, None)
        view = [o for o in view if (now - o.at) * speed < WIDTH]
        sides: tuple[list[Box], list[Box]] = ([], [])
        for o in view:
            x = (now - o.at) * speed
            for side in (0, 1):
                if o.seen_by[side] and rng.random() >= o.flicker:
                    jitter = rng.gauss(0, 0.02 * o.size)
                    score = min(0.99, max(0.26, rng.gauss(0.75, 0.08)))
                    box = (x + jitter, o.y + jitter, x + o.size, o.y + o.size, score, o.cls)
                    sides[side].append(box)
        yield FramePair("line", frame, now, WIDTH, HEIGHT, tuple(sides[0]), tuple(sides[1]), 12.0, 15.0)


def _objects(rng: random.Random, seconds: float) -> Iterator[_Object]:
    at = 0.0
    while at < seconds:
        now = conditions(at / HOUR_S % 24)
        if not now.rate:
            at += 1.0
            continue
        at += rng.expovariate(now.rate)
        weak = rng.random() < now.weak
        seen = (rng.random() < 0.5, rng.random() < 0.5) if weak else (True, True)
        if rng.random() < 0.01:  # a false box, of one of the two
            seen = (True, False) if rng.random() < 0.5 else (False, True)
        cls = rng.choices(range(len(CLASSES)), now.mix)[0]
        yield _Object(at, rng.uniform(50, 280), rng.uniform(16, 70), cls, seen, now.flicker)


def day(hours: float, fps: float, seed: int) -> str:
    """Alarms of a day that was watched as one, and in probations of ten minutes, one after the other."""
    whole, ten = PairTally(PairLimits(), CLASSES), PairTally(PairLimits(), CLASSES)
    alarms: list[str] = []
    whole_alarm, probations, until = "", 1, PROBATION_S
    for pair in simulated(hours * HOUR_S, fps, seed):
        if pair.mono >= until:
            alarms += [ten.breach()] if ten.breach() else []
            ten, until, probations = PairTally(PairLimits(), CLASSES), until + PROBATION_S, probations + 1
        whole.observe(pair)
        ten.observe(pair)
        if whole.breach() and not whole_alarm:
            whole_alarm = f"{whole.breach()} at {pair.mono / HOUR_S:.1f} h"
    alarms += [ten.breach()] if ten.breach() else []
    summary = whole.summary()
    lost, gained = (sum(getattr(c, name) for c in summary.classes) for name in ("lost", "gained"))
    said = [f"  {why}" for why in (whole_alarm, *alarms) if why]
    return "\n".join(
        [
            f"{hours:g} h, {fps:g} pairs a second, {summary.objects} objects, {lost} lost and {gained} gained:"
            f" {int(bool(whole_alarm))} alarms of one watch over all of it, {len(alarms)} of {probations} probations",
            *said,
        ]
    )


# -- rendered frames ------------------------------------------------------------------------------------


@dataclass
class Seen:
    """What versions find on rendered frames: by version, boxes of each frame; when it was, and what is true."""

    times: list[float]
    truths: list[list[Truth]]
    found: dict[str, list[Boxes]]


def look(seconds: float, fps: float, seed: int, versions: dict[str, Detector]) -> Seen:
    """On frames of the demo's line, boxes from well below the pipeline's confidence."""
    line = Conveyor(seed=seed, fps=LINE_FPS)
    seen = Seen([], [], {name: [] for name in versions})
    for index in range(0, int(seconds * LINE_FPS), max(1, round(LINE_FPS / fps))):
        image = line.frame(index)
        seen.times.append(index / LINE_FPS)
        seen.truths.append(line.truth(index))
        for name, detector in versions.items():
            rows = detector.detect(image, 0.1, IOU).boxes.tolist()
            seen.found[name].append(tuple((x1, y1, x2, y2, p, int(c)) for x1, y1, x2, y2, p, c in rows))
    return seen


def versions() -> dict[str, Detector]:
    """The demo's, and v2 in other runtimes where they are installed."""
    found: dict[str, Detector] = {}
    for name, file, backend, precision in (
        ("v1", "v1.onnx", "onnxruntime", "fp32"),
        ("v2", "v2.onnx", "onnxruntime", "fp32"),
        ("v2 in OpenVINO", "v2.onnx", "openvino", "fp32"),
        ("v2 in OpenVINO, bf16", "v2.onnx", "openvino", "bf16"),
    ):
        options = EngineOptions(backend=backend, precision=precision)
        try:
            found[name] = Detector(load_runtime(WEIGHTS / file, "onnx", options))
        except EdgeAgentError as e:
            print(f"{name}: {e}")
    return found


def _each(change: Callable[[Box], Box]) -> Change:
    return lambda boxes, truths: tuple(change(b) for b in boxes)


def _blind(cls: int, odd_parts_only: bool) -> Change:
    """To objects of a class, or to those on every second carton."""

    def change(boxes: Boxes, truths: Sequence[Truth]) -> Boxes:
        return tuple(b for b in boxes if b[5] != cls or (odd_parts_only and _part(b, truths) % 2 == 0))

    return change


def _by_chance(cls: int) -> Change:
    """To a class on every second frame, by chance."""
    rng = random.Random(1)

    def change(boxes: Boxes, truths: Sequence[Truth]) -> Boxes:
        unseen = rng.random() < 0.5
        return tuple(b for b in boxes if not (unseen and b[5] == cls))

    return change


def _part(box: Box, truths: Sequence[Truth]) -> int:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    inside = (t for t in truths if t.xyxy[0] <= x <= t.xyxy[2] and t.xyxy[1] <= y <= t.xyxy[3])
    return next((t.part for t in inside), 0)


def _called(names: dict[int, int]) -> Change:
    return _each(lambda b: (*b[:5], names.get(b[5], b[5])))


def _grid(boxes: Boxes, truths: Sequence[Truth]) -> Boxes:
    cells = (
        (x, y, x + 30.0, y + 30.0, 0.5, 1)
        for x in map(float, range(0, 600, 30))
        for y in map(float, range(50, 300, 30))
    )
    return (*boxes, *cells)


FAULTS: dict[str, Change] = {
    "finds nothing": lambda boxes, truths: (),
    "finds a dent everywhere": _grid,
    "classes in another order": _called({0: 1, 1: 2, 2: 0}),
    "scratch and dent exchanged": _called({0: 1, 1: 0}),
    "boxes shifted by 20 px": _each(lambda b: (b[0] + 20, b[1], b[2] + 20, b[3], b[4], b[5])),
    "all scores × 0.6": _each(lambda b: (*b[:4], b[4] * 0.6, b[5])),
    "scores of scratches × 0.6": _each(lambda b: (*b[:4], b[4] * (0.6 if b[5] == 0 else 1.0), b[5])),
    "every second scratch": _blind(0, odd_parts_only=True),
    "every second dent": _blind(1, odd_parts_only=True),
    "scratches on every second frame": _by_chance(0),
    "no scratches": _blind(0, odd_parts_only=False),
    "no missing labels (one in nine seconds)": _blind(2, odd_parts_only=False),
    "every second missing label": _blind(2, odd_parts_only=True),
}


def judged(seen: Seen, incumbent: str, candidate: str, change: Change | None = None) -> tuple[PairTally, int]:
    """A tally of two versions, until it is a breach; and how many frames of the line showed objects until then."""
    tally, shown = PairTally(PairLimits(), CLASSES), 0
    step_s = seen.times[1] - seen.times[0]
    for i, now in enumerate(seen.times):
        ours = _sure(seen.found[incumbent][i])
        theirs = seen.found[candidate][i]
        theirs = _sure(change(theirs, seen.truths[i]) if change else theirs)
        tally.observe(FramePair("line", i, now, WIDTH, HEIGHT, ours, theirs))
        shown += round(step_s * LINE_FPS) * bool(ours)
        if tally.breach():
            break
    return tally, shown


def _sure(boxes: Boxes) -> Boxes:
    return tuple(b for b in boxes if b[4] >= CONFIDENCE)


def sensitivity(lines: Sequence[Seen]) -> str:
    """Frames that show objects until each fault of v2 is a breach beside v2, on each line."""
    rows = []
    for name, change in FAULTS.items():
        figures = []
        for seen in lines:
            tally, shown = judged(seen, "v2", "v2", change)
            figures.append(f"{shown}" if tally.breach() else f"none in {shown}")
        rows.append((name, *figures))
    return table(("fault", *(f"line {i + 1}" for i in range(len(lines)))), rows)


def against_each_other(lines: Sequence[Seen]) -> str:
    """The demo's versions, without a fault."""
    rows = []
    names = list(lines[0].found)
    for incumbent, candidate in [("v1", "v2"), *(("v2", name) for name in names)]:
        for i, seen in enumerate(lines):
            tally, shown = judged(seen, incumbent, candidate)
            classes = tally.summary().classes
            sums = [
                sum(getattr(c, n) for c in classes) for n in ("agreed", "lost", "gained", "moved", "weaker")
            ]
            rows.append((f"{candidate} after {incumbent}", i + 1, shown, *sums, tally.breach() or "none"))
    head = ("", "line", "frames", "agreed", "lost", "gained", "moved", "weaker", "breach")
    return table(head, rows)


def main() -> int:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--hours", type=float, default=24.0, help="of the simulated line; 0: none")
    parser.add_argument("--seconds", type=float, default=200.0, help="of each rendered line; 0: none")
    parser.add_argument("--lines", type=int, default=2, help="rendered ones")
    parser.add_argument("--fps", type=float, default=5.0, help="pairs a second")
    parser.add_argument("--seed", type=int, default=910)
    arguments = parser.parse_args()
    if arguments.seconds:
        detectors = versions()
        seeds = range(arguments.seed, arguments.seed + arguments.lines)
        lines = [look(arguments.seconds, arguments.fps, seed, detectors) for seed in seeds]
        print(f"frames of a line of {LINE_FPS} a second that show objects, until a breach")
        print(sensitivity(lines), against_each_other(lines), sep="\n\n", flush=True)
    if arguments.hours:
        print("\n" + day(arguments.hours, arguments.fps, arguments.seed), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
