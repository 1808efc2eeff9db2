# SPDX-License-Identifier: AGPL-3.0-or-later
"""The line on which faulty versions are tried: the demo's conveyor, a real etcd, and the guards of a setting."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.bench_node import BenchNode
from bench.etcd_server import Etcd
from bench.fault_runtime import BACKEND
from bench.fault_versions import GOOD, good_copy
from edgeagent.core.directive import Directive, encode_directive
from edgeagent.core.model import Manifest
from edgeagent.runtimes.port import ModelMetadata
from edgeagent.testing import MODEL, PIPELINE, wait_for
from edgeagent.workers.inspect import inspect_weights

SEED = 7
FPS = 15.0
"""The rate that the demo's line has on two busy cores; the cost is measured at twice that."""
SETTLED_FRAMES = 450
PROBATION_S, SHADOW_S = 45.0, 20.0
KEEP_EVERY_S, REPLAY_FRAMES = 0.25, 80
"""How often a frame is kept for the gate `replay`, and how many it finds: it needs 50, with 30 objects."""
_ANY_LATENCY = {"budget_ms": 86_400_000.0, "max_ratio": 1000.0}
_ANY_MEMORY = {"reserve_mb": 0.0, "margin": 1.0}
GOLDEN_SEEDS, GOLDEN_FRAMES = range(3000, 3010), 15
"""No training saw these seeds, and no other part of the benchmarks uses them."""


@dataclass(frozen=True)
class Setting:
    """Which guards a node has. golden: a golden set lies on it; before: guards between loading and the swap (latency,
    memory, replay, shadow) are on."""

    name: str
    what: str
    golden: bool
    before: bool

    def update(self, golden: Path) -> dict[str, Any]:
        """The section `update` of the node's configuration. golden: where the set lies."""
        section: dict[str, Any] = {"probation": {"seconds": PROBATION_S}}
        if self.golden:
            section["golden"] = {MODEL: str(golden)}
        if self.before:
            section["shadow"] = {"seconds": SHADOW_S}
            section["recent_frames"] = {"keep": True, "every_seconds": KEEP_EVERY_S}
        section["gates"] = {} if self.before else {"latency": _ANY_LATENCY, "memory": _ANY_MEMORY}
        return section

    @property
    def settled_frames(self) -> int:
        """Served before a version is asked for: the line is at its pace, and the ring of recent frames has enough."""
        return round(REPLAY_FRAMES * KEEP_EVERY_S * FPS * 1.2) if self.before else SETTLED_FRAMES


SETTINGS = (
    Setting("all", "all guards", golden=True, before=True),
    Setting("no-golden", "without a golden set", golden=False, before=True),
    Setting("probation", "probation alone", golden=False, before=False),
)


class FaultNode(BenchNode):
    """A node with one lossless line, and its intent in etcd."""

    def __init__(
        self,
        folder: Path,
        etcd: Etcd,
        update: Mapping[str, Any],
        *,
        in_runtime: bool = False,
        live: bool = False,
        fps: float = FPS,
    ) -> None:
        """etcd: one that holds no intent yet. update: section of the configuration. in_runtime: what runs the network
        is `bench.fault_runtime`, which PYTHONPATH must lead to. live: frames that have no time are dropped."""
        source = {"url": f"synthetic://conveyor?seed={SEED}&fps={fps:g}", "live": live}
        super().__init__(
            folder,
            source,
            engine={"backend": BACKEND if in_runtime else "onnxruntime"},
            update=dict(update),
        )
        self.config["config_store"] = {"url": f"etcd://127.0.0.1:{etcd.port}"}
        self._etcd = etcd
        self._metadata: ModelMetadata | None = None

    def publish_copy(self, version: str, weights: Path = GOOD) -> Manifest:
        """Publish weights as they are under a name of its own; other bytes, so that the node doesn't know them."""
        target = self.folder / f"{version}.onnx"
        if weights == GOOD:
            good_copy(target, version)
        else:
            target.write_bytes(weights.read_bytes())
        self._metadata = self._metadata or inspect_weights(GOOD)
        return self.publish(version, target, metadata=self._metadata)

    def ask(self, directive: Directive) -> float:
        """Write the intent of the model. Returns when, Unix seconds."""
        return self.promote(encode_directive(directive))

    def write(self, key: str, value: str | bytes) -> float:
        """Into etcd."""
        import time

        now = time.time()
        self._etcd.ctl("put", "--", key, value if isinstance(value, str) else value.decode())
        return now

    def wait_settled(self, frames: int = SETTLED_FRAMES) -> None:
        """Until the line has served so many frames. Raises AssertionError."""
        wait_for(lambda: len(self.records()) >= frames, f"{frames} frames served")

    @property
    def last_seq(self) -> int:
        """Of the frames that gave a result."""
        return int(self.records()[-1]["seq"])

    def failed_frames(self) -> int:
        """Frames without a result, for whatever reason."""
        return int(self.status()["pipelines"][PIPELINE]["dropped"])


def lead_to(python_path: str) -> None:
    """Let nodes that are started from now on find packages there."""
    os.environ["PYTHONPATH"] = python_path
