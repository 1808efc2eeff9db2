# SPDX-License-Identifier: AGPL-3.0-or-later
"""On a CUDA machine: YOLOv8s in fp16 at 640, one camera and eight, against the bare engine; and updates under load.

`python -m bench.run --only gpu` runs it alone, after `pip install -e '.[gpu]'`; for ONNX Runtime among the candidates
also `pip uninstall onnxruntime`, `pip install 'onnxruntime-gpu[cuda,cudnn]'`. Without a CUDA device it says so and has
nothing against it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from bench import networks
from bench.bench_node import BenchNode, result_time
from bench.film import film
from bench.naive_swap import ThisNode, versions
from bench.networks import Network
from bench.report import Bench, Section, Target, table
from bench.systems import Prepared, System
from bench.update import follow
from edgeagent.errors import EdgeAgentError
from edgeagent.runtimes.variants import variants

YOLOV8S_640 = Network("yolov8s", 640)
LIVE_FPS = 60.0
# TensorRT takes minutes and gigabytes of the host's memory to build; what a node's defaults cut off is no comparison.
ROOM = {"EDGEAGENT_UPDATE__CONVERT_SECONDS": "900", "EDGEAGENT_UPDATE__CANDIDATE_MEMORY_MB": "16384"}
START_S = 3600.0
TITLE = "On a GPU"


def run(bench: Bench) -> Section:
    """Everything, or the reason why not."""
    wanted = [
        ("YOLOv8s fp16 at 640 on a GPU: end to end ÷ bare engine", 0.9, ""),
        ("YOLOv8s fp16 at 640 on a GPU: frames a second", 150.0, ""),
    ]
    try:
        on_gpu = [v for v in variants("pt", "auto", "cuda") if v.precision == "fp16"]
    except EdgeAgentError as e:
        text = f"Not measured here: {e.what} {e.why}.\n"
        return Section(
            TITLE, text, [Target.at_least(what, limit, None, unit) for what, limit, unit in wanted]
        )
    if not on_gpu:
        text = "Not measured here: there is a CUDA device, but no installed runtime uses it in fp16.\n"
        return Section(
            TITLE, text, [Target.at_least(what, limit, None, unit) for what, limit, unit in wanted]
        )
    os.environ.update(ROOM)  # the nodes inherit it
    [weights] = networks.build(bench.built / "networks", YOLOV8S_640)
    rows: list[list[object]] = []
    data: dict[str, Any] = {}
    for lines in (1, 8):
        found = _throughput(bench, weights.pt, lines)
        data[f"batch {lines}"] = found
        rows.append(
            [
                f"{lines} camera{'s'[: lines - 1]}, batches of up to {lines}",
                found["engine"],
                found["input"],
                1000 * lines / found["bare"],
                found["bare"],
                found["fps"],
                found["fps"] / found["bare"],
                f"{found['p50']:.1f} / {found['p99']:.1f} ms",
            ]
        )
    latency = _latency(bench, weights.pt)
    second = networks.build(bench.built / "networks", Network("yolov8s", 640, 1))[0]
    update = _update(bench, weights.pt, second.pt)
    data |= {"live": latency, "update": update}
    one = data["batch 1"]
    targets = [
        Target.at_least(wanted[0][0], wanted[0][1], one["fps"] / one["bare"]),
        Target.at_least(wanted[1][0], wanted[1][1], one["fps"]),
        Target.at_most(
            "YOLOv8s fp16 at 640 on a GPU: latency p50, capture to result", 7.0, latency["p50"], " ms"
        ),
        Target.at_most(
            "on a GPU: p99 during updates ÷ p99 before", 1.25, update["p99_during"] / update["p99_before"]
        ),
    ]
    text = (
        "720p files as fast as they are read, from the `.pt`; the bare engine is what the node chose, on a fixed "
        "tensor of the same size, to the device and back.\n\n"
        + table(
            (
                "load",
                "engine",
                "input",
                "bare, ms a batch",
                "bare, frames/s",
                "end to end",
                "÷ bare",
                "latency p50 / p99",
            ),
            rows,
        )
        + "\nWhat the node tried for one camera (one frame, letterbox to NMS):\n\n"
        + table(
            ("engine", "ms", "not taken because"), [[t["variant"], t["ms"], t["why"]] for t in one["tried"]]
        )
        + f"\nLive, {LIVE_FPS:g} frames a second: latency p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms. "
        f"{update['updates']} updates under that load: {update['lost']} frames lost, longest gap "
        f"{update['longest_gap_ms']:.0f} ms, p99 {update['p99_before']:.1f} ms before and {update['p99_during']:.1f} "
        "ms during.\n"
    )
    return Section(TITLE, text, targets, data)


def _throughput(bench: Bench, pt: Path, lines: int) -> dict[str, Any]:
    folder = bench.scratch / f"gpu-{lines}"
    source = {"url": str(film(bench.built)), "loop": True}
    engine = {"backend": "auto", "device": "cuda", "max_batch": lines}
    with BenchNode(folder, source, engine=engine, lines=lines) as bench_node:
        bench_node.publish("v1", pt)
        bench_node.start("v1", START_S)
        time.sleep(2)
        begin = time.time()
        time.sleep(3 if bench.quick else 10)
        end = time.time()
        seen = [
            r for line in bench_node.lines for r in bench_node.records(line) if begin <= result_time(r) <= end
        ]
        active = bench_node.model()["active"]
        bench_node.stop()
    latencies = sorted(r["latency_ms"] for r in seen)
    bare = _bare(bench, pt, folder / "state" / "cache", lines)
    return {
        "engine": active["engine"],
        "input": "×".join(map(str, active["input"])),
        "tried": active["tried"],
        "fps": len(seen) / (end - begin),
        "bare": bare,
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[int(len(latencies) * 0.99)],
    }


def _latency(bench: Bench, pt: Path) -> dict[str, float]:
    source = {"url": f"synthetic://conveyor?fps={LIVE_FPS}&width=1280&height=720", "live": True}
    with BenchNode(
        bench.scratch / "gpu-live", source, engine={"backend": "auto", "device": "cuda"}
    ) as bench_node:
        bench_node.publish("v1", pt)
        bench_node.start("v1", START_S)
        time.sleep(2)
        begin = time.time()
        time.sleep(3 if bench.quick else 10)
        latencies = sorted(r["latency_ms"] for r in bench_node.records() if r["ts"] >= begin)
        bench_node.stop()
    return {"p50": latencies[len(latencies) // 2], "p99": latencies[int(len(latencies) * 0.99)]}


def _update(bench: Bench, first: Path, second: Path) -> dict[str, float]:
    """To and fro between two versions; both are converted before the measurement, as on a node that had them."""
    folder = bench.scratch / "gpu-update"
    files = versions(folder / "weights", first, second)
    node = ThisNode(
        folder / "node", files, LIVE_FPS, {"backend": "auto", "device": "cuda"}, patience_s=START_S
    )
    found = follow("this node", node, LIVE_FPS, bench, warm_up=("v2", "v1"))
    reading = found.reading
    return {
        "updates": len(found.updates),
        "lost": len(reading.lost),
        "longest_gap_ms": reading.longest_gap_ms,
        "p99_before": reading.phase([found.before]).p99,
        "p99_during": reading.phase(found.during).p99,
    }


def _bare(bench: Bench, pt: Path, cache: Path, batch: int) -> float:
    """Frames a second of the chosen engine alone, in a process of its own."""
    found = Prepared.on(cache, pt)
    with System(bench.scratch) as alone:
        measured = alone.measure(
            "engine",
            weights=str(found.weights),
            variant=found.variant,
            imgsz=found.imgsz,
            threads=1,
            batch=batch,
            seconds=5.0,
        )
    return float(measured["fps"])
