# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line: exit codes, one-line errors, and what each command hands on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgeagent import __version__
from edgeagent.cli.doctor import Finding
from edgeagent.cli.main import main
from edgeagent.core.directive import decode_directive
from edgeagent.core.model import Contract, Manifest, WeightFile
from edgeagent.errors import ConflictError, UnavailableError, UsageError
from edgeagent.intent.port import Access
from tests.support.published import publish_bytes

Replace = Callable[..., None]


@pytest.fixture
def replace(monkeypatch: pytest.MonkeyPatch) -> Replace:
    """Put a module with the given names where a command imports it from."""

    def put(name: str, **content: Any) -> None:
        module = ModuleType(name)
        for key, value in content.items():
            setattr(module, key, value)
        monkeypatch.setitem(sys.modules, name, module)

    return put


@pytest.mark.parametrize(
    ("args", "start"),
    [
        (["run"], "error: arguments: Missing option '--config'; see edgeagent run --help"),
        (["xyzzy"], "error: arguments: No such command 'xyzzy'; see edgeagent --help"),
        (["status", "--nope"], "error: arguments: No such option: --nope"),
        (["demo", "--seconds", "many"], "error: arguments: Invalid value for '--seconds'"),
        (["rollback", "a/b"], "error: model 'a/b': not a valid name; use letters"),
        (["status", "--url", "ftp://x"], "error: node at ftp://x: not a URL of a node; use one such as"),
        (["check", "--config", "/nope.yaml"], "error: /nope.yaml: can't be read (No such file or directory)"),
        (
            ["promote", "yolo", "../v", "--config-store", "file:///x"],
            "error: version '../v': not a valid name",
        ),
        (["promote", "yolo", "v1", "--config-store", "redis://x"], "error: config store redis://x: "),
        (
            ["promote", "yolo", "v1", "--config-store", "kafka://x/t", "--option", "acks"],
            "error: --option acks: ",
        ),
        (
            ["promote", "yolo", "v1", "--config-store", "etcd://x", "--key-file", "k"],
            "error: config store etcd://x: a certificate and its key ",
        ),
        (
            ["publish", "w.pt", "--model", "m", "--version", "v", "--store", "s", "--sign", "k"],
            "error: --sign: signing",
        ),
        (
            ["publish", "/no/w.pt", "--model", "m", "--version", "v", "--store", "s"],
            "error: weights /no/w.pt: no such",
        ),
        (
            ["publish", __file__, "--ready", "/no/w.onnx", "--model", "m", "--version", "v", "--store", "s"],
            "error: weights /no/w.onnx: no such",
        ),
    ],
)
def test_wrong_arguments(args: list[str], start: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and one line on stderr, nothing on stdout."""
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert err.startswith(start)
    assert err.count("\n") == 1
    assert out == ""


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command of the interface is in the help; no command is a mistake."""
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in ("run", "demo", "publish", "promote", "rollback", "status", "history", "check", "doctor"):
        assert f"  {command} " in out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"
    assert main([]) == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("a", "b", "c"), 2),
        (ConflictError("a", "b", "c"), 1),
        (UnavailableError("a", "b\nb", "c"), 1),
        (RuntimeError("oops"), 1),
        (KeyboardInterrupt(), 1),
    ],
)
def test_errors_are_one_line(
    error: BaseException, code: int, replace: Replace, capsys: pytest.CaptureFixture[str]
) -> None:
    """By whose fault it is; the traceback comes with --debug only, wherever that stands."""

    def run_node(_config: Path) -> int:
        raise error

    replace("edgeagent.run", run_node=run_node)
    assert main(["run", "--config", "x"]) == code
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for args in (["--debug", "run", "--config", "x"], ["run", "--config", "x", "--debug"]):
        assert main(args) == code
        assert "Traceback" in capsys.readouterr().err


