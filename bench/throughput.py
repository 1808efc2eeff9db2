# SPDX-License-Identifier: AGPL-3.0-or-later
"""Frames a second from a 720p video file: this node end to end, ultralytics' stream, and the bare runtime."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench import networks
from bench.bench_node import BenchNode, result_time
from bench.charts import bars
from bench.film import film
from bench.networks import Weights
from bench.report import Bench, Section, Target, engine_parts, median, ratio, spread, table
from bench.systems import Prepared, System

MEASURED_S = 2.5
"""Of each system in each round: the same for all, so that noise finds them alike."""
SKIP_RESULTS = 20
"""Left out at the start of each measurement: what the ring holds in advance comes faster than it is made."""


@dataclass
class _Entry:
    """One way to run one network. kind: entries of one kind are options of one system; the best counts.

    runtime, precision: what calculates, where the measurement itself doesn't say it.
    """

    kind: str
    label: str
    measure: Callable[[float], dict[str, Any]]
    runtime: str
    precision: str = "fp32"
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
        "All on the same cores, from the same file to boxes, as fast as each can (a load of 100 %); each system "
        "with the best of its options (threads 1 and 2; for the `.pt` in ultralytics also batches of 4). "
        "ultralytics pads its `.pt` input to the smallest rectangle, which is less work than the square that an "
        "ONNX file of fixed shape wants. *bare*: `InferenceSession.run` on one tensor, one thread. *plain script*: "
        "a loop of OpenCV and ONNX Runtime, without torch in its process, which can change nothing while it runs. "
        "*auto*: the node chose the runtime. With two threads the node infers two frames side by side while frames "
        "wait, which in a file they do; the others give both threads to one frame. *bare, .pt, auto*: the engine "
        "that the node serves the `.pt` with, in as many streams, on fixed tensors, with nothing to decode: what "
        "end to end can't exceed on these cores. More than 1 ÷ bare with one thread and the same runtime is noise.\n\n"
        + table(
            (
                "network",
                "system",
                "runtime",
                "precision",
                "threads",
                "frames/s",
                "spread of rounds",
                "÷ bare",
            ),
            rows,
        )
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

    def system(who: System, what: str, **arguments: Any) -> Callable[[float], dict[str, Any]]:
        return lambda factor: who.measure(what, seconds=MEASURED_S * factor, **arguments)

    def served(name: str, path: Path, threads: int) -> Callable[[float], dict[str, Any]]:
        def measure(factor: float) -> dict[str, Any]:
            found = Prepared.on(folder / name / "state" / "cache", path)
            arguments = {
                "weights": str(found.weights),
                "variant": found.variant,
                "imgsz": found.imgsz,
                "threads": threads,
            }
            return plain.measure("engine", seconds=MEASURED_S * factor, batch=1, **arguments)

        return measure

    def ours(name: str, path: Path, **engine: Any) -> Callable[[float], dict[str, Any]]:
        bench_node = BenchNode(folder / name, {"url": str(video), "loop": True}, engine=engine)
        bench_node.publish("v1", path)
        return lambda factor: node_round(bench_node, MEASURED_S * factor)

    common = {"video": str(video), "imgsz": weights.imgsz}
    ort = "ONNX Runtime"
    found = [
        _Entry("bare", "bare, 1 thread", system(plain, "bare", weights=str(weights.onnx), threads=1), ort)
    ]
    for threads in (1, 2):
        measure = system(plain, "script", weights=str(weights.onnx), video=str(video), threads=threads)
        found.append(_Entry("plain script, ONNX", f"plain script, ONNX, {_threads(threads)}", measure, ort))
    for threads in (1, 2):
        kind = "node, ONNX" if threads == 1 else "node, ONNX, best"
        measure = ours(f"onnx-{threads}", weights.onnx, backend="onnxruntime", threads=threads)
        found.append(_Entry(kind, f"node, ONNX, {_threads(threads)}", measure, ort))
    for name, path in (("ONNX", weights.onnx), (".pt", weights.pt)):
        for threads in (1, 2):
            measure = ours(f"auto{path.suffix}-{threads}", path, backend="auto", threads=threads)
            found.append(
                _Entry(f"node, {name}, auto", f"node, {name}, auto, {_threads(threads)}", measure, "")
            )
    for threads in (1, 2):
        alone = served(f"auto.pt-{threads}", weights.pt, threads)
        found.append(_Entry("bare, .pt, auto", f"bare, .pt, auto, {_threads(threads)}", alone, ""))
    for threads in (1, 2):
        kind = "ultralytics, ONNX" if threads == 1 else "ultralytics, ONNX, best"
        measure = system(stream, "stream", weights=str(weights.onnx), threads=threads, batch=1, **common)
        found.append(_Entry(kind, f"ultralytics, ONNX, {_threads(threads)}", measure, ort))
    for threads, batch in ((1, 1), (2, 1), (2, 4)):
        label = f"ultralytics, .pt, {_threads(threads)}, batch {batch}"
        measure = system(stream, "stream", weights=str(weights.pt), threads=threads, batch=batch, **common)
        found.append(_Entry("ultralytics, .pt", label, measure, "torch"))
    if find_spec("openvino"):
        exported = _exported(bench, stream, weights)
        for threads in (1, 2):
            label = f"ultralytics, OpenVINO, {_threads(threads)}"
            measure = system(stream, "stream", weights=exported, threads=threads, batch=1, **common)
            found.append(_Entry("ultralytics, OpenVINO", label, measure, "OpenVINO"))
    return found


def _exported(bench: Bench, stream: System, weights: Weights) -> str:
    """ultralytics' own OpenVINO export of the `.pt`: the folder, which is kept between runs."""
    folder = bench.built / "openvino"
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / weights.pt.name
    made = folder / f"{checkpoint.stem}_openvino_model"
    if not made.exists():
        shutil.copyfile(weights.pt, checkpoint)
        stream.measure("openvino_export", weights=str(checkpoint), imgsz=weights.imgsz)
    return str(made)


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
                ours = [
                    e for e in entries if e.kind.startswith("node, ONNX") and e.kind != "node, ONNX, auto"
                ]
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
    bench_node.tune("v1")
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
        kind = entry.kind.removesuffix(", best")
        runtime, precision = _calculates(entry, best)
        option = entry.label.removeprefix(kind).removeprefix(", ")
        rows.append(
            [
                weights.name,
                kind,
                runtime,
                precision,
                option,
                fps,
                f"{spread(entry.fps):.0f} %",
                ratio(fps, ceiling),
            ]
        )
    return rows


