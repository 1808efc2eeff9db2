# SPDX-License-Identifier: AGPL-3.0-or-later
"""`doctor` against real things in folders: what works is ok, what doesn't is named, and nothing stops the rest."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.cli.doctor import examine, runtimes
from edgeagent.config import Config, parse_config
from edgeagent.core.model import Contract, Manifest, WeightFile
from edgeagent.errors import UnavailableError
from edgeagent.runtimes.registry import RuntimeRow
from tests.support.golden import golden_set


@pytest.fixture
def port() -> Iterator[int]:
    """A port that is taken."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        yield s.getsockname()[1]


def config(tmp_path: Path, **more: Any) -> Config:
    """One pipeline on the synthetic line, everything in folders of the test."""
    for folder in ("state", "intent", "store"):
        (tmp_path / folder).mkdir(exist_ok=True)
    doc = {
        "node": {"id": "n1", "state_dir": tmp_path / "state"},
        "config_store": {"url": f"file://{tmp_path}/intent"},
        "model_store": {"url": str(tmp_path / "store")},
        "engine": {"backend": "onnxruntime"},
        "api": {"port": 0},
        "pipelines": [
            {
                "name": "line-1",
                "model": "yolo",
                "source": {"url": "synthetic://conveyor?seed=1&fps=30&width=320&height=192"},
                "sinks": [{"type": "jsonl", "path": tmp_path / "state" / "a.jsonl"}],
            }
        ],
        **more,
    }
    return parse_config(doc)


def levels(found: Config) -> dict[str, tuple[str, str]]:
    """Level and text by subject; of several the worst."""
    ranks = {"ok": 0, "warn": 1, "FAIL": 2}
    lines = sorted((f for _, f in examine(found)), key=lambda f: ranks[f.level])
    return {f.subject: (f.level, f.line) for f in lines}


def test_a_good_node_has_no_failure(tmp_path: Path) -> None:
    """Aspired version in the store, source that gives frames, runtime that imports: all ok."""
    found = config(tmp_path)
    (tmp_path / "intent" / "models" / "yolo").mkdir(parents=True)
    (tmp_path / "intent" / "models" / "yolo" / "current").write_text("v1")
    pin = tmp_path / "intent" / "models" / "yolo" / "pins" / "n1"
    pin.parent.mkdir()
    pin.write_text('{"version": "v2", "preload": true}')  # says nothing of what should serve
    version = tmp_path / "store" / "yolo" / "v1"
    version.mkdir(parents=True)
    contract = Contract("detect", ("a",), (320, 320), 32)
    manifest = Manifest("yolo", "v1", 1, "now", contract, (WeightFile("w.onnx", "0" * 64, 1, "onnx"),))
    (version / "manifest.json").write_bytes(manifest.to_json())
    result = levels(found)
    assert {k: v for k, v in result.items() if v[0] == "FAIL"} == {}
    assert result["config store, yolo"] == ("ok", result["config store, yolo"][1])
    assert "aspires v1" in result["config store, yolo"][1]
    assert result["model store, yolo"][1].startswith("v1 is there")
    assert "320x192" in result["source of line-1"][1]
    assert re.fullmatch(r"onnxruntime [\d.]+, on cpu", result["runtime onnxruntime"][1])
    assert result["sink of line-1"][0] == "ok"
    assert result["api"][0] == "ok"
    assert list((tmp_path / "state").iterdir()) == []


def test_each_fault_is_named(tmp_path: Path, port: int) -> None:
    """A broken intent, a source that is absent, a taken port, an open secret: each fails alone, with what to do."""
    found = config(
        tmp_path,
        api={"port": port, "token_file": tmp_path / "token"},
        engine={"backend": "onnxruntime", "device": "cuda:7"},
        pipelines=[{"name": "line-1", "model": "yolo", "source": {"url": str(tmp_path / "absent.mp4")}}],
    )
    (tmp_path / "token").write_text("t")
    (tmp_path / "token").chmod(0o644)
    (tmp_path / "intent" / "models" / "yolo").mkdir(parents=True)
    (tmp_path / "intent" / "models" / "yolo" / "current").write_text("../v1")
    result = levels(found)
    for subject, text in {
        "api.token_file": "open to others",
        "config store, yolo": "key /models/yolo/current",
        "source of line-1": "",
        "runtime onnxruntime": "on cpu, not on cuda:7; set engine.device: auto, or replace the package",
        "api": "the port is taken",
    }.items():
        assert result[subject][0] == "FAIL", subject
        assert text in result[subject][1]
    assert result["state_dir"][0] == "ok"


