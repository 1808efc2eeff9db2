# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real node in a process of its own, on folders in one place: for tests, the demo, benchmarks and plug-ins.

with NodeRunner(tmp_path) as node:
    node.add_pipeline("line-1", "yolo", {"url": "synthetic://conveyor"})
    node.publish("v1", Path("best.onnx"))
    node.promote("v1")
    node.start()
    node.wait_active("v1")
    assert wait_for(node.records, "a first record")[0]["version"] == "v1"
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import yaml

from edgeagent.core.model import Manifest
from edgeagent.errors import UnavailableError
from edgeagent.runtimes.port import ModelMetadata

T = TypeVar("T")

MODEL, PIPELINE = "yolo", "line-1"
PATIENCE_S = 120.0
"""How long things are waited for. It bounds a hang, and says nothing about how fast something ought to be."""
_LOOK_S = 0.05
_ANSWER_S = 30.0
_STOP_S = 60.0
_PR_SET_PDEATHSIG = 1
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a node is near


def wait_for(look: Callable[[], T | None], what: str, timeout_s: float = PATIENCE_S) -> T:
    """The first truthy result of `look`, which is called again and again.

    Raises AssertionError, with `what` and the last result, when there is none within `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        last = look()
        if last:
            return last
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s:g} s; last seen: {last!r}")
        time.sleep(_LOOK_S)


def children(pid: int) -> list[int]:
    """Live processes whose parent is `pid`."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue  # it has just ended
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry))
    return found


