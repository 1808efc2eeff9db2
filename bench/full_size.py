# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two full-size networks to measure with: YOLOv8n at 640 px and YOLO11n at 320 px, weights untrained.

Built by ultralytics from its own architecture files; nothing is downloaded. What they detect means nothing,
what they cost is real.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NETWORKS = {"v1": ("yolov8n.yaml", 640), "v2": ("yolo11n.yaml", 320)}


def build(folder: Path) -> dict[str, Path]:
    """Export the networks to ONNX under `folder`, unless they are there; version → file."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {version: folder / f"{version}.onnx" for version in NETWORKS}
    for version, (architecture, imgsz) in NETWORKS.items():
        if not files[version].exists():
            environment = {
                **os.environ,
                "YOLO_AUTOINSTALL": "false",
                "YOLO_CONFIG_DIR": str(folder),
                "YOLO_OFFLINE": "true",
            }
            subprocess.run(
                [sys.executable, "-m", "bench.full_size", architecture, str(imgsz), str(files[version])],
                check=True,
                env=environment,
                stdout=subprocess.DEVNULL,
            )
    return files


def _export(architecture: str, imgsz: int, target: Path) -> None:
    import torch
    from ultralytics import YOLO

    torch.manual_seed(0)
    work = target.with_suffix("")
    work.mkdir(exist_ok=True)
    os.chdir(work)  # it writes beside the current folder
    written = YOLO(architecture, task="detect").export(format="onnx", imgsz=imgsz, simplify=False)
    shutil.move(written, target)
    os.chdir(target.parent)
    shutil.rmtree(work)


if __name__ == "__main__":
    _export(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]).resolve())
