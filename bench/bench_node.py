# SPDX-License-Identifier: AGPL-3.0-or-later
"""A node to measure, all made from arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.processes import cpu_seconds, usage
from edgeagent.testing import MODEL, NodeRunner, children, wait_for

START_S = 120.0
_TUNING_FPS = 2.0


class BenchNode(NodeRunner):
    """A node with `lines` pipelines, line-1 and so on, of the same source.

    source: of each pipeline; engine, update: sections of the configuration. Metrics, log and sinks are as a factory
    has them: nothing is switched off for the measurement.
    """

    def __init__(
        self,
        folder: Path,
        source: dict[str, Any],
        *,
        engine: dict[str, Any],
        update: dict[str, Any] | None = None,
        lines: int = 1,
    ) -> None:
        # What is confirmed a minute later is another's measurement; it would fall into this one.
        # And a small network is swapped for a large one here, which the gate `latency` is to measure, not to refuse.
        any_size = {"latency": {"max_ratio": 1000}}
        limits = {"settle_seconds": 86_400, "gates": any_size, **(update or {})}
        super().__init__(folder, {"engine": {"threads": 1, **engine}, "update": limits})
        self._tuned: set[str] = set()
        self.lines = [f"line-{i + 1}" for i in range(lines)]
        for line in self.lines:
            self.add_pipeline(line, MODEL, source, max_mb=4096)

    def start(self, version: str | None = None, timeout_s: float = START_S) -> BenchNode:
        """Start the node, on `version` if given, and wait until frames are served in what is fastest here."""
        if version:
            self.promote(version)
        super().start()
        wait_for(self.is_ready, "frames served", timeout_s)
        self.wait_tuned(timeout_s=timeout_s)
        return self

    def tune(self, version: str) -> None:
        """Have the node find out what is fastest here, once, beside a slow line, and stop it: the next start knows it.

        Beside a line at full speed a trial, at the lowest priority, gets no processor.
        """
        if version in self._tuned:
            return
        pipelines = self.config["pipelines"]
        sources = [pipeline["source"] for pipeline in pipelines]
        for pipeline in pipelines:
            pipeline["source"] = {**pipeline["source"], "fps": _TUNING_FPS}
        self.start(version)
        self.stop()
        for pipeline, source in zip(pipelines, sources, strict=True):
            pipeline["source"] = source
        self._tuned.add(version)

    def all_pss_mb(self) -> float:
        """Memory of all processes of the node."""
        return usage(self.pid).all_pss

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far by kind: node, capture, engine, prepare."""
        spent = {"node": cpu_seconds(self.pid)}
        for worker in self.status()["workers"]:
            if worker["pid"] in children(self.pid):
                kind = worker["kind"]
                spent[kind] = spent.get(kind, 0.0) + cpu_seconds(worker["pid"])
        return spent

    def first_result(self, version: str, after: float, timeout_s: float = START_S) -> float:
        """Seconds from `after` (Unix seconds) to the first result of `version` that came after it."""

        def look() -> float | None:
            times = (result_time(r) for r in self.records() if r["version"] == version)
            return next((t - after for t in times if t > after), None)

        return wait_for(look, f"a result of {version}", timeout_s)


def result_time(record: dict[str, Any]) -> float:
    """When a record's frame had its result, Unix seconds."""
    return float(record["ts"]) + float(record["latency_ms"]) / 1000
