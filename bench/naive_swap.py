# SPDX-License-Identifier: AGPL-3.0-or-later
"""Programs that serve a line and can be told to change to another version: this node, and the usual ways."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from abc import abstractmethod
from pathlib import Path
from typing import Any, Protocol

from bench import networks
from bench.bench_node import BenchNode
from edgeagent.demo.bad_versions import permute_names
from edgeagent.testing import JsonLines, wait_for

BAD = ("cut-off", "renamed")
"""Versions that must not serve: weights cut off; class names in another order."""
PATIENCE_S = 60.0


class SwapMethod(Protocol):
    """A serving program that can be told to change to another version."""

    def start(self, version: str) -> None:
        """Serve this version; returns when results come."""

    def change(self, version: str, good: bool) -> None:
        """Ask for a version and return when it serves, or was refused."""

    def records(self) -> list[dict[str, Any]]:
        """All results so far."""

    @property
    @abstractmethod
    def pid(self) -> int:
        """Of the main process."""

    def stop(self) -> None:
        """End."""


class ThisNode:
    """`edgeagent run`, told through its config store. Every version is watched for no time, so that the one before
    is retired at once and each update loads anew."""

    def __init__(
        self,
        folder: Path,
        weights: dict[str, Path],
        fps: float,
        engine: dict[str, Any],
        patience_s: float = PATIENCE_S,
    ) -> None:
        """patience_s: the most that one update may take, seconds."""
        source = {"url": f"synthetic://conveyor?fps={fps}", "live": True}
        self._patience_s = patience_s
        self._bench_node = BenchNode(folder, source, engine=engine, update={"probation": {"seconds": 0}})
        for version, path in weights.items():
            if version == "cut-off":  # broken after it was published: nobody could publish it
                # Of a content of its own: what the cache holds already is not fetched.
                stored = self._bench_node.stored(self._bench_node.publish(version, weights["renamed"]))
                stored.chmod(0o644)
                stored.write_bytes(path.read_bytes())
            else:
                self._bench_node.publish(version, path)

    def start(self, version: str) -> None:
        self._bench_node.start(version, self._patience_s)

    def change(self, version: str, good: bool) -> None:
        self._bench_node.promote(version)
        node = self._bench_node

        def done() -> bool:
            model = node.model()
            if good:
                return bool(model["active"]["version"] == version)
            return bool(model["aspired"] == version and model["state"] == "REJECTED")

        try:
            wait_for(done, f"{version} {'serves' if good else 'is refused'}", self._patience_s)
        except AssertionError as e:
            raise AssertionError(f"{e}; status: {json.dumps(node.model(), indent=1)}") from None

    def records(self) -> list[dict[str, Any]]:
        return self._bench_node.records()

    @property
    def pid(self) -> int:
        return self._bench_node.pid

    def stop(self) -> None:
        self._bench_node.stop()


class Baseline:
    """One of `bench.baselines`."""

    def __init__(self, method: str, folder: Path, weights: dict[str, Path], fps: float, *more: str) -> None:
        """more: options of the baseline."""
        self._method, self._weights, self._fps, self._more = method, weights, fps, more
        self._origin = time.time()
        self._out = folder / "out.jsonl"
        self._records = JsonLines(self._out)
        self._serving = ""
        folder.mkdir(parents=True)

    def start(self, version: str) -> None:
        before = len(self.records())
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "bench.baselines", self._method),
                *("--weights", str(self._weights[version]), "--fps", str(self._fps)),
                *("--origin", str(self._origin), "--out", str(self._out)),
                *self._more,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        wait_for(
            lambda: self._process.poll() is not None or len(self.records()) > before, "results", PATIENCE_S
        )

    def change(self, version: str, good: bool) -> None:
        if self._method == "restart":
            self._restart(version)
            return
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{self._weights[version]}\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer["version"] == self._weights[version].stem, answer

    def _restart(self, version: str) -> None:
        """What a supervisor does: stop, start; and start what served before when the new one fails."""
        self.stop()
        self.start(version)
        if self._process.poll() is None:
            self._serving = version
        else:
            self.start(self._serving or "v1")

    def records(self) -> list[dict[str, Any]]:
        return self._records.all()

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(10)


def versions(folder: Path, first: Path, second: Path) -> dict[str, Path]:
    """Two good ones and the two of BAD, as files under `folder`."""
    folder.mkdir(parents=True)
    files = {v: folder / f"{v}{first.suffix}" for v in ("v1", "v2", *BAD)}
    files["v1"].write_bytes(first.read_bytes())
    files["v2"].write_bytes(second.read_bytes())
    files["cut-off"].write_bytes(second.read_bytes()[: second.stat().st_size // 2])
    (permute_names if first.suffix == ".onnx" else networks.permute_names)(second, files["renamed"])
    return files
