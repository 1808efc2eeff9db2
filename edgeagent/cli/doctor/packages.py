# SPDX-License-Identifier: AGPL-3.0-or-later
"""Packages that don't go with each other, found by what pip knows of them; none is imported."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import FAIL, WARN, Finding

_OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
_ONNX_RUNTIME = ("onnxruntime", "onnxruntime-gpu")


def opencv(x: Examination) -> Iterator[Finding]:
    """Several of them write into one folder, and the last one wins, in parts."""
    yield from _one_of(x, _OPENCV, "opencv-python", "cv2", WARN)


def onnx_runtime(x: Examination) -> Iterator[Finding]:
    """The same of its builds for the processor and for CUDA."""
    wanted = "onnxruntime-gpu" if x.config.engine.device.startswith("cuda") else "onnxruntime"
    yield from _one_of(x, _ONNX_RUNTIME, wanted, "onnxruntime", WARN)


def torch(x: Examination) -> Iterator[Finding]:
    """torchvision is built against one release of torch, and fails to import beside another."""
    torch, torchvision = x.machine.version("torch"), x.machine.version("torchvision")
    remedy = "pip install --force-reinstall torch torchvision, both in one command"
    if torch and torchvision is None:
        yield Finding(
            WARN, "torchvision", "it is missing: ultralytics reads .pt with it", "pip install torchvision"
        )
    if not (torch and torchvision):
        return
    needs = [
        match[1]
        for text in x.machine.requires("torchvision")
        if (match := re.match(r"torch\s*\(?==\s*([0-9.]+)", text))
    ]
    if needs and torch.partition("+")[0] != needs[0]:
        text = f"torchvision {torchvision} is made for torch {needs[0]}, and torch {torch} is installed"
        yield Finding(FAIL, "torch", text, remedy)
    elif ("+cpu" in torch) != ("+cpu" in torchvision) and ("+" in torch or "+" in torchvision):
        text = f"torch {torch} and torchvision {torchvision} are builds for other devices"
        yield Finding(WARN, "torch", text, remedy)


def _one_of(x: Examination, names: tuple[str, ...], keep: str, module: str, level: str) -> Iterator[Finding]:
    found = [name for name in names if x.machine.version(name)]
    if len(found) > 1:
        yield Finding(
            level,
            module,
            f"{' and '.join(found)} are installed over each other",
            f"pip uninstall -y {' '.join(found)} && pip install {keep}",
        )