def test_run_returns_the_code_of_the_node(replace: Replace) -> None:
    """The configuration's path goes to the node, its exit code comes back."""
    seen: list[Path] = []
    replace("edgeagent.run", run_node=lambda config: seen.append(config) or 1)
    assert main(["run", "--config", "x.yaml"]) == 1
    assert seen == [Path("x.yaml")]


def test_demo_hands_its_options_on(replace: Replace) -> None:
    """Seconds, port, whether to open a browser, and whether to stay at the end."""
    seen: list[tuple[Any, ...]] = []
    replace("edgeagent.demo.run", run_demo=lambda *args: seen.append(args) or 0)
    assert main(["demo"]) == 0
    assert main(["demo", "--seconds", "5", "--port", "0", "--no-browser"]) == 0
    assert main(["demo", "--stay"]) == 0
    assert seen == [(None, None, True, False), (5.0, 0, False, False), (None, None, True, True)]


def test_publish(tmp_path: Path, replace: Replace, capsys: pytest.CaptureFixture[str]) -> None:
    """The facts come from a process that reads the weights; the store gets them with the options."""
    contract = Contract("detect", ("a", "b"), (320, 640), 32)
    manifest = Manifest("yolo", "v1", 1, "now", contract, (WeightFile("w.pt", "0" * 64, 1, "pt"),))
    seen: list[Any] = []

    def publish(*args: Any, on_progress: Callable[[int, int], None], **kwargs: Any) -> Manifest:
        on_progress(1, 1)
        seen.append((args, kwargs))
        return manifest

    replace("edgeagent.workers.inspect", inspect_weights=lambda path: f"facts of {path.name}")
    replace("edgeagent.store.publish", publish=publish)
    weights, onnx, graph = (tmp_path / name for name in ("w.pt", "w.onnx", "w.xml"))
    for path in (weights, onnx, graph):
        path.write_bytes(b"x")
    args = ["publish", str(weights), "--model", "yolo", "--version", "v1", "--store", "/s", "--note", "first"]
    assert main(args) == 0
    told = {"metadata": "facts of w.pt", "alternates": [], "golden": None, "note": "first"}
    assert seen == [((weights, "yolo", "v1", "/s"), told)]
    assert capsys.readouterr().out == f"published yolo/v1: 2 classes, 320x640 px, {manifest.digest}\n"
    assert main([*args, "--ready", str(onnx), "--ready", str(graph)]) == 0
    assert seen[1][1] == told | {"alternates": [(onnx, "facts of w.onnx"), (graph, "facts of w.xml")]}


