# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real node in a process of its own, driven as an operator would: configuration file, API, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")
PATIENCE_S = 60.0


def wait_for(look: Callable[[], T | None], what: str, timeout_s: float = PATIENCE_S) -> T:
    """The first truthy result of `look`; fails with `what` and the last one when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        last = look()
        if last:
            return last
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s:g} s; last seen: {last!r}")
        time.sleep(0.05)


class NodeProcess:
    """`edgeagent run` on a configuration under `folder`; its log goes to `<folder>/node.log`."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        config.setdefault("node", {}).setdefault("id", "node-under-test")
        config["node"].setdefault("state_dir", str(folder / "state"))
        config.setdefault("api", {}).setdefault("port", 0)
        self.config = config
        self.prefix: list[str] = []  # a command that ends by becoming the one after it
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    @property
    def log(self) -> Path:
        """Everything the node said, over all its starts."""
        return self.folder / "node.log"

    def start(self, wait_ready: bool = False) -> NodeProcess:
        """Start it, and wait until its API answers (and until frames are served, if asked)."""
        path = self.folder / "edgeagent.yaml"
        path.write_text(yaml.safe_dump(self.config))
        said_before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "edgeagent", "run", "--config", str(path)],
                stderr=log,
                stdout=log,
            )
        self.url = wait_for(lambda: self._started_url(said_before), "node started")
        if wait_ready:
            wait_for(self.is_ready, "frames served")
        return self

    def _started_url(self, offset: int) -> str:
        assert self.process is not None
        text = self.log.read_bytes()[offset:].decode("utf-8", "replace")
        for line in text.splitlines():
            if "node started" in line and line.startswith("{"):
                return str(json.loads(line)["api"])
        if self.process.poll() is not None:
            raise AssertionError(f"the node ended with {self.process.returncode}: {text[-3000:]}")
        return ""

    def get(self, path: str) -> Any:
        """The JSON answer to GET."""
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Status code and JSON answer of POST."""
        data = json.dumps(body).encode() if body is not None else b""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        request = urllib.request.Request(self.url + path, data, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as e:
            return e.code, json.load(e)

    def is_ready(self) -> bool:
        """Whether frames are being served."""
        try:
            with urllib.request.urlopen(self.url + "/readyz", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def status(self) -> dict[str, Any]:
        """`/api/status`."""
        status: dict[str, Any] = self.get("/api/status")
        return status

    def model(self, name: str = "yolo") -> dict[str, Any]:
        """One model's part of the status."""
        model: dict[str, Any] = self.status()["models"][name]
        return model

    def active(self, name: str = "yolo") -> str | None:
        """The version that serves."""
        active = self.model(name)["active"]
        return str(active["version"]) if active else None

    def wait_active(self, version: str, name: str = "yolo", timeout_s: float = PATIENCE_S) -> None:
        """Until this version serves."""

        def look() -> bool:
            return self.active(name) == version

        try:
            wait_for(look, f"{version} active", timeout_s)
        except AssertionError as e:
            raise AssertionError(f"{e}; status: {json.dumps(self.model(name), indent=1)}") from None

    def workers(self, kind: str) -> list[dict[str, Any]]:
        """The workers of one kind."""
        return [w for w in self.status()["workers"] if w["kind"] == kind]

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def __enter__(self) -> NodeProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.kill()


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a jsonl sink (a last line without its end is still being written)."""
    if path.exists():
        for line in path.read_text().split("\n")[:-1]:
            yield json.loads(line)


def children(pid: int) -> list[int]:
    """Live processes whose parent is `pid`."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry))
    return found