class JsonLines:
    """A file of one JSON object a line, read as it grows. A file that was replaced or cut is read anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        self._rest = b""  # a last line without its end is still being written
        self._all: list[dict[str, Any]] = []

    def all(self) -> list[dict[str, Any]]:
        """Every object in the file now, in order."""
        self.new()
        return list(self._all)

    def new(self) -> list[dict[str, Any]]:
        """The objects that came since the last look."""
        if self._file and not self._is_open():
            self.close()
        if self._file is None:
            if not self.path.exists():
                return []
            self._file = self.path.open("rb")
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        found = [json.loads(line) for line in lines]
        self._all += found
        return found

    def close(self) -> None:
        """Close the file, and forget what was in it."""
        if self._file:
            self._file.close()
        self._file, self._rest, self._all = None, b"", []

    def _is_open(self) -> bool:
        """Whether the file of this name is the one that is open, and as long as what was read of it."""
        assert self._file is not None
        try:
            now, opened = self.path.stat(), os.fstat(self._file.fileno())
        except FileNotFoundError:
            return False
        return (now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino) and now.st_size >= self._file.tell()


class NodeApi:
    """What a running node says of itself through its HTTP API, and what it can be asked to do there."""

    def __init__(self, url: str) -> None:
        """url: such as `http://127.0.0.1:8080`."""
        self.url = url

    def get(self, path: str) -> Any:
        """The JSON answer to GET. Raises UnavailableError when there is none, or a code from 400 up."""
        code, answer = self._ask(urllib.request.Request(self.url + path))
        if code >= 400:
            raise UnavailableError(f"node at {self.url}{path}", f"it answered {code}: {answer}")
        return answer

    def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Status code and JSON answer of POST. Raises UnavailableError when there is none."""
        data = json.dumps(body).encode() if body is not None else b""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        return self._ask(urllib.request.Request(self.url + path, data, headers, method="POST"))

    def is_ready(self) -> bool:
        """Whether frames are being served."""
        code, _ = self._ask(urllib.request.Request(self.url + "/readyz"))
        return code == 200

    def status(self) -> dict[str, Any]:
        """`/api/status`."""
        status: dict[str, Any] = self.get("/api/status")
        return status

    def model(self, name: str = MODEL) -> dict[str, Any]:
        """One model's part of the status."""
        model: dict[str, Any] = self.status()["models"][name]
        return model

    def active(self, name: str = MODEL) -> str | None:
        """The version that serves."""
        active = self.model(name)["active"]
        return str(active["version"]) if active else None

    def workers(self, kind: str) -> list[dict[str, Any]]:
        """The workers of one kind, as the status has them."""
        return [w for w in self.status()["workers"] if w["kind"] == kind]

    def history(self) -> list[dict[str, Any]]:
        """The audit records, oldest first."""
        found: list[dict[str, Any]] = self.get("/api/history?limit=1000")["history"]
        return found

    def wait_active(self, version: str, name: str = MODEL, timeout_s: float = PATIENCE_S) -> None:
        """Until this version serves. Raises AssertionError, with the model's status."""
        self._wait_model(
            lambda m: bool(m["active"] and m["active"]["version"] == version),
            f"{version} active",
            name,
            timeout_s,
        )

    def wait_state(self, state: str, name: str = MODEL, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """Until the model is in this state; its part of the status. Raises AssertionError, with what it is then."""
        return self._wait_model(lambda m: bool(m["state"] == state), f"{name} {state}", name, timeout_s)

    def wait_tuned(self, name: str = MODEL, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """Until what serves was tuned for this node, which happens beside it; the model's part of the status. Raises
        AssertionError, with what it is then."""

        def tuned(m: dict[str, Any]) -> bool:
            return bool(m["active"] and m["active"]["tuning"] != "unconverted")

        return self._wait_model(tuned, f"{name} tuned", name, timeout_s)

    def _wait_model(
        self, fulfilled: Callable[[dict[str, Any]], bool], what: str, name: str, timeout_s: float
    ) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def look() -> bool:
            nonlocal seen
            seen = self.model(name)
            return fulfilled(seen)

        try:
            wait_for(look, what, timeout_s)
        except AssertionError as e:
            raise AssertionError(f"{e}; status: {json.dumps(seen, indent=1)}") from None
        return seen

    def _ask(self, request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with _OPENER.open(request, timeout=_ANSWER_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as e:
            with e:
                return e.code, json.load(e)
        except OSError as e:
            raise UnavailableError(f"node at {self.url}", f"no answer ({e})", "is it running?") from e


class NodeRunner(NodeApi):
    """`edgeagent run` with its model store, config store, state and sinks in one folder, driven as an operator would.

    A context manager that leaves no process behind. Start it from the main thread: a node ends with the thread that
    started it, so that none outlives a test run that was killed.

    config: what the configuration says before each start; change it as you like. prefix: a command that ends by
    becoming the one after it, for the node's process.
    """

    def __init__(self, folder: Path, config: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """config: sections of the configuration; what they don't say is as above, with an API on a free port and one
        runtime (ONNX Runtime), since what is tried with `auto` depends on what is installed."""
        super().__init__("")
        self.folder = folder.resolve()
        self.store, self.intent = self.folder / "store", self.folder / "intent"
        self.store.mkdir(parents=True, exist_ok=True)
        self.intent.mkdir(exist_ok=True)
        self.config: dict[str, Any] = {
            "node": {"id": "node-under-test", "state_dir": str(self.folder / "state")},
            "config_store": {"url": self.intent.as_uri()},
            "model_store": {"url": str(self.store)},
            "engine": {"backend": "onnxruntime"},
            "pipelines": [],
            "api": {"port": 0},
            "log": {"format": "json"},
        }
        for section, given in (config or {}).items():
            self.config[section] = {**self.config.get(section, {}), **given}
        self.prefix: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._sinks: dict[str, JsonLines] = {}

    @property
    def config_path(self) -> Path:
        """The configuration file, written at each start."""
        return self.folder / "edgeagent.yaml"

    @property
    def log(self) -> Path:
        """Everything the node said, over all its starts."""
        return self.folder / "node.log"

    @property
    def pid(self) -> int:
        """Of the node's process."""
        assert self.process is not None, "not started"
        return self.process.pid

    # -- what an operator does -------------------------------------------------------------------------

    def add_pipeline(self, name: str, model: str, source: Mapping[str, Any], **sink: Any) -> None:
        """One more pipeline, with a jsonl sink (`sink`: more of its options). Before start()."""
        path = self.folder / f"{name}.jsonl"
        self._sinks[name] = JsonLines(path)
        sinks = [{"type": "jsonl", "path": str(path), **sink}]
        self.config["pipelines"].append(
            {"name": name, "model": model, "source": dict(source), "sinks": sinks}
        )

    def publish(
        self,
        version: str,
        weights: Path,
        model: str = MODEL,
        *,
        metadata: ModelMetadata | None = None,
        note: str = "",
    ) -> Manifest:
        """Put a version into the store. Without `metadata` a process looks at the weights. Raises EdgeAgentError."""
        from edgeagent.store.publish import publish
        from edgeagent.workers.inspect import inspect_weights

        metadata = metadata or inspect_weights(weights)
        return publish(weights, model, version, str(self.store), metadata=metadata, note=note)

    def stored(self, manifest: Manifest) -> Path:
        """The weights of a published version, in the store."""
        return self.store / manifest.model / manifest.version / manifest.weights.path

    def write(self, key: str, value: str | bytes) -> float:
        """Write a config key in one step. Returns when, in Unix seconds."""
        path = self.intent / key.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".new")
        part.write_bytes(value.encode() if isinstance(value, str) else value)
        now = time.time()
        os.replace(part, path)
        return now

    def promote(self, value: str | bytes, model: str = MODEL) -> float:
        """Write the intent of a model: a version, or a directive as JSON. Returns when, in Unix seconds."""
        return self.write(f"/models/{model}/current", value)

    # -- its process -----------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start it, and return when its API answers. Raises UnavailableError, with the end of its log."""
        self.config_path.write_text(yaml.safe_dump(self.config, sort_keys=False), encoding="utf-8")
        said_before = self.log.stat().st_size if self.log.exists() else 0
        libc, own_pid = ctypes.CDLL(None), os.getpid()

        def end_with_its_starter() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != own_pid:
                os.kill(os.getpid(), signal.SIGTERM)

        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "edgeagent", "run", "--config", str(self.config_path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is for the one who started it, and who ends it
                preexec_fn=end_with_its_starter,
            )
        try:
            self.url = wait_for(lambda: self._announced(said_before), "node started")
        except AssertionError as e:
            raise UnavailableError("node", str(e), f"see {self.log}") from e
        return self

    def stop(self) -> int:
        """End it as systemd does. Returns its exit code, which is -9 when it had to be killed."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.returncode

    def kill(self) -> None:
        """End it at once (kill -9); its workers end by themselves then."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.kill()
        for sink in self._sinks.values():
            sink.close()

    # -- its records -----------------------------------------------------------------------------------

    def records(self, pipeline: str = PIPELINE) -> list[dict[str, Any]]:
        """Everything that a pipeline's sink has."""
        return self._sinks[pipeline].all()

    def new_records(self, pipeline: str = PIPELINE) -> list[dict[str, Any]]:
        """The records that came since the last look."""
        return self._sinks[pipeline].new()

    def forget_records(self) -> None:
        """Remove the sinks' files; a node that starts writes them anew."""
        for sink in self._sinks.values():
            sink.path.unlink(missing_ok=True)

    def _announced(self, offset: int) -> str:
        """The URL that it has said since `offset` in its log, or nothing yet."""
        with self.log.open("rb") as log:
            log.seek(offset)
            for line in log:
                if line.startswith(b"{") and line.endswith(b"\n") and b"api.started" in line:
                    return str(json.loads(line)["url"])
        self._check_alive()
        return ""

    def _ask(self, request: urllib.request.Request) -> tuple[int, Any]:
        try:
            return super()._ask(request)
        except UnavailableError:
            self._check_alive()
            raise

    def _check_alive(self) -> None:
        code = self.process.poll() if self.process else None
        if code is not None:
            said = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
            raise UnavailableError("node", f"it ended with {code}: {' '.join(said)}", f"see {self.log}")
