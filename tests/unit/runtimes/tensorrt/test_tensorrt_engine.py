# SPDX-License-Identifier: AGPL-3.0-or-later
"""Engine files built elsewhere, read where there is neither TensorRT nor a GPU."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from edgeagent.core.model import Contract
from edgeagent.errors import UnavailableError, UsageError, WeightsError
from edgeagent.runtimes.inspect import read_metadata

HERE = {"mark": "edgeagent-tensorrt-1", "TensorRT": "11.4.0", "GPU": "NVIDIA L4", "compute capability": "8.9"}


class Logger:
    """TensorRT's base of loggers."""

    ERROR, WARNING, INFO = 1, 2, 3


NETWORK = {
    "metadata": {"task": "detect", "names": "{0: 'a', 1: 'b'}", "stride": "32", "imgsz": "[64, 64]"},
    "input": [None, 3, 64, 64],
    "output": [None, 6, 84],
}


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module, on a machine with an L4 and TensorRT 11.4.0."""
    fake: Any = MagicMock()
    fake.__version__ = "11.4.0"
    fake.ILogger = Logger
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.delitem(sys.modules, "edgeagent.runtimes.tensorrt.engine", raising=False)
    loaded = importlib.import_module("edgeagent.runtimes.tensorrt.engine")
    gpu = MagicMock(major=8, minor=9)
    gpu.name = "NVIDIA L4"
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    yield loaded
    sys.modules.pop("edgeagent.runtimes.tensorrt.engine", None)


def engine_file(path: Path, **changes: object) -> Path:
    """A header as the builder writes it, and an engine."""
    path.write_bytes(json.dumps({**HERE, **NETWORK, **changes}).encode() + b"\nthe\nengine")
    return path


def test_an_engine_built_here_is_read(module: Any, tmp_path: Path) -> None:
    """With the facts of its network."""
    content, metadata = module.read_engine(engine_file(tmp_path / "w.engine"), torch.device("cuda", 0))
    assert content == b"the\nengine"
    assert metadata.contract == Contract("detect", ("a", "b"), (64, 64), 32)
    assert (metadata.format, metadata.layout, metadata.batches) == ("engine", "v8", True)


@pytest.mark.parametrize(
    ("key", "value"), [("TensorRT", "10.16.0"), ("GPU", "NVIDIA T4"), ("compute capability", "7.5")]
)
def test_an_engine_built_elsewhere_is_refused(module: Any, tmp_path: Path, key: str, value: str) -> None:
    """Says for what it was built, and what is here."""
    path = engine_file(tmp_path / "w.engine", **{key: value})
    with pytest.raises(WeightsError, match=rf"built for {key} {value}, here it is .*publish the \.onnx"):
        module.read_engine(path, torch.device("cuda", 0))


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"{}\nx", b"[]\nx", b"[" * 100_000])
def test_what_is_no_engine_file_is_refused(module: Any, tmp_path: Path, content: bytes) -> None:
    """Also one that ultralytics wrote."""
    path = tmp_path / "w.engine"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="no engine file of edgeagent"):
        module.read_engine(path, torch.device("cuda", 0))
    with pytest.raises(UnavailableError, match="gone"):
        module.read_engine(tmp_path / "gone", torch.device("cuda", 0))


def test_an_engine_is_nothing_to_publish(tmp_path: Path) -> None:
    """It fits one machine."""
    with pytest.raises(WeightsError, match="fits only the machine that built it"):
        read_metadata(engine_file(tmp_path / "w.engine"))


def test_tensorrt_that_does_not_start_says_why(module: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Its bindings turn a null pointer into a TypeError; the reason stands only in its log, which goes to stderr."""

    def part(logger: Any) -> None:
        logger.log(Logger.INFO, "hello")
        logger.log(Logger.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    with pytest.raises(UsageError, match=r"does not start .*error: 35.*; see whether its package"):
        module.start(part)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "TensorRT: CUDA initialization failure with error: 35\n")


@pytest.mark.parametrize("refused", [None, "a mismatch"])
def test_timings_of_another_gpu_are_begun_anew(module: Any, tmp_path: Path, refused: str | None) -> None:
    """Broken ones give no cache at all; those of another TensorRT or GPU one that is not taken."""
    path = tmp_path / "timings"
    path.write_bytes(b"old")
    config = MagicMock()
    config.create_timing_cache.side_effect = lambda content: refused if content == b"old" else "fresh"
    config.set_timing_cache.side_effect = lambda cache, ignore_mismatch: cache == "fresh"
    config.get_timing_cache.return_value.serialize.return_value = b"new"
    module._use_timings(config, path)
    assert config.set_timing_cache.call_args.args == ("fresh",)
    module._keep_timings(config, path)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
