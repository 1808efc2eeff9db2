# SPDX-License-Identifier: AGPL-3.0-or-later
"""Frames a second from a 720p video file: this node end to end, ultralytics' stream, and the bare runtime."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import networks
from bench.bench_node import BenchNode, result_time
from bench.charts import bars
from bench.film import film
from bench.networks import Weights
from bench.report import Bench, Section, Target, median, ratio, spread, table
from bench.systems import Prepared, System

SKIP_RESULTS = 20
"""Left out at the start of each measurement: what the ring holds in advance comes faster than it is made."""


@dataclass
class _Entry:
    """One way to run one network. kind: entries of one kind are options of one system; the best counts."""

    kind: str
    label: str
    measure: Callable[[float], dict[str, Any]]
    fps: list[float] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)


def run(bench: Bench) -> Section:
    """Every network, every system."""
    video = film(bench.built)
    large = networks.build(bench.built / "networks", networks.YOLO11N_320, networks.YOLOV8N_640)
    targets: list[Target] = []
    rows: list[list[object]] = []
    profile: list[list[object]] = []
    data: dict[str, Any] = {}
    with System(bench.scratch) as plain, System(bench.scratch) as stream:
        for index, weights in enumerate([networks.demo(), *(large[:1] if bench.quick else large)]):
            entries = _entries(bench, weights, video, plain, stream, bench.scratch / f"throughput-{index}")
            _measure(bench, entries)
            best = {kind: _best(entries, kind) for kind in dict.fromkeys(e.kind for e in entries)}
            data[weights.name] = {
                e.label: {"fps": median(e.fps), "rounds": e.fps, **e.last} for e in entries if e.fps
            }
            rows += _rows(weights, best)
            profile.append(_cpu_row(weights, best["bare"], best["node, ONNX"]))
            targets += _targets(weights, best)
    bars(bench.pictures / "throughput.png", {n: {k: d["fps"] for k, d in v.items()} for n, v in data.items()})
    text = (
        "All on the same cores, from the same file to boxes; each system with the best of its options (threads 1 "
        "and 2; for the `.pt` in ultralytics also batches of 4). ultralytics pads its `.pt` input to the smallest "
        "rectangle, which is less work than the square that an ONNX file of fixed shape wants. Bare runtime: "
        "`InferenceSession.run` on one tensor, one thread. `auto`: the node chose the runtime; elsewhere "
        "an ONNX file runs in ONNX Runtime. With two threads the node infers two frames side by side while frames "
        "wait, which in a file they do. *bare, .pt, auto*: the engine that the node serves the `.pt` with, in as many "
        "streams, on fixed tensors, with nothing to decode: what end to end can't exceed on these cores.\n\n"
        + table(("network", "system", "option", "frames/s", "spread of rounds", "÷ bare"), rows)
        + "\n![Frames a second](throughput.png)\n\n"
        "What a frame costs in processor time (one inference thread, ONNX Runtime), by process. Bare ÷ engine is what "
        "end to end reaches of the bare runtime when the engine worker has a core to itself; it is busy for less than "
        "100 % of the time when others want that core.\n\n"
        + table(
            (
                "network",
                "bare runtime",
                "engine worker",
                "capture worker",
                "node",
                "bare ÷ engine",
                "engine busy",
            ),
            profile,
        )
    )
    return Section("Throughput", text, targets, data)


def _entries(
    bench: Bench, weights: Weights, video: Path, plain: System, stream: System, folder: Path
) -> list[_Entry]:
    seconds_of = {"bare": 1.5, "stream": 2.5}

    def system(who: System, what: str, **arguments: Any) -> Callable[[float], dict[str, Any]]:
        return lambda factor: who.measure(what, seconds=seconds_of[what] * factor, **arguments)

    def served(name: str, path: Path, threads: int) -> Callable[[float], dict[str, Any]]:
        def measure(factor: float) -> dict[str, Any]:
            found = Prepared.on(folder / name / "state" / "cache", path)
            arguments = {
                "weights": str(found.weights),
                "variant": found.variant,
                "imgsz": found.imgsz,
                "threads": threads,
            }
            return plain.measure("engine", seconds=1.5 * factor, batch=1, **arguments)

        return measure

    def ours(name: str, path: Path, **engine: Any) -> Callable[[float], dict[str, Any]]:
        bench_node = BenchNode(folder / name, {"url": str(video), "loop": True}, engine=engine)
        bench_node.publish("v1", path)
        return lambda factor: node_round(bench_node, 2.5 * factor)

    common = {"video": str(video), "imgsz": weights.imgsz}
    found = [_Entry("bare", "bare, 1 thread", system(plain, "bare", weights=str(weights.onnx), threads=1))]
    for threads in (1, 2):
        kind = "node, ONNX" if threads == 1 else "node, ONNX, best"
        label = f"node, ONNX, {_threads(threads)}"
        found.append(
            _Entry(kind, label, ours(f"onnx-{threads}", weights.onnx, backend="onnxruntime", threads=threads))
        )
    for name, path in (("ONNX", weights.onnx), (".pt", weights.pt)):
        for threads in (1, 2):
            measure = ours(f"auto{path.suffix}-{threads}", path, backend="auto", threads=threads)
            found.append(_Entry(f"node, {name}, auto", f"node, {name}, auto, {_threads(threads)}", measure))
    for threads in (1, 2):
        alone = served(f"auto.pt-{threads}", weights.pt, threads)
        found.append(_Entry("bare, .pt, auto", f"bare, .pt, auto, {_threads(threads)}", alone))
    for threads in (1, 2):
        measure = system(stream, "stream", weights=str(weights.onnx), threads=threads, batch=1, **common)
        found.append(_Entry("ultralytics, ONNX", f"ultralytics, ONNX, {_threads(threads)}", measure))
    for threads, batch in ((1, 1), (2, 1), (2, 4)):
        label = f"ultralytics, .pt, {_threads(threads)}, batch {batch}"
        measure = system(stream, "stream", weights=str(weights.pt), threads=threads, batch=batch, **common)
        found.append(_Entry("ultralytics, .pt", label, measure))
    return found


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _measure(bench: Bench, entries: list[_Entry]) -> None:
    """The first round tries every option; from then on the best option of each kind goes on.

    `auto` is tried with the thread count that suits the node best: to choose an engine takes it a while.
    """
    chosen = entries
    for _ in range(bench.rounds):
        for entry in chosen:
            if entry.kind.endswith("auto") and not entry.fps:
                ours = [e for e in entries if e.kind in ("node, ONNX", "node, ONNX, best")]
                threads = max(ours, key=lambda e: e.fps[0]).label.rpartition(", ")[2]
                if not entry.label.endswith(threads):
                    continue
            entry.last = entry.measure(0.5 if bench.quick else 1.0)
            entry.fps.append(entry.last["fps"])
        chosen = [_best(entries, kind) for kind in dict.fromkeys(e.kind for e in entries)]


def _best(entries: list[_Entry], kind: str) -> _Entry:
    return max((e for e in entries if e.kind == kind), key=lambda e: median(e.fps) or 0.0)


def node_round(bench_node: BenchNode, seconds: float) -> dict[str, Any]:
    """Start the node, let it run for so long after its first results, stop it."""
    bench_node.forget_records()
    bench_node.start("v1")
    try:
        before, cpu = None, bench_node.cpu()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            seen = bench_node.records()
            if before is None and len(seen) > SKIP_RESULTS:
                before, cpu = len(seen), bench_node.cpu()
            if before and result_time(seen[-1]) - result_time(seen[SKIP_RESULTS]) > seconds:
                break
            time.sleep(0.2)
        spent = {kind: value - cpu.get(kind, 0.0) for kind, value in bench_node.cpu().items()}
        frames = len(bench_node.records()) - (before or 0)
        engine, memory = bench_node.model()["active"]["engine"], bench_node.all_pss_mb()
    finally:
        bench_node.stop()
    times = [result_time(r) for r in bench_node.records()][SKIP_RESULTS:]
    return {
        "fps": (len(times) - 1) / (times[-1] - times[0]),
        "engine": engine,
        "memory_mb": memory,
        "cpu_ms": {kind: 1000 * value / max(frames, 1) for kind, value in spent.items()},
    }


def _rows(weights: Weights, best: dict[str, _Entry]) -> list[list[object]]:
    ceiling = median(best["bare"].fps)
    rows: list[list[object]] = []
    for entry in best.values():
        fps = median(entry.fps)
        engine = f" ({entry.last['engine']})" if "engine" in entry.last else ""
        option = entry.label.removeprefix(entry.kind.removesuffix(", best")).removeprefix(", ")
        rows.append(
            [
                weights.name,
                entry.kind.removesuffix(", best"),
                option + engine,
                fps,
                f"{spread(entry.fps):.0f} %",
                ratio(fps, ceiling),
            ]
        )
    return rows


def _cpu_row(weights: Weights, bare: _Entry, ours: _Entry) -> list[object]:
    cpu, fps = ours.last["cpu_ms"], ours.last["fps"]
    shown = [f"{cpu.get(kind, 0.0):.2f} ms" for kind in ("engine", "capture", "node")]
    share = bare.last["cpu_ms"] / cpu["engine"] if cpu.get("engine") else None
    busy = f"{cpu.get('engine', 0.0) * fps / 10:.0f} %"
    return [weights.name, f"{bare.last['cpu_ms']:.2f} ms", *shown, share, busy]


def _targets(weights: Weights, best: dict[str, _Entry]) -> list[Target]:
    fps = {kind: median(entry.fps) for kind, entry in best.items()}
    ours = max(fps[kind] or 0.0 for kind in ("node, ONNX", "node, ONNX, best", "node, ONNX, auto"))
    small = weights.name.startswith("demo")
    found = [
        Target.at_least(
            f"{weights.name}: end to end ÷ bare runtime, one thread",
            0.90,
            ratio(fps["node, ONNX"], fps["bare"]),
        )
    ]
    if weights.imgsz == 320:
        found.append(
            Target.at_least(
                f"{weights.name}: end to end ÷ ultralytics stream, same ONNX, each at its best",
                1.5 if small else 1.15,
                ratio(ours, fps["ultralytics, ONNX"]),
            )
        )
    limit = ratio(fps["bare, .pt, auto"], fps["ultralytics, .pt"]) or 0.0
    found.append(
        Target.at_least(
            f"{weights.name}: auto from the .pt ÷ ultralytics stream of the .pt (the bare engine: {limit:.2f})",
            2.0,
            ratio(fps["node, .pt, auto"], fps["ultralytics, .pt"]),
        )
    )
    return found
