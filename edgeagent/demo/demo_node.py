# SPDX-License-Identifier: AGPL-3.0-or-later
"""The demo's inspection station: a folder with model store and config store, and a real node on it."""

from __future__ import annotations

import ctypes
import fcntl
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import yaml

from edgeagent.cli.client import ask
from edgeagent.core.directive import Directive, current_key, encode_directive
from edgeagent.core.model import Manifest
from edgeagent.errors import UnavailableError
from edgeagent.intent.url import open_config_store
from edgeagent.store.publish import publish
from edgeagent.workers.inspect import inspect_weights

MODEL, PIPELINE = "yolo", "line-1"
FPS = 30
SEED = 7
OPERATOR = "demo"
_MARKER = ".edgeagent-demo"
_START_S, _STOP_S = 60.0, 15.0
_PR_SET_PDEATHSIG = 1


def take_folder(wanted: Path) -> tuple[Path, IO[str]]:
    """Make `wanted` an empty folder of the demo's own, or a temporary one where that can't be.

    A folder that the demo did not make, or in which another demo runs, is left alone. Returns the folder and the
    open file whose lock keeps others out.
    """
    try:
        folder = wanted
        lock = _lock(folder)
    except OSError:
        try:
            folder = Path(tempfile.mkdtemp(prefix="edgeagent-demo-"))
            lock = _lock(folder)
        except OSError as e:
            raise UnavailableError(f"folder {wanted}", f"can't be used, nor a temporary one: {e}") from e
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != _MARKER:
            entry.unlink()
    return folder.resolve(), lock


def _lock(folder: Path) -> IO[str]:
    if folder.exists() and not (folder / _MARKER).is_file() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not the demo's own")
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / _MARKER).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise
    return lock


class DemoNode:
    """One node and its stores, all under `folder`. A context manager that leaves no process behind."""

    def __init__(self, folder: Path, *, port: int | None, probation_s: float) -> None:
        """port: of the API; None takes a free one. probation_s: how long a new version is watched, seconds."""
        self.folder = folder
        self.store, self.intent = folder / "store", folder / "intent"
        self.records_path = folder / "line-1.jsonl"
        self.log_path = folder / "node.log"
        self.config_path = folder / "edgeagent.yaml"
        self.config_store = self.intent.as_uri()
        self.url = ""
        self.exit_code: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._tail: IO[bytes] | None = None
        self._rest = b""
        self._config = {
            "node": {"id": "demo", "state_dir": str(folder / "state")},
            "config_store": {"url": self.config_store},
            "model_store": {"url": str(self.store)},
            "engine": {"backend": "onnxruntime", "device": "cpu", "threads": 1},
            "pipelines": [
                {
                    "name": PIPELINE,
                    "model": MODEL,
                    "source": {"url": f"synthetic://conveyor?seed={SEED}&fps={FPS}", "live": True},
                    "sinks": [{"type": "jsonl", "path": str(self.records_path), "max_mb": 10_000}],
                }
            ],
            "update": {"probation": {"seconds": probation_s}},
            "api": {"port": port or 0},
            "log": {"format": "json"},
        }

    def __enter__(self) -> DemoNode:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._tail:
            self._tail.close()

    def publish(self, weights: Path, version: str, note: str) -> Manifest:
        """What `edgeagent publish` does. Raises EdgeAgentError."""
        metadata = inspect_weights(weights)
        return publish(weights, MODEL, version, str(self.store), metadata=metadata, note=note)

    def stored(self, manifest: Manifest) -> Path:
        """The weights of a published version, in the store."""
        return self.store / MODEL / manifest.version / manifest.weights.path

    def promote(self, version: str, reason: str) -> float:
        """What `edgeagent promote` does. Returns when, in Unix seconds. Raises EdgeAgentError."""
        store = open_config_store(self.config_store)
        try:
            asked = time.time()
            asked_for = Directive(version, by=OPERATOR, reason=reason)
            store.put(current_key(MODEL), encode_directive(asked_for))
        finally:
            store.close()
        return asked

    def roll_back(self) -> tuple[float, float]:
        """What `edgeagent rollback` does. Returns when it was asked (Unix seconds) and how long the answer took
        (milliseconds). Raises EdgeAgentError."""
        asked = time.time()
        ask(self.url, f"/api/models/{MODEL}/rollback", None, {"by": OPERATOR})
        return asked, (time.time() - asked) * 1000

    def status(self) -> dict[str, Any]:
        """The node's own status. Raises UnavailableError, with the end of its log when the node is gone."""
        if self._process is None or self._process.poll() is not None:
            raise self._gone()
        status: dict[str, Any] = ask(self.url, "/api/status")
        return status

    def history(self) -> list[dict[str, Any]]:
        """The node's audit records, oldest first."""
        found: list[dict[str, Any]] = ask(self.url, "/api/history?limit=1000")["history"]
        return found

    def records(self) -> Iterator[dict[str, Any]]:
        """The records that came since the last call: whole lines only."""
        if self._tail is None:
            if not self.records_path.exists():
                return
            self._tail = self.records_path.open("rb")
        *lines, self._rest = (self._rest + self._tail.read()).split(b"\n")
        for line in lines:
            yield json.loads(line)

    def start(self) -> None:
        """Start the node, in a process group of its own: Ctrl-C reaches the demo, and the demo stops the node."""
        self.config_path.write_text(yaml.safe_dump(self._config, sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "edgeagent", "run", "--config", str(self.config_path)]
        libc = ctypes.CDLL(None)

        def end_with_the_demo() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=end_with_the_demo,
            )
        deadline = time.monotonic() + _START_S
        while not (url := self._announced()):
            if self._process.poll() is not None:
                raise self._gone()
            if time.monotonic() > deadline:
                raise UnavailableError("node", f"not started after {_START_S:g} s", f"see {self.log_path}")
            time.sleep(0.05)
        self.url = url

    def _announced(self) -> str:
        for line in self.log_path.read_text(encoding="utf-8", errors="replace").splitlines():
            if "node started" in line and line.startswith("{"):
                return str(json.loads(line)["api"])
        return ""

    def _gone(self) -> UnavailableError:
        code = self._process.poll() if self._process else None
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
        return UnavailableError("node", f"it ended with {code}: {''.join(lines)}", f"see {self.log_path}")

    def stop(self) -> None:
        """End the node, by force if it doesn't; its exit code is kept. Idempotent."""
        if self._process and self.exit_code is None:
            self._process.terminate()
            try:
                self.exit_code = self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()  # its workers end with it
                self.exit_code = self._process.wait()
