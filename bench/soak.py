# SPDX-License-Identifier: AGPL-3.0-or-later
"""`make soak`: hundreds of swaps under load. Nothing lost, doubled or out of order; nothing leaked.

Each swap is a whole update: fetch, verify, gates, warm, swap, drain, retire. More versions go round than the cache
keeps, each of other content, so that none is known already. The load is open-loop: the camera is live, so a stall
would lose frames. Figures of updates and of the quiet time between them come from one run, interleaved.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import edgeagent.demo
from bench import full_size
from bench.bench_node import BenchNode
from bench.processes import Usage, cpu_seconds, usage
from edgeagent.demo.bad_versions import copy_with_note
from edgeagent.testing import MODEL, PIPELINE, children, wait_for
from edgeagent.workers.inspect import inspect_weights

ROUND = 8
QUIET_S = 1.0
IDLE_S = 10.0
MAX_RATIO = 1.5


@dataclass
class Measurements:
    """What one soak showed. Times in milliseconds."""

    swaps: int
    frames: int = 0
    faults: list[str] = field(default_factory=list)
    p50_quiet: float = 0.0
    p50_update: float = 0.0
    p99_quiet: float = 0.0
    p99_update: float = 0.0
    longest_gap: float = 0.0
    frame_interval: float = 0.0
    update_seconds: float = 0.0
    node_cpu_percent: float = 0.0
    node_rss_mb: float = 0.0
    all_pss_mb: float = 0.0
    slopes: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """p99 during updates ÷ p99 without."""
        return self.p99_update / self.p99_quiet


def soak(
    name: str, weights: dict[str, Path], source: dict[str, Any], swaps: int, folder: Path
) -> Measurements:
    """Swap to and fro `swaps` times under the given source, and look at every record."""
    # One runtime, so that an update is no search for the fastest. Stable at once: the version before is retired, so
    # that every swap loads anew.
    node = BenchNode(folder, source, engine={"backend": "onnxruntime"}, update={"probation": {"seconds": 0}})
    versions = _publish(weights, node)
    figures = Measurements(swaps)
    updates: list[tuple[float, float]] = []
    looks: list[Usage] = []
    with node:
        pid = node.start(versions[0]).pid
        time.sleep(2 * QUIET_S)
        # While nobody asks: polling the status costs more than the frames do.
        cpu, begin = cpu_seconds(pid), time.monotonic()
        time.sleep(IDLE_S)
        figures.node_cpu_percent = 100 * (cpu_seconds(pid) - cpu) / (time.monotonic() - begin)
        dropped = dict(node.status()["pipelines"][PIPELINE]["dropped_by"])
        for i in range(swaps):
            version = versions[(i + 1) % len(versions)]
            promoted = node.promote(version)
            node.wait_active(version, timeout_s=120)
            # The camera's, the engine's, and the one that waits for the next version.
            wait_for(lambda: len(children(pid)) == 3, "the version before is retired")
            updates.append((promoted, time.time()))
            time.sleep(QUIET_S)
            looks.append(usage(pid))
            if sys.stderr.isatty() or i % 20 == 19:
                print(f"{name}: {i + 1}/{swaps} swaps", file=sys.stderr)
        status = node.status()
        node.stop()
        seen = node.records()
    figures.faults = _judge_swaps(status, dropped, swaps)
    _judge_records(seen, updates, figures)
    figures.node_rss_mb = statistics.median(look.node_rss for look in looks)
    figures.all_pss_mb = statistics.median(look.all_pss for look in looks)
    figures.update_seconds = statistics.median(end - start for start, end in updates)
    figures.slopes = _slopes(looks)
    return figures


def _publish(weights: dict[str, Path], node: BenchNode) -> list[str]:
    """The networks in turn, under names of their own; a note inside makes each a file of its own content."""
    metadata = {name: inspect_weights(path) for name, path in weights.items()}
    versions = []
    for i in range(ROUND):
        name, path = list(weights.items())[i % len(weights)]
        version = f"{name}-{i}"
        noted = node.folder / f"{version}.onnx"
        copy_with_note(path, noted, f"soak {i}")
        node.publish(version, noted, metadata=metadata[name], note="soak")
        noted.unlink()
        versions.append(version)
    return versions


def _judge_swaps(status: dict[str, Any], before: dict[str, int], swaps: int) -> list[str]:
    faults = []
    epoch = status["models"][MODEL]["active"]["epoch"]
    if epoch != swaps + 1:
        faults.append(f"epoch is {epoch} after {swaps} swaps and the first load")
    dropped = status["pipelines"][PIPELINE]["dropped_by"]
    if dropped != before:  # before the first model was there, frames had nowhere to go
        faults.append(f"frames dropped: {dropped}, of these {before} before the first swap")
    return faults


def _judge_records(
    seen: list[dict[str, Any]], updates: list[tuple[float, float]], figures: Measurements
) -> None:
    """Order and marks of every record; latencies, by whether an update was under way."""
    figures.frames = len(seen)
    digests: dict[int, tuple[str, str]] = {}
    for before, now in itertools.pairwise(seen):
        if now["seq"] != before["seq"] + 1:
            figures.faults.append(f"seq {before['seq']} is followed by {now['seq']}")
        if now["epoch"] - before["epoch"] not in (0, 1):
            figures.faults.append(
                f"epoch {before['epoch']} is followed by {now['epoch']} at seq {now['seq']}"
            )
        mark = (now["version"], now["digest"])
        if digests.setdefault(now["epoch"], mark) != mark:
            figures.faults.append(
                f"epoch {now['epoch']} has records of {digests[now['epoch']]} and of {mark}"
            )
    first = updates[0][0] - 3
    quiet: list[float] = []
    during: list[float] = []
    for record in seen:
        if record["ts"] >= first:
            busy = any(start <= record["ts"] <= end for start, end in updates)
            (during if busy else quiet).append(record["latency_ms"])
    figures.p50_quiet, figures.p99_quiet = (float(np.percentile(quiet, q)) for q in (50, 99))
    figures.p50_update, figures.p99_update = (float(np.percentile(during, q)) for q in (50, 99))
    served = [r["ts"] * 1000 + r["latency_ms"] for r in seen if r["ts"] >= first]
    gaps = np.diff(served)
    figures.longest_gap = float(gaps.max())
    figures.frame_interval = float(np.median(gaps))


def _slopes(looks: list[Usage]) -> dict[str, float]:
    """Growth per 100 swaps, least squares, the first fifth left out (caches fill)."""
    late = [asdict(look) for look in looks[len(looks) // 5 :]]
    if len(late) < 3:
        return {}
    x = np.arange(len(late))
    return {key: float(np.polyfit(x, [look[key] for look in late], 1)[0] * 100) for key in late[0]}


def steady_rate(weights: Path, folder: Path, threads: int = 1) -> float:
    """Frames a second that one thread holds with these weights, at 80 % of what it does at most."""
    from edgeagent.runtimes.detection.detector import Detector
    from edgeagent.runtimes.load import load_runtime
    from edgeagent.runtimes.port import EngineOptions

    detector = Detector(load_runtime(weights, "onnx", EngineOptions(threads=threads)))
    detector.warm()
    image = np.zeros((360, 640, 3), np.uint8)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        detector.detect(image, 0.25, 0.45)
        times.append(time.perf_counter() - start)
    return 0.8 / float(np.percentile(times, 90))


def show(name: str, f: Measurements) -> bool:
    """Print the figures; whether they hold."""
    print(f"\n== {name}: {f.swaps} swaps, {f.frames} frames ==")
    print(f"  frames missing, doubled, out of order, wrongly marked: {len(f.faults)}")
    for fault in f.faults[:10]:
        print(f"    {fault}")
    print(f"  latency p50: {f.p50_quiet:.1f} ms quiet, {f.p50_update:.1f} ms during updates")
    print(f"  latency p99: {f.p99_quiet:.1f} ms quiet, {f.p99_update:.1f} ms during updates")
    print(f"  p99 during updates / p99 without: {f.ratio:.2f} (at most {MAX_RATIO})")
    print(f"  longest gap between results: {f.longest_gap:.1f} ms (frame interval {f.frame_interval:.1f} ms)")
    print(f"  a whole update: {f.update_seconds:.2f} s (median)")
    print(f"  node process: {f.node_rss_mb:.0f} MB resident, {f.node_cpu_percent:.1f} % of a core")
    print(f"  all processes: {f.all_pss_mb:.0f} MB (PSS)")
    print("  growth per 100 swaps: " + ", ".join(f"{k} {v:+.2f}" for k, v in f.slopes.items()))
    return not f.faults and f.ratio <= MAX_RATIO


def main() -> int:
    """Both soaks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--swaps", type=int, default=200)
    parser.add_argument("--full-size-swaps", type=int, default=20)
    arguments = parser.parse_args()
    demo = Path(edgeagent.demo.__file__).parent / "weights"
    good = True
    with tempfile.TemporaryDirectory(prefix="edgeagent-soak-") as temp:
        folder = Path(temp)
        if arguments.swaps:
            small = {v: demo / f"{v}.onnx" for v in ("v1", "v2")}
            source = {"url": "synthetic://conveyor?fps=30", "live": True}
            good &= show(
                "demo models, 30 fps", soak("demo models", small, source, arguments.swaps, folder / "demo")
            )
        if arguments.full_size_swaps:
            large = full_size.build(folder / "weights")
            rate = round(min(steady_rate(path, folder) for path in large.values()), 1)
            source = {"url": f"synthetic://conveyor?fps={rate}", "live": True}
            figures = soak("full size", large, source, arguments.full_size_swaps, folder / "full")
            good &= show(f"YOLOv8n at 640 and YOLO11n at 320, {rate} fps", figures)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
