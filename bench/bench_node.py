# SPDX-License-Identifier: AGPL-3.0-or-later
"""A node to measure: a store, an intent and pipelines under one folder, all made from arguments."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.processes import cpu_seconds, usage
from edgeagent.intent.url import open_config_store
from edgeagent.store.publish import publish
from edgeagent.workers.inspect import inspect_weights
from tests.support.node import NodeProcess, children, records, wait_for

MODEL = "yolo"


class BenchNode:
    """A node on `folder`. Used as a context it stops the node at the end.

    source: of each pipeline (`lines` of them); engine, update: sections of the configuration. Metrics, log and sinks
    are as a factory has them: nothing is switched off for the measurement.
    """

    def __init__(
        self,
        folder: Path,
        source: dict[str, Any],
        *,
        engine: dict[str, Any] | None = None,
        update: dict[str, Any] | None = None,
        lines: int = 1,
    ) -> None:
        self.store = folder / "store"
        self._intent = folder / "intent"
        self._intent.mkdir(parents=True)
        self._config_store = open_config_store(f"file://{self._intent}")
        self._outs = [folder / f"line-{i}.jsonl" for i in range(lines)]
        self.node = NodeProcess(
            folder / "node",
            {
                "config_store": {"url": f"file://{self._intent}"},
                "model_store": {"url": str(self.store)},
                "engine": {"threads": 1, **(engine or {})},
                "update": update or {},
                "pipelines": [
                    {
                        "name": f"line-{i}",
                        "model": MODEL,
                        "source": source,
                        "sinks": [{"type": "jsonl", "path": str(out), "max_mb": 4096}],
                    }
                    for i, out in enumerate(self._outs)
                ],
            },
        )

    def publish(self, version: str, weights: Path) -> Path:
        """Into the store; the path of the published weights."""
        manifest = publish(
            weights,
            MODEL,
            version,
            str(self.store),
            metadata=inspect_weights(weights),
            golden=None,
            note="bench",
        )
        return self.store / MODEL / version / manifest.weights.path

    def promote(self, version: str) -> float:
        """Write the intent; Unix seconds just before."""
        now = time.time()
        self._config_store.put(f"/models/{MODEL}/current", version.encode())
        return now

    def start(self, version: str | None = None, timeout_s: float = 120.0) -> None:
        """Start the node, on `version` if given, and wait until frames are served."""
        if version:
            self.promote(version)
        self.node.start()
        wait_for(self.node.is_ready, "frames served", timeout_s)

    def stop(self) -> None:
        """End the node, if it runs."""
        if self.node.process and self.node.process.poll() is None:
            self.node.stop()

    @property
    def pid(self) -> int:
        """Of the node."""
        assert self.node.process is not None
        return self.node.process.pid

    def records(self, line: int = 0) -> list[dict[str, Any]]:
        """What a pipeline has recorded until now."""
        return list(records(self._outs[line]))

    def forget_records(self) -> None:
        """Begin anew; the sinks open their files again."""
        for out in self._outs:
            out.unlink(missing_ok=True)

    def all_pss_mb(self) -> float:
        """Memory of all processes of the node."""
        return usage(self.pid).all_pss

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far by kind: node, capture, engine, prepare."""
        spent = {"node": cpu_seconds(self.pid)}
        for worker in self.node.status()["workers"]:
            if worker["pid"] in children(self.pid):
                kind = worker["kind"]
                spent[kind] = spent.get(kind, 0.0) + cpu_seconds(worker["pid"])
        return spent

    def first_result(self, version: str, after: float, timeout_s: float = 120.0) -> float:
        """Seconds from `after` (Unix seconds) to the first result of `version` that came after it."""

        def look() -> float | None:
            times = (result_time(r) for r in self.records() if r["version"] == version)
            return next((t - after for t in times if t > after), None)

        return wait_for(look, f"a result of {version}", timeout_s)

    def __enter__(self) -> BenchNode:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.node.__exit__()


def result_time(record: dict[str, Any]) -> float:
    """When a record's frame had its result, Unix seconds."""
    return float(record["ts"]) + float(record["latency_ms"]) / 1000
