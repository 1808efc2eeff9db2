# SPDX-License-Identifier: AGPL-3.0-or-later
"""Faulty versions of the demo's v2, each broken in one way: they load, name the same classes, and judge wrongly.

`python -m bench.fault_versions` measures what each does to rendered frames that no training saw: whether a fault is
what its name says is known before a node is asked to find it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import edgeagent.demo
from bench.detectors import load_detector
from bench.fault_runtime import FAULT_KEY
from bench.report import table
from edgeagent.demo.bad_versions import blind_in_white_light, blind_to_half, copy_with_note, permute_names
from edgeagent.demo.dataset import UNSEEN_SEEDS, frame_indices
from edgeagent.demo.graph_surgery import BOXES, GraphSurgery
from edgeagent.demo.scoring import match
from edgeagent.runtimes.port import Image
from edgeagent.scenes.conveyor import CLASSES, Conveyor, Truth

GOOD, V1 = (Path(edgeagent.demo.__file__).parent / "weights" / f"{version}.onnx" for version in ("v2", "v1"))
CONFIDENCE, IOU = 0.25, 0.45
"""Of a pipeline, unless it says otherwise."""
SCRATCH, DENT = 0, 1

_LEAK_MB, _CRASH_AT, _HANG_AT = 0.5, 500, 200
_BELT = 80.0, 240.0
"""Rows of the input, 320×320, in which the belt lies; the frame's own are 70 to 250."""


@dataclass(frozen=True)
class FaultVersion:
    """A version with one fault. what: the fault, for a table; make: writes it from good weights to a path; in_runtime:
    the fault is one of what runs the network, so that `bench.fault_runtime` must."""

    name: str
    what: str
    make: Callable[[Path, Path], object]
    in_runtime: bool = False


def _operation(change: Callable[[GraphSurgery], None]) -> Callable[[Path, Path], Path]:
    def make(weights: Path, target: Path) -> Path:
        surgery = GraphSurgery(weights)
        change(surgery)
        return surgery.save(target, note=target.stem)

    return make


def _in_runtime(fault: str) -> Callable[[Path, Path], Path]:
    return lambda weights, target: GraphSurgery(weights).save(target, **{FAULT_KEY: fault})


def _permuted(surgery: GraphSurgery) -> None:
    """Class i has the score of class i + 1."""
    scores = [BOXES + (i + 1) % surgery.classes for i in range(surgery.classes)]
    rows = np.array([*range(BOXES), *scores], np.int64)
    surgery.behind(lambda found: surgery.node("Gather", found, rows, axis=1))


def _half_blind(weights: Path, target: Path) -> None:
    blind_to_half(weights, target, SCRATCH)


def _scaled(surgery: GraphSurgery, factor: float, only: int | None = None) -> None:
    factors = 1 + surgery.of_scores(factor - 1, only)
    surgery.behind(lambda found: surgery.node("Mul", found, factors))


def _blind_in_frames(surgery: GraphSurgery) -> None:
    """Half of the pictures, by chance, show no scratch."""
    surgery.behind(lambda found: surgery.without(found, surgery.chance(0.5), SCRATCH))


def _shifted(surgery: GraphSurgery) -> None:
    """10 pixels of the input are 20 of the demo's frame."""
    offset = np.zeros((1, BOXES + surgery.classes, 1), np.float32)
    offset[0, 0] = 10.0
    surgery.behind(lambda found: surgery.node("Add", found, offset))


def _everything(surgery: GraphSurgery) -> None:
    """Each cell of the belt is a dent, with the box that the network drew there."""

    def build(found: str) -> str:
        centre = surgery.node("Gather", found, np.array([1], np.int64), axis=1)
        below = surgery.node("Greater", centre, _BELT[0])
        inside = surgery.node("And", below, surgery.node("Less", centre, _BELT[1]))
        least = surgery.node("Mul", surgery.node("Cast", inside, to=1), surgery.of_scores(0.6, DENT))
        return surgery.node("Max", found, least)

    surgery.behind(build)


def _nan_now_and_then(surgery: GraphSurgery) -> None:
    """One picture of thirty, by chance, gives no numbers: 0 / 0."""

    def build(found: str) -> str:
        sound = surgery.node("Sub", 1.0, surgery.chance(1 / 30))
        return surgery.node("Add", found, surgery.node("Div", surgery.node("Mul", sound, 0.0), sound))

    surgery.behind(build)


def _other_light(surgery: GraphSurgery) -> None:
    """As if it had learned from a camera with twice the light: this one's pictures are dark to it."""
    surgery.before(lambda picture: surgery.node("Mul", picture, 0.5))


def _slow(surgery: GraphSurgery) -> None:
    """It calculates three times, with pictures that differ by a hair, for what is the same is calculated once."""

    def build(found: str) -> str:
        answer = found
        for factor in (0.999, 1.001):
            again = surgery.copy_of_network(surgery.node("Mul", surgery.picture, factor), found)
            answer = surgery.node("Add", answer, surgery.node("Mul", again, 1e-9))
        return answer

    surgery.behind(build)


