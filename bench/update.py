# SPDX-License-Identifier: AGPL-3.0-or-later
"""Updates under an open-loop load at a fixed rate: this node, and the usual ways to do it.

Each strategy gets the same frames at the same rate, the same model and the same series of updates, of which every
fifth is one that must not serve: weights that are cut off, or whose class names are in another order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import networks
from bench.charts import Track, tracks
from bench.detectors import load_detector
from bench.naive_swap import BAD, Baseline, SwapMethod, ThisNode, versions
from bench.openloop import Reading, Window, read
from bench.processes import usage
from bench.report import Bench, Section, Target, median, table

UPDATES = 50
BAD_EVERY = 5
LOAD = 0.7  # of what the engine does with one thread
QUIET_FRAMES = 500  # on each side of the updates: a p99 needs a thousand
PAUSE_S = 0.3
SETTLE_S = 0.3


@dataclass
class Run:
    """What one strategy did. updates: (promoted, done, version, good); memory in MB; runtime: what calculated."""

    name: str
    fps: float
    before: Window = (0, 0)
    after: Window = (0, 0)
    updates: list[tuple[float, float, str, bool]] = field(default_factory=list)
    memory_before: float = 0.0
    memory_after: float = 0.0
    memory_most: float = 0.0
    records: list[dict[str, Any]] = field(default_factory=list)
    runtime: str = "ONNX Runtime"

    @property
    def reading(self) -> Reading:
        return read(self.records, self.fps, (self.before[0], self.after[1]))

    @property
    def during(self) -> list[Window]:
        return [(promoted, done + SETTLE_S) for promoted, done, _, _ in self.updates]

    @property
    def served_bad(self) -> int:
        """Frames whose result came from a version that must not serve."""
        return sum(r["version"] in BAD for r in self.records)

    @property
    def first_results(self) -> list[float]:
        """Seconds from each good promote to its first result."""
        found = []
        for promoted, _, version, good in self.updates:
            times = (r["ts"] + r["latency_ms"] / 1000 for r in self.records if r["version"] == version)
            first = next((t for t in times if t > promoted), None)
            if good and first is not None:
                found.append(first - promoted)
        return found


def run(bench: Bench) -> Section:
    """Every strategy in turn, on YOLO11n at 320."""
    folder = bench.scratch / "update"
    first, second = networks.build(
        bench.built / "networks", networks.YOLO11N_320, networks.Network("yolo11n", 320, 1)
    )
    onnx = versions(folder / "onnx", first.onnx, second.onnx)
    pt = versions(folder / "pt", first.pt, second.pt)
    most = {"ONNX Runtime": _most_fps(onnx["v1"]), "torch": _most_fps(pt["v1"])}
    fps = {runtime: round(LOAD * rate, 1) for runtime, rate in most.items()}
    rate = fps["ONNX Runtime"]
    methods: dict[str, Callable[[], SwapMethod]] = {
        "this node": lambda: ThisNode(folder / "node", onnx, rate, {"backend": "onnxruntime"}),
        "thread and lock, no torch in its process": lambda: Baseline("thread", folder / "thread", onnx, rate),
        "thread and lock, torch imported": lambda: Baseline(
            "thread", folder / "thread-beside", onnx, rate, "--with-torch"
        ),
        "thread and lock, .pt": lambda: Baseline("thread", folder / "thread-pt", pt, fps["torch"]),
        "pause, load, resume": lambda: Baseline("pause", folder / "pause", onnx, rate),
        "process restart": lambda: Baseline("restart", folder / "restart", onnx, rate),
    }
    runs = []
    for name, make in methods.items():
        runtime = "torch" if name.endswith(".pt") else "ONNX Runtime"
        runs.append(replace(follow(name, make(), fps[runtime], bench), runtime=runtime))
    _picture(bench.pictures / "update.png", runs)
    return _section(runs)


def follow(name: str, method: SwapMethod, fps: float, bench: Bench, warm_up: Sequence[str] = ()) -> Run:
    """Quiet, then the series of updates, then quiet again. warm_up: versions to serve once before all that."""
    quiet_s = 2.0 if bench.quick else QUIET_FRAMES / fps
    result = Run(name, fps)
    method.start("v1")
    try:
        for version in warm_up:
            method.change(version, True)
        time.sleep(1)
        result.before = (time.time(), time.time() + quiet_s)
        time.sleep(quiet_s)
        result.memory_before = result.memory_most = usage(method.pid).all_pss
        for version, good in _series(10 if bench.quick else UPDATES):
            promoted = time.time()
            method.change(version, good)
            result.updates.append((promoted, time.time(), version, good))
            time.sleep(PAUSE_S)
            result.memory_most = max(result.memory_most, usage(method.pid).all_pss)
        time.sleep(SETTLE_S)
        begin = time.time()
        time.sleep(quiet_s)
        result.after = (begin, time.time() - 2 / fps)
        result.memory_after = usage(method.pid).all_pss
    finally:
        result.records = method.records()
        method.stop()
    return result


def _series(count: int) -> list[tuple[str, bool]]:
    """Versions to change to: good ones in turn, and every fifth a bad one."""
    found: list[tuple[str, bool]] = []
    good = 0
    for i in range(1, count + 1):
        if i % BAD_EVERY == 0:
            found.append((BAD[i // BAD_EVERY % 2], False))
        else:
            good += 1
            found.append(("v2" if good % 2 else "v1", True))
    return found


def _most_fps(weights: Path) -> float:
    import numpy as np

    detector = load_detector(weights, 1)
    image = np.full((360, 640, 3), 127, np.uint8)
    times = []
    for _ in range(30):
        begin = time.perf_counter()
        detector.detect(image, 0.25, 0.45)
        times.append(time.perf_counter() - begin)
    return 1 / (median(times) or 1.0)


def _section(runs: list[Run]) -> Section:
    readings = {r.name: r.reading for r in runs}
    rows: list[list[object]] = []
    latency: list[list[object]] = []
    data: dict[str, Any] = {}
    for r in runs:
        reading = readings[r.name]
        phases = [reading.phase(w) for w in ([r.before], r.during, [r.after])]
        first = r.first_results
        rows.append(
            [
                r.name,
                r.runtime,
                f"{r.fps:g}",
                len(reading.shots) + len(reading.lost),
                len(reading.lost),
                reading.late,
                reading.doubled,
                f"{reading.longest_gap_ms:.0f} ms",
                r.served_bad,
                f"{median(first) or 0:.2f} s",
                f"{r.memory_before:.0f} / {r.memory_most:.0f} / {r.memory_after:.0f} MB",
            ]
        )
        shown = [f"{p.p50:.0f} / {p.p99:.0f} / {p.p999:.0f}" for p in phases]
        latency.append([r.name, *shown, f"{phases[1].p99 / phases[0].p99:.2f}"])
        data[r.name] = {
            "fps": r.fps,
            "runtime": r.runtime,
            "frames": len(reading.shots),
            "lost": len(reading.lost),
            "late": reading.late,
            "doubled": reading.doubled,
            "longest_gap_ms": reading.longest_gap_ms,
            "served_bad": r.served_bad,
            "first_result_s": first,
            "memory_mb": [r.memory_before, r.memory_most, r.memory_after],
            **{n: asdict(p) for n, p in zip(("before", "during", "after"), phases, strict=True)},
        }
    ours = runs[0]
    quiet = readings[ours.name].phase([ours.before, ours.after])
    busy = readings[ours.name].phase(ours.during)
    interval = 1000 / ours.fps
    targets = [
        Target.at_most("this node: p99 during updates ÷ p99 without", 1.25, busy.p99 / quiet.p99),
        Target.at_most(
            "this node: longest gap, in frame intervals", 1.5, readings[ours.name].longest_gap_ms / interval
        ),
        Target.at_most(
            "this node: frames lost or doubled over all updates", 0, _unsound(readings[ours.name])
        ),
        Target.at_most(
            "this node: frames served by a version that must not serve", 0, float(ours.served_bad)
        ),
    ]
    text = (
        f"YOLO11n at 320, fp32, one inference thread, at {LOAD:.0%} of the frames a second that the engine of each "
        f"does alone (letterbox to NMS), by the wall clock: {len(ours.updates)} updates each, every fifth to a "
        "version that must not serve (weights cut off; class names in another order). A frame is lost when it was "
        "due and has no result, late when its result came more than two intervals after it was due. Memory: PSS of "
        f"all processes before, at most, and {ours.after[1] - ours.after[0]:.0f} s after the last update.\n\n"
        + table(
            (
                "strategy",
                "runtime",
                "frames/s",
                "frames",
                "lost",
                "late",
                "doubled",
                "longest gap",
                "by a bad version",
                "promote → first result",
                "memory",
            ),
            rows,
        )
        + "\nLatency p50 / p99 / p99.9 in ms, from the instant at which a frame was due (below a thousand frames the "
        f"last is the worst). This node: {quiet.frames} quiet frames, {busy.frames} during updates.\n\n"
        + table(("strategy", "before", "during updates", "after", "p99 during ÷ before"), latency)
        + "\n![Latency of each frame under each strategy](update.png)\n"
    )
    return Section("Updates under load", text, targets, data)


def _unsound(reading: Reading) -> float:
    return float(len(reading.lost) + reading.doubled)


def _picture(path: Path, runs: list[Run]) -> None:
    found = []
    for r in runs:
        start = r.updates[0][0] if r.updates else r.before[1]
        reading = r.reading
        found.append(
            Track(
                r.name,
                [(s.due - start, s.latency_ms) for s in reading.shots],
                [due - start for due in reading.lost],
                [(promoted - start, good) for promoted, _, _, good in r.updates],
            )
        )
    tracks(path, found, (-2.0, 12.0), 1000 / runs[0].fps)
