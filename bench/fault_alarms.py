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
AGAIN_SHADOW_S, AGAIN_PROBATION_S = 4.0, 16.0
"""Of the same weights, promoted again and again: three windows of the limits without statistics."""
COST_FPS = 30.0
V1_RECALL = 0.15
"""Below what v1 finds of the scratches."""
_MARGIN_S = 2.0


@dataclass(frozen=True)
class Alarms:
    """What became of good versions in a setting: v2 after v1, and the same weights `times` times against themselves.
    refused: why, by version; lost: frames without a result."""

    setting: str
    times: int
    refused: dict[str, str]
    lost: int
    minutes: float


def good_versions(folder: Path, golden: Path, setting: Setting, times: int) -> Alarms:
    """v1 serves, v2 is promoted, then v2's weights again and again. Raises AssertionError when the node doesn't decide
    within PATIENCE_S."""
    refused: dict[str, str] = {}
    begun = time.monotonic()
    with (
        etcd_in(folder / f"alarms-{setting.name}") as etcd,
        FaultNode(folder / f"alarms-{setting.name}" / "node", etcd, _update(setting, golden)) as node,
    ):
        node.publish("v1", V1)
        node.publish_copy("v2")
        node.start("v1")
        node.wait_settled(setting.settled_frames)
        node.ask(Directive("v2", by="faults"))
        _decided(node, "v2", refused)
        for number in range(times):
            version = f"same-{number}"
            node.publish_copy(version)
            shadow = ShadowTerms(seconds=AGAIN_SHADOW_S) if setting.before else None
            node.ask(
                Directive(version, by="faults", shadow=shadow, probation=ProbationTerms(AGAIN_PROBATION_S))
            )
            _decided(node, version, refused)
            shutil.rmtree(node.store / MODEL / version)
            (node.folder / f"{version}.onnx").unlink()
        node.stop()
        lost = lost_frames(node.records())
    for version, why in refused.items():
        print(f"{setting.what}: {version}: {why}", flush=True)
    return Alarms(setting.what, times, refused, lost, (time.monotonic() - begun) / 60)


def _update(setting: Setting, golden: Path) -> dict[str, Any]:
    """v1, which never saw the tiny defects, is to be let in first."""
    section = setting.update(golden)
    if setting.golden:
        section["gates"] = {"golden": {"min_recall": V1_RECALL}}
    return section


def show_alarms(found: Sequence[Alarms]) -> str:
    """A row a setting."""
    header = ("guards", "promoted", "refused or taken back", "frames lost", "minutes")
    return table(
        header, [(a.setting, a.times + 1, len(a.refused), a.lost, f"{a.minutes:.0f}") for a in found]
    )


def _decided(node: FaultNode, version: str, refused: dict[str, str]) -> None:
    decided = wait_for(lambda: decision(node.history(), version), f"a decision on {version}", PATIENCE_S)
    if decided["result"] != "stable":
        refused[version] = str(decided["why"])


@dataclass(frozen=True)
class Cost:
    """Latency of frames while something went on beside the line, milliseconds. dropped: frames of the whole run."""

    beside: str
    frames: int
    p50: float
    p99: float
    dropped: int


def cost(folder: Path, quick: bool) -> list[Cost]:
    """Latency of served frames alone, beside a shadow, and beside a paired probation, in turns."""
    rounds, phase_s = (1, 10.0) if quick else (ROUNDS, PHASE_S)
    watched_s = phase_s + 2 * _MARGIN_S
    windows: dict[str, list[tuple[float, float]]] = {"nothing": [], "a shadow": [], "a paired probation": []}
    with (
        etcd_in(folder / "cost") as etcd,
        FaultNode(folder / "cost" / "node", etcd, {}, live=True, fps=COST_FPS) as node,
    ):
        node.publish_copy("good")
        node.start("good")
        node.wait_settled()
        for number in range(rounds):
            version = f"again-{number}"
            node.publish_copy(version)
            windows["nothing"].append(_watch(phase_s))
            shadow, probation = ShadowTerms(seconds=watched_s), ProbationTerms(watched_s)
            node.ask(Directive(version, by="faults", shadow=shadow, probation=probation))
            node.wait_state("SHADOW")
            windows["a shadow"].append(_watch(phase_s))
            node.wait_state("PROBATION")
            windows["a paired probation"].append(_watch(phase_s))
            node.wait_state("STABLE")
        dropped = node.failed_frames()
        node.stop()
        records = node.records()
    found = []
    for beside, times in windows.items():
        latencies = [r["latency_ms"] for r in records if any(a <= done(r) <= b for a, b in times)]
        p50, p99 = (float(np.percentile(latencies, q)) for q in (50, 99))
        found.append(Cost(beside, len(latencies), p50, p99, dropped))
    return found


def show_cost(found: Sequence[Cost]) -> str:
    """A row for each, with its p99 divided by that of the line alone."""
    header = ("beside the line", "frames", "p50", "p99", "p99 ÷ alone")
    rows = [
        (c.beside, c.frames, f"{c.p50:.1f} ms", f"{c.p99:.1f} ms", f"{c.p99 / found[0].p99:.2f}")
        for c in found
    ]
    return table(header, rows)


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
