# SPDX-License-Identifier: AGPL-3.0-or-later
"""What it takes to add a runtime: one module, and one entry point that names its row; nothing else is touched."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeagent.cli.doctor import examine
from edgeagent.config import Config, ConfigError, parse_config
from edgeagent.errors import WeightsError
from edgeagent.runtimes import registry
from edgeagent.runtimes.convert import convert
from edgeagent.runtimes.inspect import read_metadata
from edgeagent.runtimes.load import load_runtime
from edgeagent.runtimes.port import EngineOptions
from edgeagent.runtimes.variants import Variant, runtime_versions, variants
from edgeagent.serving.spare_worker import libraries_of
from tests.support import weights

MODULE = '''
"""A runtime that answers with zeros; its own format is an ONNX file with a mark in front."""

import numpy as np

from edgeagent.runtimes.onnx_file import read_metadata
from edgeagent.runtimes.port import WeightFiles
from edgeagent.runtimes.registry import RuntimeRow, WeightFormat


class ZeroRuntime:
    name = "zero-cpu"
    max_batch = 1

    def __init__(self, weights, options):
        plain = weights.path
        if weights.format == "zero":
            plain = weights.path.with_suffix(".plain")
            plain.write_bytes(weights.path.read_bytes().removeprefix(b"zero"))
        self.metadata = read_metadata(WeightFiles(plain, "onnx"))

    def run(self, batch):
        return np.zeros((len(batch), 4 + len(self.metadata.contract.names), 84), np.float32)

    def streams(self):
        return ()

    def close(self):
        pass


def devices():
    return ["cpu"]


def from_onnx(source, target, options):
    target.write_bytes(b"zero" + source.read_bytes())


ROW = RuntimeRow(
    name="zero",
    reads=("zero", "onnx"),
    runtime="zero_runtime:ZeroRuntime",
    devices="zero_runtime:devices",
    precisions={"cpu": ("fp32",)},
    package="zero_runtime",
    distributions=("edgeagent-zero",),
    install="pip install edgeagent-zero",
    preload=True,
    formats=(WeightFormat("zero", ".zero", made_from={"onnx": "zero_runtime:from_onnx"}),),
)
'''


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages, for this process and those that it starts."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    path = os.pathsep.join((str(folder), *filter(None, (os.environ.get("PYTHONPATH"),))))
    monkeypatch.setenv("PYTHONPATH", path)
    registry._plugins.cache_clear()
    yield folder
    registry._plugins.cache_clear()
    sys.modules.pop("zero_runtime", None)


def install(site: Path, entry: str, module: str = MODULE) -> None:
    """What pip leaves of a package with one module and one entry point."""
    (site / "zero_runtime.py").write_text(module)
    info = site / "edgeagent_zero-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edgeagent-zero\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[{registry.ENTRY_POINTS}]\n{entry}\n")
    importlib.invalidate_caches()
    registry._plugins.cache_clear()


def config(tmp_path: Path, backend: str) -> Config:
    """A node with folders of the test and no pipeline."""
    for name in ("state", "intent", "store"):
        (tmp_path / name).mkdir(exist_ok=True)
    return parse_config(
        {
            "node": {"id": "n1", "state_dir": tmp_path / "state"},
            "config_store": {"url": f"file://{tmp_path}/intent"},
            "model_store": {"url": str(tmp_path / "store")},
            "engine": {"backend": backend},
            "api": {"port": 0},
        }
    )


def test_a_runtime_is_one_module_and_one_row(site: Path, tmp_path: Path) -> None:
    """The configuration takes it, it is among the variants, it loads, and `doctor` has a line on it."""
    with pytest.raises(ConfigError, match="'zero' is not a runtime; allowed: auto, onnxruntime"):
        config(tmp_path, "zero")
    install(site, "zero = zero_runtime:ROW")
    onnx = weights.detection_onnx(tmp_path / "w.onnx")

    found = config(tmp_path, "zero")
    assert [(v.name, v.format) for v in variants("onnx", "zero")] == [
        ("zero-cpu", "onnx"),
        ("zero-cpu", "zero"),
    ]
    assert "zero-cpu" in [v.name for v in variants("onnx")]
    assert runtime_versions(Variant("zero", "cpu", "fp32", "onnx")) == {"edgeagent-zero": "1.5"}
    assert libraries_of("zero") == ("zero_runtime",)
    runtime = load_runtime(onnx, "onnx", EngineOptions("zero"))
    assert not runtime.run(np.ones((1, 3, 64, 64), np.float32)).any()
    lines = {f.subject: f for _, f in examine(found)}
    assert str(lines["runtime zero"]) == "ok    runtime zero: edgeagent-zero 1.5, on cpu"
    assert lines["runtime onnxruntime"].text.endswith("not tried, for engine.backend is zero")


def test_its_own_format_is_made_on_the_node(site: Path, tmp_path: Path) -> None:
    """By the function that its row names, also in more than one step; a published one would be refused."""
    install(site, "zero = zero_runtime:ROW")
    onnx = weights.detection_onnx(tmp_path / "w.onnx")
    variant = Variant("zero", "cpu", "fp32", "zero")
    made = convert(onnx, "onnx", variant, tmp_path, EngineOptions())
    assert made.name == "model.zero"
    assert made.read_bytes() == b"zero" + onnx.read_bytes()
    assert load_runtime(made, "zero", EngineOptions("zero")).metadata == read_metadata(onnx)
    assert registry.conversion_chain("pt", "zero") == ["onnx", "zero"]
    with pytest.raises(WeightsError, match="fits only the machine that built it"):
        read_metadata(made)


@pytest.mark.parametrize(
    ("entry", "module", "why"),
    [
        ("zero = zero_runtime:ROW", "raise OSError('no licence')", "can't be loaded (OSError: no licence)"),
        ("zero = zero_runtime:ROW", "ROW = 'zero'", "is a str, not a RuntimeRow"),
        ("zero = zero_runtime:NO_ROW", MODULE, "can't be loaded (AttributeError"),
        (
            "zero = zero_runtime:ROW",
            MODULE.replace('name="zero"', 'name="torch"'),
            "is a runtime torch already",
        ),
    ],
)
def test_a_broken_one_harms_nobody(site: Path, tmp_path: Path, entry: str, module: str, why: str) -> None:
    """The others stay; whoever names it, and `doctor`, gets the reason."""
    install(site, entry, module)
    assert registry.runtimes() == registry.BUILT_IN
    with pytest.raises(ConfigError) as e:
        config(tmp_path, "zero")
    assert why in str(e.value)
    line = {f.subject: f for _, f in examine(config(tmp_path, "onnxruntime"))}["runtime zero"]
    assert line.level == "warn"
    assert why in line.text


def test_the_registry_loads_no_runtime_and_no_numpy() -> None:
    """The node and its configuration read it."""
    code = (
        "import sys, edgeagent.config, edgeagent.runtimes.variants\n"
        "print(sorted({'numpy', 'cv2', 'torch', 'onnxruntime', 'openvino', 'onnx'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
