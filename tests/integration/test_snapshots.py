# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures of what was found: which frames, how often, what is in the folder, and what a disk that refuses costs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import pytest

from edgeagent.datasets.labelled import read_set
from edgeagent.datasets.layout import layout_of
from edgeagent.serving.pipeline import Pipeline
from edgeagent.serving.tap import Tap
from edgeagent.sinks.port import Box, SinkConfig
from edgeagent.sinks.queue import SinkHost, Sinks
from edgeagent.sinks.snapshot import SnapshotSinkConfig
from edgeagent.update.snapshots import Snapshots
from edgeagent.workers.jpeg import read_comment
from tests.support.ring_camera import Camera, until
from tests.support.sinks import record

NAMES = ("scratch", "dent")
SCRATCH: Box = (32.0, 48.0, 96.0, 96.0, 0.9, 0.0)
DENT: Box = (10.0, 10.0, 20.0, 20.0, 0.6, 1.0)


class Line:
    """A pipeline with sinks, whose frames go through a tap."""

    def __init__(self, folder: Path, *configs: SinkConfig) -> None:
        self.tap, self.camera = Tap(), Camera()
        self.sinks = Sinks("line-1", configs, lambda behind: None, host=SinkHost("node-7", folder / "state"))
        pipeline = SimpleNamespace(config=SimpleNamespace(model="yolo"), sinks=self.sinks)
        self.snapshots = Snapshots(cast(dict[str, Pipeline], {"line-1": pipeline}))
        self.snapshots.follow({"yolo": self.tap})

    def finds(self, *boxes: Box, names: tuple[str, ...] = NAMES) -> int:
        """A frame with these detections. Returns its number."""
        frame = self.camera.takes(200)
        found = replace(record(frame.seq), ts=frame.ts, boxes=boxes, names=names)
        self.sinks.write(found)
        self.tap.offer(frame, found, time.monotonic())
        frame.release()
        return frame.seq

    @property
    def status(self) -> dict[str, Any]:
        """Of the first sink."""
        return dict(self.sinks.status()["each"][0])


def run(folder: Path, test: Callable[[Line], Awaitable[None]], **fields: Any) -> None:
    """A test of a line with one such sink."""

    async def steps() -> None:
        config = {"path": folder / "pictures", "every_seconds": 0.1, "min_free_bytes": 0, **fields}
        line = Line(folder, SnapshotSinkConfig(**config))
        try:
            await test(line)
        finally:
            await line.snapshots.close()
            await line.sinks.close()
        assert line.camera.in_use == 0

    asyncio.run(steps())


def test_what_was_found_becomes_a_labelled_picture(tmp_path: Path) -> None:
    """As it was, with the labels that YOLO's trainers read, and one with boxes; the file says who found it."""

    async def test(line: Line) -> None:
        line.finds()
        seq = line.finds(SCRATCH, DENT)
        await until(lambda: line.status["written"] == 1, "a picture")
        root = tmp_path / "pictures"
        (picture,) = (root / "images").iterdir()
        (drawn,) = (root / "drawn").iterdir()
        assert picture.name == drawn.name
        assert picture.stem.endswith(f"Z-{seq}")
        about = json.loads(read_comment(picture))
        assert (about["id"].split("/")[::3], about["version"]) == (["node-7", str(seq)], "v1")
        assert abs(int(cv2.imread(str(picture)).mean()) - 200) < 3
        assert (cv2.imread(str(picture)) != cv2.imread(str(drawn))).any()
        found = read_set(layout_of(root), NAMES)
        assert [label.cls for label in found.pictures[0].labels] == [0, 1]

    run(tmp_path, test)


def test_only_what_is_sought_and_not_too_often(tmp_path: Path) -> None:
    """By class and confidence; frames that aren't wanted take no slot, and the sink gets no records."""

    async def test(line: Line) -> None:
        for _ in range(30):
            line.finds(DENT)
            line.finds((*SCRATCH[:4], 0.7, 0.0))
            assert line.camera.in_use == 0
        assert line.snapshots.worker is None
        line.finds(DENT, SCRATCH)
        assert line.camera.in_use == 1
        await until(lambda: line.status["written"] == 1, "a picture")
        for _ in range(30):
            line.finds(SCRATCH)
        assert line.camera.in_use == 0
        assert line.status["queued"] == 0

    run(tmp_path, test, classes=["scratch"], confidence=0.8, every_seconds=3600, boxes=False)
    assert not (tmp_path / "pictures" / "drawn").exists()


def test_the_folder_is_kept_within_its_quota(tmp_path: Path) -> None:
    """The oldest go, with what belongs to them."""

    old = tmp_path / "pictures" / "images" / "20250101T000000.000Z-1.jpg"
    label = tmp_path / "pictures" / "labels" / "20250101T000000.000Z-1.txt"
    for path, size in ((old, 1_040_000), (label, 10)):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * size)

    async def test(line: Line) -> None:
        line.finds(SCRATCH)
        await until(lambda: line.status["written"] == 1, "a picture")
        assert not old.exists()
        assert not label.exists()
        assert len(list(old.parent.iterdir())) == 1

    run(tmp_path, test, max_bytes=1 << 20, max_age_seconds=31_536_000)


@pytest.mark.parametrize("fields", [{"min_free_bytes": 1 << 50}, {}])
def test_a_disk_that_refuses_is_said_and_counted(tmp_path: Path, fields: dict[str, Any]) -> None:
    """And the line goes on."""
    if not fields:
        (tmp_path / "pictures").write_text("a file where a folder should be")

    async def test(line: Line) -> None:
        await until(lambda: line.finds(SCRATCH) and line.status["lost"], "the refusal")
        assert line.status["error"]

    run(tmp_path, test, **fields)


def test_nobody_who_wants_pictures_costs_nothing(tmp_path: Path) -> None:
    """Of the tap, and of its slots; what comes and goes while frames flow is followed."""

    async def test(line: Line) -> None:
        (config,) = [queue.config for queue in line.sinks.queues]
        line.sinks.leave([])
        line.snapshots.follow({"yolo": line.tap})
        assert line.tap._subscriptions == []
        await line.sinks.left()
        line.sinks.begin([config])
        line.snapshots.follow({"yolo": line.tap})
        line.finds(SCRATCH)
        await until(lambda: line.status["written"] == 1, "a picture")

    run(tmp_path, test)