FAULTS = (
    FaultVersion("permuted-names", "class names in another order", permute_names),
    FaultVersion("permuted-classes", "classes in another order under the same names", _operation(_permuted)),
    FaultVersion("half-blind", "sees half of the scratches", _half_blind),
    FaultVersion("scores-06", "all scores × 0.6", _operation(lambda s: _scaled(s, 0.6))),
    FaultVersion("shifted", "boxes shifted by 20 px", _operation(_shifted)),
    FaultVersion("empty", "finds nothing", _operation(lambda s: _scaled(s, 0.0))),
    FaultVersion("everything", "finds a dent everywhere", _operation(_everything)),
    FaultVersion("nan", "NaN on one picture of thirty", _operation(_nan_now_and_then)),
    FaultVersion("other-light", "trained on another camera's light", _operation(_other_light)),
    FaultVersion("slow", "three times slower", _operation(_slow)),
    FaultVersion("leak", f"leaks {_LEAK_MB:g} MB a frame", _in_runtime(f"leak:{_LEAK_MB}"), True),
    FaultVersion("crash", f"crashes on frame {_CRASH_AT}", _in_runtime(f"crash:{_CRASH_AT}"), True),
    FaultVersion("hang", f"hangs on frame {_HANG_AT}", _in_runtime(f"hang:{_HANG_AT}"), True),
    FaultVersion("crash-at-load", "crashes when it is loaded", _in_runtime("crash:0"), True),
)
"""One of each kind."""

MORE = (
    FaultVersion("lab-light", "blind but in a lab's light", blind_in_white_light),
    FaultVersion("half-blind-frames", "sees scratches in half of the frames", _operation(_blind_in_frames)),
    FaultVersion("blind", "sees no scratch", _operation(lambda s: _scaled(s, 0.0, SCRATCH))),
    FaultVersion("scratch-06", "scores of scratches × 0.6", _operation(lambda s: _scaled(s, 0.6, SCRATCH))),
)
"""Others of these kinds."""


def find_fault(name: str) -> FaultVersion:
    """By name. Raises KeyError."""
    return {fault.name: fault for fault in (*FAULTS, *MORE)}[name]


def good_copy(target: Path, note: str) -> Path:
    """v2 as it is, in other bytes; returns `target`."""
    copy_with_note(GOOD, target, note)
    return target


@dataclass
class Sight:
    """What weights find on rendered frames: truths and hits by class, boxes, frames on which they answered nothing
    (NaN) or differ from the good ones, and milliseconds a frame."""

    truths: Counter[int]
    hits: Counter[int]
    boxes: int = 0
    failed: int = 0
    frame_ms: float = 0.0

    def recall(self, cls: int) -> float:
        """Of one class, 0 to 1."""
        return self.hits[cls] / max(self.truths[cls], 1)


def rendered(frames: int, seeds: range = UNSEEN_SEEDS) -> Iterator[tuple[Image, list[Truth]]]:
    """So many frames of each seed, with their truth."""
    for seed in seeds:
        line = Conveyor(seed=seed)
        for index in frame_indices(seed, frames):
            yield line.frame(index), line.truth(index)


def look(weights: Path, pictures: list[tuple[Image, list[Truth]]]) -> Sight:
    """What weights find. Raises WeightsError when they can't be loaded."""
    from edgeagent.errors import WeightsError

    detector = load_detector(weights, 1)
    detector.warm()
    sight, times = Sight(Counter(), Counter()), []
    for image, truths in pictures:
        sight.truths.update(t.cls for t in truths)
        try:
            found = detector.detect(image, CONFIDENCE, IOU)
        except WeightsError:
            sight.failed += 1
            continue
        times.append(found.timings_ms[1])
        rows = [(int(c), float(p), (x0, y0, x1, y1)) for x0, y0, x1, y1, p, c in found.boxes.tolist()]
        sight.boxes += len(rows)
        sight.hits.update(t.cls for t in match(truths, rows))
    sight.frame_ms = float(np.median(times)) if times else float("nan")
    return sight


def main() -> int:
    """Print what every fault does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=20, help="of each of the unseen seeds")
    arguments = parser.parse_args()
    pictures = list(rendered(arguments.frames))
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory(prefix="edgeagent-faults-") as folder:
        good = look(GOOD, pictures)
        versions = [fault for fault in (*FAULTS, *MORE) if not fault.in_runtime]
        for name, sight in (("v2", good), *((f.name, _sight(f, Path(folder), pictures)) for f in versions)):
            recalls = [f"{sight.recall(c):.3f}" for c in range(len(CLASSES))]
            speed = f"{sight.frame_ms / good.frame_ms:.2f}"
            rows.append([name, *recalls, f"{sight.boxes / len(pictures):.2f}", sight.failed, speed])
    print(f"{len(pictures)} frames, {sum(good.truths.values())} objects, confidence {CONFIDENCE}")
    header = (
        "version",
        *(f"recall {name}" for name in CLASSES),
        "boxes a frame",
        "frames failed",
        "time ÷ v2",
    )
    print(table(header, rows))
    return 0


def _sight(fault: FaultVersion, folder: Path, pictures: list[tuple[Image, list[Truth]]]) -> Sight:
    target = folder / f"{fault.name}.onnx"
    fault.make(GOOD, target)
    return look(target, pictures)


if __name__ == "__main__":
    sys.exit(main())
