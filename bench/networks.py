# SPDX-License-Identifier: AGPL-3.0-or-later
"""Networks to measure with, as `.pt` and `.onnx`: ultralytics' own architectures, nothing downloaded.

The weights are random, and the normalisation layers are calibrated on rendered frames: without that the activations of
a deep network fade to denormal numbers, on which a processor calculates many times slower than on real ones. The
heads are turned down until nothing is detected.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgeagent.demo

DEMO = Path(edgeagent.demo.__file__).parent / "weights"


@dataclass(frozen=True)
class Network:
    """One architecture of ultralytics (the name of its yaml) at an input size in pixels; `seed` of its weights."""

    architecture: str
    imgsz: int
    seed: int = 0

    @property
    def name(self) -> str:
        """As tables show it."""
        return f"{self.architecture.replace('yolo', 'YOLO')} at {self.imgsz}"

    @property
    def stem(self) -> str:
        """Of its files."""
        return f"{self.architecture}-{self.imgsz}-{self.seed}"


@dataclass(frozen=True)
class Weights:
    """The same network in two files."""

    name: str
    pt: Path
    onnx: Path
    imgsz: int


YOLOV8N_640 = Network("yolov8n", 640)
YOLO11N_320 = Network("yolo11n", 320)


def demo(version: str = "v2") -> Weights:
    """The demo's small model, which is trained."""
    return Weights(f"demo {version} at 320", DEMO / f"{version}.pt", DEMO / f"{version}.onnx", 320)


def build(folder: Path, *networks: Network) -> list[Weights]:
    """The networks under `folder`; those that are not there yet are built, in a process of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [Weights(n.name, folder / f"{n.stem}.pt", folder / f"{n.stem}.onnx", n.imgsz) for n in networks]
    todo = [
        (n.architecture, n.imgsz, n.seed, str(w.pt.resolve()), str(w.onnx.resolve()))
        for n, w in zip(networks, found, strict=True)
        if not (w.pt.exists() and w.onnx.exists())
    ]
    if todo:
        _in_a_process("build", todo, folder)
    return found


def permute_names(pt: Path, target: Path) -> None:
    """Write a checkpoint of our own with its class names moved on by one."""
    _in_a_process("permute", [(str(pt.resolve()), str(target.resolve()))], target.parent)


def _in_a_process(what: str, todo: list[Any], folder: Path) -> None:
    environment = {
        **os.environ,
        "YOLO_AUTOINSTALL": "false",
        "YOLO_OFFLINE": "true",
        "YOLO_CONFIG_DIR": str(folder),
    }
    command = [sys.executable, "-m", "bench.networks", what, json.dumps(todo)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def _permute(pt: str, target: str) -> None:
    import torch

    content = torch.load(pt, map_location="cpu", weights_only=False)  # built below
    names = content["model"].names
    content["model"].names = {i: names[(i + 1) % len(names)] for i in range(len(names))}
    torch.save(content, target)


def _build(architecture: str, imgsz: int, seed: int, pt_path: str, onnx: str) -> None:
    import numpy as np
    import torch
    from ultralytics import YOLO

    from edgeagent.scenes.conveyor import Conveyor

    torch.manual_seed(seed)
    scene, noise = Conveyor(seed, imgsz, imgsz), np.random.default_rng(seed)
    model = YOLO(f"{architecture}.yaml", task="detect").model
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.momentum = None  # the plain mean over what follows
    model.train()
    with torch.no_grad():
        for index in range(3):
            pictures = np.stack(
                [scene.frame(100 * index), noise.integers(0, 255, (imgsz, imgsz, 3), np.uint8)]
            )
            model(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
        for branch in (*model.model[-1].cv2, *model.model[-1].cv3):
            branch[-1].weight *= 0.02
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
    model.args = {"imgsz": imgsz, "task": "detect"}
    kept = {"model": model.half(), "train_args": dict(model.args), "version": "bench", "epoch": -1}
    pt = Path(pt_path)
    partial = pt.with_suffix(".part.pt")
    torch.save(kept, partial)
    shutil.move(YOLO(str(partial)).export(format="onnx", imgsz=imgsz, simplify=False), onnx)
    partial.rename(pt)


if __name__ == "__main__":
    for arguments in json.loads(sys.argv[2]):
        if sys.argv[1] == "build":
            _build(*arguments)
        else:
            _permute(*arguments)
