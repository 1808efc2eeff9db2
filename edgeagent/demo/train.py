# SPDX-License-Identifier: AGPL-3.0-or-later
"""Train the demo's two models on rendered frames, and export them: `python -m edgeagent.demo.train`.

v1 learns from labels without the tiny defects, so that it takes them for background; v2 starts from v1 and
learns from all labels. Needs no network, no GPU and about half an hour of two cores.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

# Before ultralytics is imported: it reads these once. No package installs, no look-ups, no settings in $HOME.
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.gettempdir())

import onnx
import torch
from ultralytics import YOLO

from edgeagent.demo.dataset import IMGSZ, TRAIN_SEEDS, UNSEEN_SEEDS, write_split, write_yaml

HERE = Path(__file__).parent
LAYOUT = HERE / "yolov8-conveyor.yaml"
WEIGHTS = HERE / "weights"
OPSET = 17

_SCHEDULE: dict[str, Any] = {
    "imgsz": IMGSZ,
    "rect": True,  # frames are 16:9, so 320×192 instead of 320×320; all of one shape, thus still shuffled
    "batch": 16,
    "optimizer": "AdamW",
    "lrf": 0.02,
    "cos_lr": True,
    "warmup_epochs": 1.0,
    "weight_decay": 5e-4,
    # The scene is rendered with its own variety; what follows would only make it another scene.
    "mosaic": 0.0,
    "fliplr": 0.0,
    "erasing": 0.0,
    "auto_augment": None,
    "hsv_h": 0.01,
    "hsv_s": 0.2,
    "hsv_v": 0.15,
    "translate": 0.06,
    "scale": 0.08,
    "seed": 0,
    "deterministic": True,
    "device": "cpu",
    "workers": 0,
    "amp": False,
    "plots": False,
    "val": False,
    "verbose": False,
    "exist_ok": True,
}


def train(start: Path, data: Path, out: Path, name: str, *, epochs: int, lr: float) -> Path:
    """Train from `start` (a layout or weights) on `data`; return the path of the last checkpoint."""
    model = YOLO(str(start), task="detect")
    run = {"data": str(data), "project": str(out), "name": name, "epochs": epochs, "lr0": lr}
    model.train(**run, **_SCHEDULE, pretrained=start.suffix == ".pt")
    return out / name / "weights" / "last.pt"


def strip(checkpoint: Path, target: Path) -> None:
    """Keep of a checkpoint of our own training what a node needs: the fp16 model, free of paths and dates."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=False)  # written by train() just before
    model = (content["ema"] or content["model"]).half()
    model.args = {"imgsz": IMGSZ, "task": "detect"}
    model.yaml["yaml_file"] = LAYOUT.name
    if hasattr(model, "pt_path"):  # of the weights that it was started from, on the machine that trained it
        model.pt_path = Path(model.pt_path).name
    for parameter in model.parameters():
        parameter.requires_grad = False
    kept = {"model": model, "train_args": dict(model.args), "version": content["version"], "epoch": -1}
    torch.save(kept, target)


def export(weights: Path, description: str) -> Path:
    """Export to ONNX beside `weights` (static 1×3×320×320, fp32) and return its path."""
    exported = Path(
        YOLO(str(weights)).export(format="onnx", imgsz=IMGSZ, opset=OPSET, simplify=False, device="cpu")
    )
    graph = onnx.load(exported)
    for node in graph.graph.node:  # where the exporter's source lay on this machine
        node.doc_string = ""
        del node.metadata_props[:]
    kept = {p.key: p.value for p in graph.metadata_props if p.key not in {"date", "description"}}
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {"description": description, **kept})
    onnx.save(graph, exported)
    return exported


def main() -> None:
    """Render the data, train v1 and v2, put a `.pt` and a `.onnx` of each into the weights folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for the weights")
    parser.add_argument("--work", type=Path, help="folder for data and runs; a temporary one by default")
    parser.add_argument(
        "--frames", type=int, default=60, help="frames rendered of each of the training seeds"
    )
    parser.add_argument("--epochs", type=int, nargs=2, default=(12, 12), metavar=("V1", "V2"))
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    work = args.work or Path(tempfile.mkdtemp(prefix="edgeagent-demo-"))
    start, lr = LAYOUT, 3e-3
    versions = (("v1", False, "without the tiny defects"), ("v2", True, "with all defects"))
    for (name, tiny, what), epochs in zip(versions, args.epochs, strict=True):
        data = work / f"data-{name}"
        write_split(data, "train", TRAIN_SEEDS, args.frames, tiny=tiny)
        write_split(data, "val", UNSEEN_SEEDS[:2], 20, tiny=tiny)
        last = train(start, write_yaml(data), work / "runs", name, epochs=epochs, lr=lr)
        start, lr = args.out / f"{name}.pt", 2e-3
        strip(last, start)
        export(start, f"edgeagent demo {name}: carton defects, trained {what} labelled")
    if args.work is None:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
