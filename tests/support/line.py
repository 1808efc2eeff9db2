# SPDX-License-Identifier: AGPL-3.0-or-later
"""A node on a line of tiny weights, for end-to-end tests; and what must hold of its records."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from edgeagent.core.model import Contract, Manifest
from edgeagent.runtimes.port import ModelMetadata
from edgeagent.testing import MODEL, PIPELINE, NodeRunner, wait_for
from tests.support.weights import NAMES, SIZE, STRIDE, detection_onnx

CONVEYOR = "synthetic://conveyor?fps=30&width=320&height=192"
# What each version finds: the class tells from a record which weights gave it, whatever the record claims.
CLASS_OF = {"v1": 0, "v2": 1, "v3": 2}


class NodeHarness(NodeRunner):
    """A node whose one pipeline is a lossless 30 fps conveyor, unless `source` says otherwise."""

    def __init__(self, folder: Path, source: dict[str, Any] | None = None, **update: Any) -> None:
        config = {
            "model_store": {"timeout_seconds": 3},
            "update": {"probation": {"seconds": 1}, "retry_seconds": 1, **update},
        }
        super().__init__(folder, config)
        self.add_pipeline(PIPELINE, MODEL, source or {"url": CONVEYOR, "live": False})

    def start(self, active: str | None = None) -> NodeHarness:
        """Start the node with empty sinks; wait until `active` serves, if given."""
        self.forget_records()
        super().start()
        if active:
            self.wait_active(active)
        return self

    def publish(
        self,
        version: str,
        weights: Path | None = None,
        model: str = MODEL,
        claims: ModelMetadata | None = None,
        **changes: Any,
    ) -> Manifest:
        """Put a version into the store; without `weights`, a sound network that finds its own class (CLASS_OF).

        claims: what the manifest says of the weights; no process looks at them. changes: of `detection_onnx`.
        """
        if weights is None:
            weights = self.folder / f"{model}-{version}.onnx"
            box = (32.0, 32.0, 16.0, 16.0, 0.9, CLASS_OF.get(version, 0))
            # The node keeps files by content: two versions of one content would be one.
            detection_onnx(weights, **{"boxes": [box], "metadata": {"release": version}, **changes})
        names = tuple(changes.get("names", NAMES))
        claims = claims or ModelMetadata(Contract("detect", names, (SIZE, SIZE), STRIDE), weights.suffix[1:])
        return super().publish(version, weights, model, metadata=claims)

    def serve_with_standby(self) -> NodeHarness:
        """Start with v1, and swap to v2, on a probation without end: v1 stays warm."""
        self.config["update"]["probation"] = {"seconds": 600}
        self.publish("v1")
        self.publish("v2")
        self.promote("v1")
        self.start("v1")  # the first is stable at once: there is none to go back to
        self.wait_more(3)
        self.promote("v2")
        self.wait_served("v2")
        return self

    def swap_to(self, version: str, model: str = MODEL) -> None:
        """Promote, and wait until it serves and is stable."""
        self.promote(version, model)
        self.wait_served(version, model)
        self.wait_state("STABLE", model)

    def wait_served(self, version: str, model: str = MODEL, pipeline: str = PIPELINE) -> list[dict[str, Any]]:
        """Until this version is active and has a frame; returns all records.

        To be asked before the next swap: an epoch without a frame would be missing in the records.
        """
        self.wait_active(version, model)
        epoch = self.model(model)["active"]["epoch"]
        return self.wait_records(
            lambda r: r[-1:] != [] and r[-1]["epoch"] >= epoch, f"a frame of {version}", pipeline
        )

    def wait_history(self, result: str, version: str, model: str = MODEL, after: int = 0) -> dict[str, Any]:
        """The last audit record with this result and `to_version`, once there are more than `after` of them.

        Records are written by a thread: they may be a moment behind the status.
        """

        def look() -> dict[str, Any] | None:
            found = [r for r in self.history(result) if (r["model"], r["to_version"]) == (model, version)]
            return found[-1] if len(found) > after else None

        return wait_for(look, f"{version} {result} in the history")

    def history(self, result: str | None = None) -> list[dict[str, Any]]:
        """The audit records, oldest first; those with this result, each as often as it came."""
        return [r for r in super().history() if result in (None, r["result"]) for _ in range(r["count"])]

    def wait_records(
        self, enough: Callable[[list[dict[str, Any]]], bool], what: str, pipeline: str = PIPELINE
    ) -> list[dict[str, Any]]:
        """Until the records are enough; returns them."""

        def look() -> list[dict[str, Any]]:
            found = self.records(pipeline)
            return found if enough(found) else []

        return wait_for(look, what)

    def wait_more(self, count: int = 10, pipeline: str = PIPELINE) -> list[dict[str, Any]]:
        """Until so many more records have come; returns all."""
        have = len(self.records(pipeline))
        return self.wait_records(lambda r: len(r) >= have + count, f"{count} more frames served", pipeline)

    def engine_pid(self, version: str, model: str = MODEL) -> int | None:
        """The engine worker of this version."""
        found = [w["pid"] for w in self.workers("engine") if (w["model"], w["version"]) == (model, version)]
        assert len(found) < 2, f"{len(found)} engine workers of {version}"
        return found[0] if found else None

    def wait_metric(self, line: str, value: float) -> None:
        """Until a line of /metrics has this value: what it says may be a second old."""
        wait_for(lambda: self.metric(line) == value, f"{line} {value:g}")

    def look_at_log(self) -> None:
        """It must hold no traceback. pytest shows what is printed here when the test fails."""
        text = self.log.read_text() if self.log.exists() else ""
        sys.stdout.write(text[-20_000:])
        tracebacks = [line for line in text.splitlines() if '"exception"' in line or "Traceback" in line]
        assert not tracebacks, tracebacks

    def metric(self, line: str) -> float:
        """The value of one line of /metrics, named with its labels; 0 when it isn't there. It may be a second old."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=60) as answer:
            for text in answer.read().decode().splitlines():
                name, _, value = text.rpartition(" ")
                if name == line:
                    return float(value)
        return 0.0


def assert_seamless(found: list[dict[str, Any]], first: int = 0, silent: int = 0) -> None:
    """Every frame once, in order; one version an epoch, which grows by one; each result is of the weights it names.

    silent: so many versions may have come and gone without a result, and the same one serves again after them.
    """
    assert [r["seq"] for r in found] == list(range(first, first + len(found)))
    for before, after in pairwise(found):
        step = after["epoch"] - before["epoch"]
        assert 0 <= step <= 1 + silent, (before, after)
        same = (before["version"], before["digest"]) == (after["version"], after["digest"])
        assert same == (step % 2 == 0), (before, after)
    for record in found:
        if record["version"] in CLASS_OF:
            assert [d["cls"] for d in record["detections"]] == [CLASS_OF[record["version"]]], record
