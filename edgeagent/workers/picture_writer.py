# SPDX-License-Identifier: AGPL-3.0-or-later
"""The worker that writes pictures: frames of the line as JPEG, whole or not at all, into folders that it keeps small.

Its task is KeepPictures; another one adds folders. Each WritePicture comes after the ring in which the frame stands,
and is answered with PictureDone when the frame isn't needed any more. It ends when it has had nothing to write for a
while: its memory is that of OpenCV, which is imported for the first picture.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeagent.core.pictures import Picture, PictureQuota, least_score, outdone_by, read_picture
from edgeagent.workers.bootstrap import worker_main
from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.jpeg import encode_jpeg, with_comment
from edgeagent.workers.messages import Heartbeat, Ring
from edgeagent.workers.picture_archive import DATA, Archive, companions_of, report
from edgeagent.workers.ring import RingView
from edgeagent.workers.tasks.pictures import (
    Comparison,
    KeepPictures,
    PictureDone,
    PictureFindings,
    PictureOrder,
    WritePicture,
)

if TYPE_CHECKING:
    from edgeagent.runtimes.port import Image

_HEARTBEAT_S = 1.0
_SWEEP_S = 10.0
"""How often the folders are looked at while no picture comes: a picture goes when it is too old, and when the disk is
short, also while the cameras are away."""
Outcome = Literal["kept", "outdone", "no space", "failed"]


def serve(channel: WorkerChannel, task: KeepPictures) -> None:
    """Write what is asked for, and sweep, until the node is gone or there is nothing to do."""
    archives = {access.root: Archive(access.root, access.quota) for access in task.archives}
    view: RingView | None = None
    turn, swept_at, asked_at = 0, -_SWEEP_S, time.monotonic()
    channel.send(Heartbeat(turn))
    while True:
        if time.monotonic() - swept_at >= _SWEEP_S:
            for archive in archives.values():
                _sweep(archive)
            swept_at = time.monotonic()
        message = channel.receive(_HEARTBEAT_S)
        match message:
            case None:
                if time.monotonic() - asked_at > task.idle_s:
                    return
                turn += 1
                channel.send(Heartbeat(turn))
            case Ring(_, slots, slot_bytes):
                view = RingView(channel.fds.popleft(), slots, slot_bytes)
            case KeepPictures(accesses):
                for access in accesses:
                    _keep_within(archives, access.root, access.quota)
                swept_at = -_SWEEP_S
            case WritePicture(ticket, slot, height, width, order) if view and _knows(archives, order):
                archive = archives[order.root]
                outcome, why = _write(archive, view.image(slot, height, width), order)
                view.close()
                view = None
                _sweep(archive)
                asked_at = time.monotonic()
                least = _least(archive, order.path, order.comparison) if order.comparison else 0
                channel.send(PictureDone(ticket, outcome, why, least))
            case _:
                raise SystemExit(f"a worker that writes pictures has no use for {message!r}")


def _knows(archives: dict[Path, Archive], order: PictureOrder) -> bool:
    """Whether somebody has said how much the folder may hold, be it with this order."""
    if order.quota:
        _keep_within(archives, order.root, order.quota)
    return order.root in archives


def _keep_within(archives: dict[Path, Archive], root: Path, quota: PictureQuota) -> None:
    archives.setdefault(root, Archive(root, quota)).quota = quota


def _write(archive: Archive, image: Image, order: PictureOrder) -> tuple[Outcome, str]:
    """What became of it, and why."""
    try:
        leave: list[Picture] = []
        if order.comparison:
            outdone = _outdone(archive, order.path, order.comparison)
            if outdone is None:
                return "outdone", ""
            leave = outdone
        files = _files(image, order)
        if not archive.write(order.path, files, leave):
            return "no space", ""
        if of := order.comparison or order.findings:
            folder = Path(order.path).parent.parent
            archive.write_once(str(folder / DATA), data_yaml(of.names))
        return "kept", ""
    except (OSError, ValueError) as e:
        return "failed", str(e)


def _outdone(archive: Archive, path: str, comparison: Comparison) -> list[Picture] | None:
    new = read_picture(path, 0)
    if new is None:
        raise ValueError(f"{path} is no name of a picture")
    kept = archive.pictures(str(Path(path).parent))
    return outdone_by(new, kept, comparison.keep, comparison.spacing_s)


def _least(archive: Archive, path: str, comparison: Comparison) -> int:
    return least_score(archive.pictures(str(Path(path).parent)), comparison.keep)


def _files(image: Image, order: PictureOrder) -> list[tuple[str, bytes]]:
    """The picture's files, by path; the picture itself is the last."""
    files = [(order.path, encode_jpeg(image, order.quality))]
    if order.findings:
        return _with_findings(image, order, order.findings)
    if order.comparison:
        from edgeagent.workers.drawing import draw

        comparison = order.comparison
        label, drawn = companions_of(order.path)
        height, width = image.shape[:2]
        files = [
            (label, yolo_label(comparison.incumbent.boxes, width, height)),
            (drawn, with_comment(encode_jpeg(draw(image, comparison), order.quality), about(comparison))),
            *files,
        ]
    return files


def _with_findings(image: Image, order: PictureOrder, found: PictureFindings) -> list[tuple[str, bytes]]:
    label, drawn = companions_of(order.path)
    height, width = image.shape[:2]
    files = [(label, yolo_label(found.boxes, width, height))]
    if found.draw:
        from edgeagent.workers.overlay import Findings, draw_findings

        copy, names = image.copy(), dict(enumerate(found.names))
        draw_findings(copy, Findings(found.pipeline, found.version, found.ts, found.boxes, names), 1.0)
        files.append((drawn, with_comment(encode_jpeg(copy, order.quality), found.about)))
    return [*files, (order.path, with_comment(encode_jpeg(image, order.quality), found.about))]


def about(comparison: Comparison) -> str:
    """What a drawn picture says of itself, as JSON: the version beside which its own was tried, and how they differ."""
    return json.dumps({"against": comparison.incumbent.version, **asdict(comparison.difference)})


def yolo_label(boxes: Iterable[tuple[float, ...]], width: int, height: int) -> bytes:
    """What was found (x1, y1, x2, y2 in pixels, confidence, class), as YOLO labels of a picture of this size in pixels:
    a line `class x y width height` each, the middle and the size as shares of the picture."""
    lines = [
        f"{index} {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f}"
        f" {(x2 - x1) / width:.6f} {(y2 - y1) / height:.6f}\n"
        for x1, y1, x2, y2, _, index in boxes
    ]
    return "".join(lines).encode()


def data_yaml(names: tuple[str, ...]) -> bytes:
    """The description of a YOLO data set of one part, which is where this file is. JSON's texts are YAML's, so any name
    is written safely."""
    rows = "".join(f"  {index}: {json.dumps(name)}\n" for index, name in enumerate(names))
    return f"train: images\nval: images\nnames:\n{rows}".encode()


def _sweep(archive: Archive) -> None:
    try:
        archive.sweep(time.time())
    except OSError as e:
        report(e)


if __name__ == "__main__":
    worker_main(serve, KeepPictures)