@pytest.mark.parametrize("alternates", [True, False])
def test_publish_refuses_an_engine(
    alternates: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is of use on one machine only; said before any file is read."""
    engine, onnx = tmp_path / "w.engine", tmp_path / "w.onnx"
    for path in (engine, onnx):
        path.write_bytes(b"x")
    files = [str(onnx), "--ready", str(engine)] if alternates else [str(engine)]
    assert main(["publish", *files, "--model", "m", "--version", "v", "--store", str(tmp_path / "s")]) == 2
    assert "w.engine: a TensorRT engine fits only the machine that built it; " in capsys.readouterr().err


@dataclass
class FakeStore:
    """A config store that remembers what was written."""

    written: list[tuple[str, bytes]] = field(default_factory=list)
    closed: bool = False

    def put(self, key: str, value: bytes) -> None:
        self.written.append((key, value))

    def close(self) -> None:
        self.closed = True


def test_promote_writes_the_intent(replace: Replace) -> None:
    """Under the key of the model, with who and why, and the store is closed."""
    store = FakeStore()
    opened: list[Any] = []

    def open_writer(url: str, access: Access) -> FakeStore:
        opened.append((url, access))
        return store

    replace("edgeagent.intent.url", open_writer=open_writer)
    args = ["promote", "yolo", "v2", "--config-store", "etcd://h:1", "--by", "me", "--reason", "better"]
    assert main(args) == 0
    assert store.written == [("/models/yolo/current", b'{"version": "v2", "by": "me", "reason": "better"}')]
    assert store.closed
    assert opened == [("etcd://h:1", Access())]
    options = ["--option", "security.protocol=SSL", "--option", "ssl.ca.location=/ca=1.pem"]
    assert main(["promote", "yolo", "v2", "--config-store", "kafka://h/t", *options]) == 0
    assert opened[1][1].options == {"security.protocol": "SSL", "ssl.ca.location": "/ca=1.pem"}


def test_promote_looks_up_a_tag(tmp_path: Path, replace: Replace, capsys: pytest.CaptureFixture[str]) -> None:
    """Once: the value has the version, and the tag for the record. What may not be taken up isn't written."""
    written = FakeStore()
    replace("edgeagent.intent.url", open_writer=lambda url, access: written)
    store = ["--store", str(tmp_path / "store")]
    publish_bytes(store[1], "v7", b"weights", tmp_path)
    promote = ["promote", "yolo", "@stable", "--config-store", "etcd://h:1", "--by", "me"]
    assert main(promote) == 2
    assert "a tag stands in the model store; give --store URL" in capsys.readouterr().err
    assert main([*promote, *store]) == 1
    assert main(["tag", "yolo", "v7", "stable", *store]) == 0
    assert main([*promote, *store]) == 0
    value = b'{"version": "v7", "by": "me", "tag": "stable"}'
    assert written.written == [("/models/yolo/current", value)]
    directive = decode_directive("k", value, "1")
    assert (directive.version, directive.tag) == ("v7", "stable")
    assert main(["yank", "yolo", "v7", "--reason", "blind", *store]) == 0
    capsys.readouterr()
    for version in ("@stable", "v7", "v9"):
        assert main(["promote", "yolo", version, "--config-store", "etcd://h:1", *store]) == 1
    assert "version yolo/v7: withdrawn: blind" in capsys.readouterr().err
    assert len(written.written) == 1


def test_check_says_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each mistake, exit code 2; a right one is said to be right."""
    path = tmp_path / "c.yaml"
    path.write_text("api: {port: -1}\nengine: {threads: x}\n")
    assert main(["check", "--config", str(path)]) == 2
    err = capsys.readouterr().err.splitlines()
    assert [line.split(":")[2].strip() for line in err] == ["engine.threads", "api.port"]
    path.write_text("node: {id: n1}\npipelines: [{name: a, model: yolo, source: {url: /x}}]\n")
    assert main(["check", "--config", str(path)]) == 0
    assert "node n1, pipelines: a (yolo)" in capsys.readouterr().out


@pytest.mark.parametrize(("levels", "code"), [(["ok", "warn"], 0), (["FAIL", "ok"], 1)])
def test_doctor_fails_when_one_thing_fails(
    levels: list[str], code: int, tmp_path: Path, replace: Replace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every finding is a line; a warning is no failure."""
    replace(
        "edgeagent.cli.doctor",
        examine=lambda *_: [("disk-room", Finding(level, "disk", "text", "do")) for level in levels],
    )
    path = tmp_path / "c.yaml"
    path.touch()
    assert main(["doctor", "--config", str(path)]) == code
    assert capsys.readouterr().out.splitlines() == [f"{level:<4}  disk: text; do" for level in levels]


def test_a_configuration_that_doctor_can_not_try(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its mistakes are what there is to say, as lines and as JSON, with what would be right."""
    path = tmp_path / "c.yaml"
    path.write_text("api: {port: -1}\nengine: {threads: x}\n")
    assert main(["doctor", "--config", str(path)]) == 2
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["FAIL", "FAIL"]
    assert main(["doctor", "--config", str(path), "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert (said["failed"], said["findings"][0]["check"]) == (2, "configuration")
    assert said["findings"][0]["todo"].startswith("allowed: ")
    assert main(["check", "--config", str(path), "--json"]) == 2
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 2
