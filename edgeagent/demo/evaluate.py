# SPDX-License-Identifier: AGPL-3.0-or-later
"""Measure the demo's models on rendered parts that no training saw: `python -m edgeagent.demo.evaluate`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

# Before ultralytics is imported: it reads these once. No package installs, no look-ups, no settings in $HOME.
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.gettempdir())

from ultralytics import YOLO

from edgeagent.core.boxes import iou
from edgeagent.demo.dataset import IMGSZ, UNSEEN_SEEDS, frame_indices, write_split, write_yaml
from edgeagent.demo.scoring import Found, match
from edgeagent.scenes.conveyor import CLASSES, Conveyor

WEIGHTS = Path(__file__).parent / "weights"
CONFIDENCE = 0.25

Kind = tuple[int, bool]  # class, tiny


def recall(weights: Path, frames: int) -> tuple[Counter[Kind], Counter[Kind], int, int]:
    """Truths, hits, detections and false alarms of a model at CONFIDENCE on full frames of the unseen seeds.

    A detection is a false alarm if it touches no defect of its class at all, entering and leaving ones included.
    """
    model = YOLO(str(weights), task="detect")
    truths: Counter[Kind] = Counter()
    hits: Counter[Kind] = Counter()
    detections = alarms = 0
    for seed in UNSEEN_SEEDS:
        line = Conveyor(seed=seed)
        for index in frame_indices(seed, frames):
            [result] = model.predict(
                line.frame(index), imgsz=IMGSZ, conf=CONFIDENCE, rect=False, device="cpu", verbose=False
            )
            rows = result.boxes.data.tolist()
            found: list[Found] = [(int(c), p, (x0, y0, x1, y1)) for x0, y0, x1, y1, p, c in rows]
            visible = line.truth(index)
            truths.update((t.cls, t.tiny) for t in visible)
            hits.update((t.cls, t.tiny) for t in match(visible, found))
            detections += len(found)
            partly = line.truth(index, visible=0.0)
            alarms += sum(not any(t.cls == c and iou(t.xyxy, box) > 0 for t in partly) for c, _, box in found)
    return truths, hits, detections, alarms


def report(weights: Path, data: Path, frames: int) -> str:
    """Everything measured about one model, as lines of text."""
    metrics = YOLO(str(weights), task="detect").val(
        data=str(data), imgsz=IMGSZ, rect=False, batch=1, device="cpu", workers=0, plots=False, verbose=False,
        project=str(data.parent / "runs"),
    )  # fmt: skip
    truths, hits, detections, alarms = recall(weights, frames)
    lines = [f"{weights.name}: mAP50 {metrics.box.map50:.3f}, mAP50-95 {metrics.box.map:.3f}"]
    for tiny in (True, False):
        kinds = sorted(kind for kind in truths if kind[1] is tiny)
        parts = [f"{CLASSES[c]} {hits[c, t]}/{truths[c, t]}" for c, t in kinds]
        share = sum(hits[k] for k in kinds) / sum(truths[k] for k in kinds)
        lines.append(f"  recall {'tiny ' if tiny else 'other'} {share:.3f}  ({', '.join(parts)})")
    lines.append(f"  {detections} detections, {alarms} of them false alarms")
    return "\n".join(lines)


def main() -> None:
    """Print mAP50, mAP50-95 and recall of each model on the unseen seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path, nargs="*", default=[WEIGHTS / "v1.onnx", WEIGHTS / "v2.onnx"])
    parser.add_argument("--frames", type=int, default=40, help="frames of each of the unseen seeds")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeagent-demo-") as folder:
        write_split(Path(folder), "val", UNSEEN_SEEDS, args.frames)
        write_split(Path(folder), "train", (), 0)
        data = write_yaml(Path(folder))
        for weights in args.weights:
            sys.stdout.write(report(weights, data, args.frames) + "\n")


if __name__ == "__main__":
    main()