def _calculates(entry: _Entry, best: dict[str, _Entry]) -> tuple[str, str]:
    """Runtime and precision: as the node says, where it chose them; as the runtime says; else as declared."""
    chosen = best["node, .pt, auto"] if entry.kind == "bare, .pt, auto" else entry
    if not entry.runtime:
        return engine_parts(chosen.last["engine"])
    return entry.runtime, str(entry.last.get("precision", entry.precision))


def _cpu_row(weights: Weights, bare: _Entry, ours: _Entry) -> list[object]:
    cpu, fps = ours.last["cpu_ms"], ours.last["fps"]
    shown = [f"{cpu.get(kind, 0.0):.2f} ms" for kind in ("engine", "capture", "node")]
    share = bare.last["cpu_ms"] / cpu["engine"] if cpu.get("engine") else None
    busy = f"{cpu.get('engine', 0.0) * fps / 10:.0f} %"
    return [weights.name, f"{bare.last['cpu_ms']:.2f} ms", *shown, share, busy]


def _targets(weights: Weights, best: dict[str, _Entry]) -> list[Target]:
    fps = {kind: median(entry.fps) for kind, entry in best.items()}
    name, small = weights.name, weights.name.startswith("demo")
    found = [
        Target.at_least(
            f"{name}: end to end ÷ bare runtime (ONNX Runtime, fp32, one thread each)",
            0.90,
            ratio(fps["node, ONNX"], fps["bare"]),
            most=1.0,
        )
    ]
    if weights.imgsz == 320:
        found.append(
            Target.at_least(
                f"{name}: end to end ÷ ultralytics stream, like for like (one ONNX file, ONNX Runtime, fp32, 1 thread)",
                1.5 if small else 1.15,
                ratio(fps["node, ONNX"], fps["ultralytics, ONNX"]),
            )
        )
    limit = ratio(fps["bare, .pt, auto"], fps["ultralytics, .pt"]) or 0.0
    chosen = best["node, .pt, auto"].last["engine"]
    found.append(
        Target.at_least(
            f"{name}: auto from the .pt ({chosen}) ÷ ultralytics stream of the .pt (torch, fp32), each at its best "
            f"(the bare engine: {limit:.2f})",
            2.0,
            ratio(fps["node, .pt, auto"], fps["ultralytics, .pt"]),
            most=limit,
        )
    )
    if "ultralytics, OpenVINO" in fps:
        theirs = best["ultralytics, OpenVINO"].last.get("precision", "")
        found.append(
            Target.at_least(
                f"{name}: auto from the .pt ({chosen}) ÷ ultralytics' own OpenVINO export ({theirs}), each at its best",
                1.0,
                ratio(fps["node, .pt, auto"], fps["ultralytics, OpenVINO"]),
            )
        )
    return found