def test_a_state_folder_that_the_node_would_create_is_fine(tmp_path: Path) -> None:
    """What counts is whether it could; and a node without pipelines is worth a word."""
    found = config(tmp_path, node={"id": "n1", "state_dir": tmp_path / "to" / "come"}, pipelines=[])
    result = levels(found)
    assert result["state_dir"] == ("ok", f"{tmp_path} can be written")
    assert result["pipelines"][0] == "warn"


def test_a_state_folder_that_can_not_be_fails(tmp_path: Path) -> None:
    """Not even root writes into /proc."""
    result = levels(config(tmp_path, node={"id": "n1", "state_dir": "/proc/edgeagent"}, pipelines=[]))
    assert result["state_dir"][0] == "FAIL"
    assert "can't be written" in result["state_dir"][1]


def test_an_aspired_version_that_is_not_there_fails(tmp_path: Path) -> None:
    """The intent is fine, the store does not have it."""
    found = config(tmp_path)
    (tmp_path / "intent" / "models" / "yolo").mkdir(parents=True)
    (tmp_path / "intent" / "models" / "yolo" / "current").write_text("v9")
    level, text = levels(found)["model store, yolo"]
    assert level == "FAIL"
    assert "v9" in text


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Describe the machine: which runtimes are installed, on which devices they say that they run, and CUDA."""

    def describe(cuda: bool = False, **devices: list[str] | UnavailableError) -> None:
        def answer(row: RuntimeRow) -> list[str]:
            found = devices[row.name]
            if isinstance(found, UnavailableError):
                raise found
            return found

        monkeypatch.setattr(runtimes, "is_installed", lambda row: row.name in devices)
        monkeypatch.setattr(runtimes, "distribution_versions", lambda names: {names[0]: "1.5"})
        monkeypatch.setattr(runtimes, "has_cuda", lambda: cuda)
        monkeypatch.setattr(runtimes, "_devices", answer)

    return describe


def runtime_lines(tmp_path: Path, **engine: str) -> dict[str, tuple[str, str]]:
    """What is said of runtimes, of a node with these settings of the engine."""
    found = levels(config(tmp_path, engine=engine, pipelines=[]))
    return {name.removeprefix("runtime "): line for name, line in found.items() if name.startswith("runtime")}


def test_with_auto_each_runtime_that_could_work_here_is_tried(
    machine: Callable[..., None], tmp_path: Path
) -> None:
    """One that is broken is worth a warning; one of an extra, or that a lean install leaves out, may be missing;
    TensorRT without a GPU is worth no word."""
    machine(onnxruntime=["cpu"], torch=UnavailableError("import of torch", "libc10.so is missing"))
    assert runtime_lines(tmp_path, backend="auto") == {
        "onnxruntime": ("ok", "onnxruntime 1.5, on cpu"),
        "openvino": ("ok", "package openvino is not installed; pip install 'edgeagent[openvino]'"),
        "torch": ("warn", "import of torch: libc10.so is missing"),
        "torchscript": ("ok", "package torch is not installed; pip install torch torchvision ultralytics"),
    }


def test_with_auto_one_must_work(machine: Callable[..., None], tmp_path: Path) -> None:
    """On the device that is asked for."""
    machine()
    assert runtime_lines(tmp_path, backend="auto")["runtimes"][0] == "FAIL"
    machine(cuda=True, onnxruntime=["cpu"], openvino=["cpu"])
    lines = runtime_lines(tmp_path, backend="auto", device="cuda")
    assert lines["runtimes"] == ("FAIL", lines["runtimes"][1])
    assert "none works here on device cuda" in lines["runtimes"][1]
    assert lines["openvino"][1].endswith("does not give: not used")
    machine(cuda=True, torch=["cpu", "cuda:0"])
    assert "runtimes" not in runtime_lines(tmp_path, backend="auto", device="cuda")


@pytest.mark.parametrize(
    ("backend", "device", "installed", "says"),
    [
        ("openvino", "auto", {}, "package openvino is not installed; pip install 'edgeagent[openvino]'"),
        ("tensorrt", "auto", {}, "package tensorrt is not installed; pip install 'edgeagent[tensorrt]'"),
        ("tensorrt", "auto", {"tensorrt": ["cuda:0"]}, "tensorrt 1.5; runs on cuda, which this machine"),
        ("openvino", "cuda", {"openvino": ["cpu"]}, "set engine.device: auto, or another engine.backend"),
        ("torch", "cuda:1", {"torch": ["cpu", "cuda:0"]}, "torch 1.5, on cpu, cuda:0, not on cuda:1"),
        ("openvino", "cpu", {"openvino": []}, "openvino 1.5, on no device of this machine"),
    ],
)
def test_a_runtime_that_is_named_must_work(
    machine: Callable[..., None],
    tmp_path: Path,
    backend: str,
    device: str,
    installed: dict[str, list[str]],
    says: str,
) -> None:
    """Not installed, without its device, on the wrong one: each fails, and says what to do."""
    machine(**installed, onnxruntime=["cpu"])
    lines = runtime_lines(tmp_path, backend=backend, device=device)
    assert lines[backend][0] == "FAIL"
    assert says in lines[backend][1]
    assert lines.get("onnxruntime", ("ok", ""))[0] == "ok"


def test_of_runtimes_beside_the_one_that_is_named_no_trouble_is_told(
    machine: Callable[..., None], tmp_path: Path
) -> None:
    """Not those that lack the device, nor those that are not installed: none of them would run."""
    machine(cuda=True, onnxruntime=["cuda:0"], openvino=["cpu"])
    assert runtime_lines(tmp_path, backend="onnxruntime", device="cuda") == {
        "onnxruntime": ("ok", "onnxruntime 1.5, on cuda:0"),
        "openvino": ("ok", "openvino 1.5; not tried, for engine.backend is onnxruntime"),
    }


def test_a_named_runtime_is_imported_for_real(tmp_path: Path) -> None:
    """In a process of its own."""
    level, text = runtime_lines(tmp_path, backend="openvino")["openvino"]
    assert (level, text.partition(", ")[2]) == ("ok", "on cpu")


def test_a_runtime_that_can_not_be_imported_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line of what Python says."""
    broken = tmp_path / "broken" / "openvino.py"
    broken.parent.mkdir()
    broken.write_text("raise ImportError('libtbb.so.12: cannot open shared object file')")
    path = os.pathsep.join((str(broken.parent), *filter(None, (os.environ.get("PYTHONPATH"),))))
    monkeypatch.setenv("PYTHONPATH", path)
    level, text = runtime_lines(tmp_path, backend="openvino")["openvino"]
    assert level == "FAIL"
    assert "libtbb.so.12" in text


def test_golden_sets_are_opened(tmp_path: Path) -> None:
    """Labels and pictures; and whether there are enough of them to tell anything."""
    good, few = golden_set(tmp_path / "good", 20, 0), golden_set(tmp_path / "few", 3, 0)
    broken = golden_set(tmp_path / "broken", 20, 0)
    (broken / "images/0004.png").write_text("no picture")

    def said(data: Path) -> tuple[str, str]:
        return levels(config(tmp_path, update={"golden": {"yolo": str(data)}}))["golden set of yolo"]

    assert said(good) == ("ok", "20 pictures, 20 objects")
    level, text = said(few)
    assert level == "warn"
    assert "too few objects to tell in scratch (3): 12 are needed to see a drop of recall by 0.5" in text
    level, text = said(broken)
    assert level == "FAIL"
    assert "0004.png: can't be opened" in text
