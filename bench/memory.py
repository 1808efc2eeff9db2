# SPDX-License-Identifier: AGPL-3.0-or-later
"""Memory of a node that serves YOLOv8n at 640, by engine: every process, shared pages counted in part (PSS)."""

from __future__ import annotations

import time
from typing import Any

from bench import networks
from bench.bench_node import BenchNode
from bench.processes import pss_mb
from bench.report import Bench, Section, Target, table
from edgeagent.testing import wait_for

LIMIT_MB = 450.0


def run(bench: Bench) -> Section:
    """Each engine in turn, at rest and through one update."""
    [weights] = networks.build(bench.built / "networks", networks.YOLOV8N_640)
    data: dict[str, dict[str, Any]] = {}
    for backend in ("onnxruntime", "openvino"):
        folder = bench.scratch / f"memory-{backend}"
        source = {"url": "synthetic://conveyor?fps=5&width=1280&height=720", "live": True}
        with BenchNode(
            folder, source, engine={"backend": backend}, update={"probation": {"seconds": 0}}
        ) as bench_node:
            bench_node.publish("v1", weights.onnx)
            bench_node.publish("v2", weights.onnx)
            bench_node.start("v1", 300)
            time.sleep(1 if bench.quick else 4)
            found = _by_kind(bench_node)
            engine = bench_node.model()["active"]["engine"]
            most = 0.0
            bench_node.promote("v2")
            while bench_node.active() != "v2":
                most = max(most, bench_node.all_pss_mb())
                time.sleep(0.05)
            wait_for(lambda: len(bench_node.workers("engine")) == 1, "the version before is retired")
            data[backend] = {"engine": engine, **found, "most": most}
            bench_node.stop()
    rows = [
        [
            backend,
            d["engine"],
            *(
                f"{d.get(kind, 0.0):.0f} MB"
                for kind in ("node", "capture", "engine worker", "spare", "all", "most")
            ),
        ]
        for backend, d in data.items()
    ]
    text = (
        "One pipeline of 1280×720 at 5 frames a second, one inference thread. During an update "
        "the old engine, the preparing worker and then the new engine are there at once.\n\n"
        + table(
            (
                "engine.backend",
                "served by",
                "node",
                "capture",
                "engine",
                "spare",
                "all",
                "at most during an update",
            ),
            rows,
        )
    )
    targets = [
        Target.at_most(f"memory of a node serving YOLOv8n with {d['engine']}", LIMIT_MB, d["all"], " MB")
        for backend, d in data.items()
    ]
    return Section("Memory", text, targets, data)


def _by_kind(bench_node: BenchNode) -> dict[str, float]:
    found = {"node": pss_mb(bench_node.pid)}
    for worker in bench_node.status()["workers"]:
        kind = "engine worker" if worker["kind"] == "engine" else worker["kind"]
        found[kind] = found.get(kind, 0.0) + pss_mb(worker["pid"])
    found["all"] = sum(found.values())
    return found
