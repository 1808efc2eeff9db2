# SPDX-License-Identifier: AGPL-3.0-or-later
"""A node without torch, in an environment of its own: serves ONNX, and says what a checkpoint needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "edgeagent" / "demo" / "weights"
MOST_MB = 700
INSTALL_S = 1200.0
ADVICE = "pip install torch torchvision ultralytics"
# Run in that environment; what it needs of the project is what was installed there.
PLAY = """
import sys
from pathlib import Path
from edgeagent.core.model import Contract
from edgeagent.errors import WeightsError
from edgeagent.runtimes.port import ModelMetadata
from edgeagent.store.publish import publish
from edgeagent.testing import NodeRunner, wait_for
from edgeagent.workers.inspect import inspect_weights

weights, folder = Path(sys.argv[1]), Path(sys.argv[2])
assert "/site-packages/" in publish.__code__.co_filename, publish.__code__.co_filename
try:
    inspect_weights(weights / "v2.pt")
except WeightsError as e:
    print("publish:", e)
onnx = inspect_weights(weights / "v2.onnx")
checkpoint = ModelMetadata(onnx.contract, "pt")
with NodeRunner(folder, {"engine": {"backend": "auto", "device": "cpu"}}) as node:
    node.add_pipeline("line-1", "yolo", {"url": "synthetic://conveyor?fps=10"})
    node.publish("v1", weights / "v1.onnx")
    node.publish("pt", weights / "v2.pt", metadata=checkpoint)
    alternates = [(weights / "v2.onnx", onnx)]
    publish(weights / "v2.pt", "yolo", "both", str(node.store), metadata=checkpoint, alternates=alternates)
    node.promote("v1")
    node.start().wait_active("v1")
    wait_for(node.records, "a record")
    node.promote("pt")
    print("node:", wait_for(lambda: node.model()["last_error"], "refused"))
    assert node.active() == "v1"
    node.promote("both")
    node.wait_active("both")
    print("served:", node.model()["active"]["engine"])
"""


@pytest.mark.soak
@pytest.mark.timeout(INSTALL_S + 600)
def test_a_lean_node(tmp_path: Path) -> None:
    """Under 700 MB; a checkpoint is served from its alternates, or refused with what to install."""
    environment = tmp_path / "venv"
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    source = tmp_path / "source"  # setuptools builds where the source lies
    shutil.copytree(ROOT / "edgeagent", source / "edgeagent")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    requirements = ["-r", str(ROOT / "requirements-lean.txt")]
    subprocess.run([*pip, *requirements], check=True, timeout=INSTALL_S)
    subprocess.run([*pip, "--no-deps", str(source)], check=True, timeout=INSTALL_S)
    size = sum(f.stat().st_size for f in environment.rglob("*") if f.is_file() and not f.is_symlink())
    assert size < MOST_MB << 20

    command = [environment / "bin" / "python", "-c", PLAY, WEIGHTS, tmp_path / "node"]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, env=alone, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert ADVICE in said["publish"]
    assert ADVICE in said["node"]
    assert said["served"].startswith("onnxruntime")
