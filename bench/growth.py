# SPDX-License-Identifier: AGPL-3.0-or-later
"""What it costs as work grows: more pipelines, larger networks, more versions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bench import networks
from bench.bench_node import BenchNode, result_time
from bench.charts import lines
from bench.film import film
from bench.networks import DEMO, Network
from bench.report import Bench, Section, median, table
from bench.systems import System
from bench.throughput import node_round
from edgeagent.demo.bad_versions import copy_with_note

LINE_FPS = 5.0


def run(bench: Bench) -> Section:
    """The three of them."""
    data: dict[str, Any] = {
        "pipelines": _pipelines(bench),
        "sizes": _sizes(bench),
        "versions": _versions(bench),
    }
    p, v = data["pipelines"], data["versions"]
    lines(
        bench.pictures / "growth-pipelines.png",
        [r["pipelines"] for r in p],
        {
            "% of a core": {k: [r[k] for r in p] for k in ("node", "capture", "engine")},
            "latency, ms": {k: [r[k] for r in p] for k in ("p50", "p99")},
            "memory, MB": {"all processes": [r["memory_mb"] for r in p]},
        },
        "pipelines",
    )
    lines(
        bench.pictures / "growth-versions.png",
        [r["versions"] for r in v],
        {
            "promote → first result, s": {"": [r["update_s"] for r in v]},
            "memory, MB": {"all processes": [r["memory_mb"] for r in v]},
            "disk of the node, MB": {"": [r["disk_mb"] for r in v]},
        },
        "versions promoted so far",
    )
    text = "\n".join(
        (
            f"Pipelines: the demo's model on synthetic lines of {LINE_FPS:g} frames a second (640×360), one engine "
            "worker for all; capture includes rendering the picture.\n",
            table(
                ("pipelines", "node", "captures", "engine", "latency p50 / p99", "dropped", "memory, all"),
                [
                    [
                        r["pipelines"],
                        *(f"{r[k]:.1f} %" for k in ("node", "capture", "engine")),
                        f"{r['p50']:.0f} / {r['p99']:.0f} ms",
                        r["dropped"],
                        f"{r['memory_mb']:.0f} MB",
                    ]
                    for r in p
                ],
            ),
            "![Cost of pipelines](growth-pipelines.png)\n",
            "Size of the network: YOLOv8 at 320, ONNX Runtime, one thread, 720p file.\n",
            table(
                ("network", "weights", "bare", "end to end", "÷ bare", "memory, all"),
                [
                    [
                        r["network"],
                        f"{r['weights_mb']:.0f} MB",
                        f"{r['bare']:.1f} fps",
                        f"{r['node']:.1f} fps",
                        r["node"] / r["bare"],
                        f"{r['memory_mb']:.0f} MB",
                    ]
                    for r in data["sizes"]
                ],
            ),
            "Versions: the demo's model under 30 frames a second, one new version after another, with the defaults "
            "(the cache keeps three; the store keeps all). Medians of five updates.\n",
            table(
                ("versions in the store", "promote → first result", "memory, all", "disk of the node"),
                [
                    [
                        r["versions"],
                        f"{r['update_s']:.2f} s",
                        f"{r['memory_mb']:.0f} MB",
                        f"{r['disk_mb']:.1f} MB",
                    ]
                    for r in v
                ],
            ),
            "![Cost of versions](growth-versions.png)\n",
        )
    )
    return Section("Cost as work grows", text, [], data)


def _pipelines(bench: Bench) -> list[dict[str, Any]]:
    seconds = 2.0 if bench.quick else 6.0
    found = []
    for count in (1, 2, 4) if bench.quick else (1, 2, 4, 8):
        source = {"url": f"synthetic://conveyor?fps={LINE_FPS}", "live": True}
        with BenchNode(
            bench.scratch / f"lines-{count}", source, engine={"backend": "onnxruntime"}, lines=count
        ) as bench_node:
            bench_node.publish("v1", networks.demo().onnx)
            bench_node.start("v1")
            time.sleep(1.5)
            before = _dropped(bench_node)
            cpu, begin, wall = bench_node.cpu(), time.monotonic(), time.time()
            time.sleep(seconds)
            spent = {k: v - cpu.get(k, 0.0) for k, v in bench_node.cpu().items()}
            taken = time.monotonic() - begin
            latencies = sorted(
                r["latency_ms"]
                for line in bench_node.lines
                for r in bench_node.records(line)
                if r["ts"] >= wall
            )
            found.append(
                {
                    "pipelines": count,
                    **{k: 100 * spent.get(k, 0.0) / taken for k in ("node", "capture", "engine")},
                    "p50": latencies[len(latencies) // 2],
                    "p99": latencies[int(len(latencies) * 0.99)],
                    "dropped": _dropped(bench_node) - before,
                    "memory_mb": bench_node.all_pss_mb(),
                }
            )
            bench_node.stop()
    return found


def _dropped(bench_node: BenchNode) -> int:
    return sum(int(p["dropped"]) for p in bench_node.status()["pipelines"].values())


def _sizes(bench: Bench) -> list[dict[str, Any]]:
    video = film(bench.built)
    sizes = [Network(f"yolov8{size}", 320) for size in ("ns" if bench.quick else "nsm")]
    found = []
    with System(bench.scratch) as plain:
        for weights in networks.build(bench.built / "networks", *sizes):
            bench_node = BenchNode(
                bench.scratch / f"size-{weights.onnx.stem}",
                {"url": str(video), "loop": True},
                engine={"backend": "onnxruntime"},
            )
            bench_node.publish("v1", weights.onnx)
            bares, nodes, memory = [], [], 0.0
            for _ in range(1 if bench.quick else 2):
                bares.append(plain.measure("bare", weights=str(weights.onnx), threads=1, seconds=1.5)["fps"])
                figures = node_round(bench_node, 2.5)
                nodes.append(figures["fps"])
                memory = figures["memory_mb"]
            found.append(
                {
                    "network": weights.name,
                    "weights_mb": weights.onnx.stat().st_size / 1e6,
                    "bare": median(bares),
                    "node": median(nodes),
                    "memory_mb": memory,
                }
            )
    return found


def _versions(bench: Bench) -> list[dict[str, Any]]:
    steps = (1, 5, 10) if bench.quick else (1, 10, 25, 50)
    folder = bench.scratch / "versions"
    source = {"url": "synthetic://conveyor?fps=30", "live": True}
    update = {"probation": {"seconds": 0}}
    found, times = [], []
    with BenchNode(folder, source, engine={"backend": "onnxruntime"}, update=update) as bench_node:
        for i in range(1, max(steps) + 1):
            weights = folder / f"v{i}.onnx"
            copy_with_note(DEMO / f"v{2 - i % 2}.onnx", weights, f"version {i}")
            bench_node.publish(f"v{i}", weights)
            if i == 1:
                bench_node.start("v1")
            asked = bench_node.promote(f"v{i}")
            if i > 1:
                bench_node.wait_active(f"v{i}")
                times.append(_first(bench_node, f"v{i}", asked))
            if i in steps:
                found.append(
                    {
                        "versions": i,
                        "update_s": median(times[-5:]) or float("nan"),
                        "memory_mb": bench_node.all_pss_mb(),
                        "disk_mb": _disk_mb(folder / "state"),
                    }
                )
        bench_node.stop()
    if len(found) > 1:
        found[0]["update_s"] = times[0]  # the first that was an update
    return found


def _first(bench_node: BenchNode, version: str, asked: float) -> float:
    seconds = bench_node.first_result(version, asked)
    assert result_time(bench_node.records()[-1]) > asked
    return seconds


def _disk_mb(folder: Path) -> float:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
