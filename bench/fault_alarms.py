# SPDX-License-Identifier: AGPL-3.0-or-later
"""The other side of the fault matrix: what is good must get past every guard, and the guards must cost little."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.etcd_server import Etcd
from bench.fault_node import FaultNode, Setting
from bench.fault_outcome import decision, done, lost_frames
from bench.fault_versions import V1
from bench.report import table
from edgeagent.core.directive import Directive
from edgeagent.core.directive_fields import ProbationTerms, ShadowTerms
from edgeagent.testing import MODEL, wait_for

PATIENCE_S = 300.0
ROUNDS, PHASE_S = 3, 36.0
"""Of the measurement of what guards cost: 36 s are over a thousand frames at 30 a second."""
AGAIN_PROBATION_S = 8.0
"""Of the same weights, promoted again and again."""
_MARGIN_S = 2.0


def good_versions(folder: Path, golden: Path, setting: Setting, times: int) -> dict[str, Any]:
    """v1 serves, v2 is promoted, then v2's weights `times` times against themselves. What was refused, and why."""
    refused: dict[str, str] = {}
    begun = time.monotonic()
    with etcd_in(folder / f"alarms-{setting.name}") as etcd:
        node = FaultNode(folder / f"alarms-{setting.name}" / "node", etcd, setting.update(golden))
        with node:
            node.publish("v1", V1)
            node.publish_copy("v2")
            node.start("v1")
            node.wait_settled(setting.settled_frames)
            node.ask(Directive("v2", by="faults"))
            _decided(node, "v2", refused)
            for number in range(times):
                version = f"same-{number}"
                node.publish_copy(version)
                node.ask(Directive(version, by="faults", probation=ProbationTerms(AGAIN_PROBATION_S)))
                _decided(node, version, refused)
                shutil.rmtree(node.store / MODEL / version)
                (node.folder / f"{version}.onnx").unlink()
            node.stop()
            lost = lost_frames(node.records())
    minutes = (time.monotonic() - begun) / 60
    print(
        f"{setting.what}: v2 after v1 and the same weights {times} times: {times + 1 - len(refused)} stable, "
        f"{len(refused)} refused, {lost} frames lost, {minutes:.0f} minutes",
        flush=True,
    )
    for version, why in refused.items():
        print(f"  {version}: {why}", flush=True)
    return {"times": times, "refused": refused, "lost": lost, "minutes": minutes}


def _decided(node: FaultNode, version: str, refused: dict[str, str]) -> None:
    decided = wait_for(lambda: decision(node.history(), version), f"a decision on {version}", PATIENCE_S)
    if decided["result"] != "stable":
        refused[version] = str(decided["why"])


@dataclass
class Phase:
    """Times (Unix seconds) in which one thing went on beside the line, or nothing."""

    name: str
    windows: list[tuple[float, float]]

    def latencies(self, records: Sequence[dict[str, Any]]) -> list[float]:
        """Milliseconds, of the frames whose results came within the windows."""
        return [r["latency_ms"] for r in records if any(a <= done(r) <= b for a, b in self.windows)]


def cost(folder: Path, quick: bool) -> dict[str, Any]:
    """Latency of served frames alone, beside a shadow, and beside a paired probation, in turns."""
    rounds, phase_s = (1, 10.0) if quick else (ROUNDS, PHASE_S)
    watched_s = phase_s + 2 * _MARGIN_S
    alone, shadow, probation = (Phase(name, []) for name in ("alone", "shadow", "probation"))
    with etcd_in(folder / "cost") as etcd:
        update = {"probation": {"seconds": watched_s}}
        node = FaultNode(folder / "cost" / "node", etcd, update, live=True)
        with node:
            node.publish_copy("good")
            node.start("good")
            node.wait_settled()
            for number in range(rounds):
                version = f"again-{number}"
                node.publish_copy(version)
                alone.windows.append(_watch(phase_s))
                node.ask(
                    Directive(
                        version,
                        by="faults",
                        shadow=ShadowTerms(seconds=watched_s),
                        probation=ProbationTerms(watched_s),
                    )
                )
                node.wait_state("SHADOW")
                shadow.windows.append(_watch(phase_s))
                node.wait_state("PROBATION")
                probation.windows.append(_watch(phase_s))
                node.wait_state("STABLE")
            dropped = node.failed_frames()
            node.stop()
            records = node.records()
    found = {phase.name: phase.latencies(records) for phase in (alone, shadow, probation)}
    base = float(np.percentile(found["alone"], 99))
    rows, figures = [], {}
    for name, latencies in found.items():
        p50, p99 = (float(np.percentile(latencies, q)) for q in (50, 99))
        figures[name] = {"frames": len(latencies), "p50": p50, "p99": p99, "p99_ratio": p99 / base}
        rows.append((name, len(latencies), f"{p50:.1f} ms", f"{p99:.1f} ms", f"{p99 / base:.2f}"))
    print("\n" + table(("beside the line", "frames", "p50", "p99", "p99 ÷ alone"), rows), flush=True)
    print(f"frames dropped in all: {dropped}", flush=True)
    return figures | {"dropped": dropped}


def _watch(seconds: float) -> tuple[float, float]:
    """Leave the node alone, for polling it costs more than a frame. What has just begun is no part of it."""
    time.sleep(_MARGIN_S)
    begin = time.time()
    time.sleep(seconds)
    return begin, time.time()


@contextmanager
def etcd_in(folder: Path) -> Iterator[Etcd]:
    """An etcd of its own in `folder` (made), which ends with the context."""
    folder.mkdir(parents=True, exist_ok=True)
    etcd = Etcd(folder / "etcd")
    try:
        yield etcd
    finally:
        etcd.kill()
