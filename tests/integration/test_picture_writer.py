# SPDX-License-Identifier: AGPL-3.0-or-later
"""Frames onto the disk: a real ring, a real worker, and what happens when that is killed, hangs, or has no room."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from edgeagent.core.pictures import FrameDifference, PictureQuota, picture_stem
from edgeagent.datasets.labelled import read_set
from edgeagent.datasets.layout import layout_of
from edgeagent.serving.frame import Frame
from edgeagent.serving.tap import Tap
from edgeagent.sinks.port import Record
from edgeagent.status.disagreements import newest
from edgeagent.update.picture_writer import PictureWriter
from edgeagent.update.stored_frames import StoredFrames
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.tasks.pictures import (
    ArchiveAccess,
    Comparison,
    DrawnVersion,
    PictureDone,
    PictureOrder,
)
from tests.support.ring_camera import Camera, until
from tests.support.sinks import record

PLENTY = PictureQuota(max_bytes=1 << 30, max_age_s=1e9, max_pictures=1000, min_free_bytes=0)
WHOLE = (b"\xff\xd8", b"\xff\xd9")
NAMES = ("scratch", "dent")


def pictures(root: Path) -> list[Path]:
    """All that are there under their names; each is whole."""
    found = sorted(root.rglob("*.jpg"))
    for path in found:
        data = path.read_bytes()
        assert (data[:2], data[-2:]) == WHOLE, path
    return found


def run(
    root: Path,
    test: Callable[[PictureWriter], Awaitable[None]],
    quota: PictureQuota = PLENTY,
    silence_s: float = 20.0,
    idle_s: float = 60.0,
) -> None:
    """A test with a writer for one archive, which is closed at the end."""

    async def run() -> None:
        limits = WorkerLimits(None, silence_s, start_s=60.0)
        writer = PictureWriter((ArchiveAccess(root, quota),), limits, backoff_s=(0.01, 0.1), idle_s=idle_s)
        try:
            await test(writer)
        finally:
            await writer.close()
            assert writer.worker is None

    asyncio.run(run())


def order(root: Path, frame: Frame, quality: int = 90) -> PictureOrder:
    """Where it goes."""
    return PictureOrder(root, f"line-1/{picture_stem(frame.ts, frame.seq)}.jpg", quality)


def test_a_frame_becomes_a_picture(tmp_path: Path) -> None:
    """As it was, but for what JPEG costs; its slot is free again, and only then."""

    async def test(writer: PictureWriter) -> None:
        camera, done = Camera(), list[PictureDone]()
        for grey in (20, 200):
            frame = camera.takes(grey)
            assert writer.offer(frame, order(tmp_path, frame), done.append)
            assert (camera.in_use, writer.idle) == (1, False)
            await until(lambda: writer.idle, "an answer")
            assert camera.in_use == 0
        assert [d.outcome for d in done] == ["kept", "kept"]
        dark, light = (cv2.imread(str(path)) for path in pictures(tmp_path))
        assert dark.shape == (192, 320, 3)
        assert (abs(int(dark.mean()) - 20), abs(int(light.mean()) - 200)) < (3, 3)

    run(tmp_path, test)


def test_one_that_hangs_costs_one_slot_until_it_is_ended(tmp_path: Path) -> None:
    """Frames go by meanwhile, none waits; then another worker writes."""

    async def test(writer: PictureWriter) -> None:
        camera, tap = Camera(), Tap()
        StoredFrames(tap, writer, tmp_path, every_s=0.001, quality=90)

        def passes() -> None:
            frame = camera.takes()
            tap.offer(frame, seen(frame), time.monotonic())
            frame.release()

        await until(lambda: passes() or pictures(tmp_path), "a first picture")
        await until(lambda: writer.idle, "an answer")
        stopped = writer.worker
        assert stopped is not None
        os.kill(stopped.pid, signal.SIGSTOP)
        await until(lambda: passes() or not writer.idle, "a frame that is due")
        for _ in range(50):
            passes()
            assert camera.in_use == 1
        await until(lambda: writer.worker is not stopped, "the end of the one that hangs")
        assert camera.in_use == 0
        had = len(pictures(tmp_path))
        await until(lambda: passes() or len(pictures(tmp_path)) > had, "another worker")

    run(tmp_path, test, silence_s=2.0)


def seen(frame: Frame) -> Record:
    """What a sink is told of it."""
    return record(frame.seq)


def test_killed_in_the_middle_it_leaves_no_half_picture(tmp_path: Path) -> None:
    """Nor a slot that nobody gives back; what it left under another name goes when the next one starts."""

    async def test(writer: PictureWriter) -> None:
        camera = Camera(4000, 3000, slots=1)
        halves = 0
        while halves < 2:
            frame = camera.takes(None)
            assert writer.offer(frame, order(tmp_path, frame, 100))
            began = writer.worker
            assert began is not None
            await until(lambda: list(tmp_path.rglob("*.tmp")) or writer.idle, "a picture that is begun")
            os.kill(began.pid, signal.SIGKILL)
            await until(lambda: writer.worker is None, "its end")
            halves += len(list(tmp_path.rglob("*.tmp")))
            assert camera.in_use == 0
            pictures(tmp_path)
            await until(lambda: writer.idle, "the pause before the next one")
        frame = camera.takes()
        assert writer.offer(frame, order(tmp_path, frame))
        await until(lambda: writer.idle, "an answer")
        assert list(tmp_path.rglob("*.tmp")) == []

    run(tmp_path, test)


def test_a_short_disk_gets_its_room_back(tmp_path: Path) -> None:
    """Pictures go first, and none is written. The disk of this machine has less free than that."""
    old = tmp_path / "line-1" / f"{picture_stem(time.time() - 60, 1)}.jpg"
    old.parent.mkdir()
    old.write_bytes(b"".join(WHOLE))

    async def test(writer: PictureWriter) -> None:
        camera, done = Camera(), list[PictureDone]()
        frame = camera.takes()
        assert writer.offer(frame, order(tmp_path, frame), done.append)
        await until(lambda: done, "an answer")
        assert (done[0].outcome, camera.in_use) == ("no space", 0)
        assert pictures(tmp_path) == []

    run(tmp_path, test, PictureQuota(1 << 30, 1e9, 1000, min_free_bytes=1 << 60))


def test_a_disk_that_takes_nothing_is_said_and_costs_nothing_else(tmp_path: Path) -> None:
    """Such as one that is read-only: here a file stands where the folder should be."""
    (tmp_path / "line-1").write_text("no folder")

    async def test(writer: PictureWriter) -> None:
        camera, done = Camera(), list[PictureDone]()
        for _ in range(2):
            frame = camera.takes()
            assert writer.offer(frame, order(tmp_path, frame), done.append)
            await until(lambda: writer.idle, "an answer")
        assert [d.outcome for d in done] == ["failed", "failed"]
        assert "line-1" in done[0].why
        assert camera.in_use == 0

    run(tmp_path, test)


def test_old_pictures_go_without_any_new_one(tmp_path: Path) -> None:
    """The cameras are away, or nothing is to be kept any more."""
    old = tmp_path / "line-1" / f"{picture_stem(time.time() - 3600, 1)}.jpg"
    old.parent.mkdir()
    old.write_bytes(b"".join(WHOLE))

    async def test(writer: PictureWriter) -> None:
        writer.start()
        await until(lambda: not old.exists(), "its end")

    run(tmp_path, test, PictureQuota(1 << 30, 60.0, 1000, 0))


def test_it_ends_when_there_is_nothing_to_do(tmp_path: Path) -> None:
    """Its memory with it. The next picture starts another, as does the next look at the archive."""
    (tmp_path / "line-1").mkdir()

    async def test(writer: PictureWriter) -> None:
        camera = Camera()
        for _ in range(2):
            frame = camera.takes()
            assert writer.offer(frame, order(tmp_path, frame))
            await until(lambda: writer.idle, "an answer")
            await until(lambda: writer.worker is None, "its end")
            assert writer.idle
        assert len(pictures(tmp_path)) == 2
        writer.start(sweep_s=0.1)
        await until(lambda: writer.worker is None, "its end")
        await until(lambda: writer.worker, "the next look")

    run(tmp_path, test, idle_s=0.0)


def compared(score: int, frame: Frame, root: Path, keep: int) -> PictureOrder:
    """A picture with two boxes of the incumbent and one of the candidate."""
    incumbent = ((32.0, 48.0, 64.0, 96.0, 0.9, 1), (100.0, 20.0, 140.0, 60.0, 0.8, 0))
    candidate = ((40.0, 50.0, 70.0, 100.0, 0.7, 1),)
    comparison = Comparison(
        DrawnVersion("v1", incumbent, ("dent 0.90", "scratch 0.80")),
        DrawnVersion("v2", candidate, ("dent 0.70",)),
        FrameDifference(lost=score),
        NAMES,
        keep,
        0.0,
    )
    stem = picture_stem(frame.ts, frame.seq, "line-1", score)
    return PictureOrder(root, f"yolo/v2/images/{stem}.jpg", 95, comparison)


def test_the_worst_disagreements_stay_over_a_restart(tmp_path: Path) -> None:
    """Each as a picture, a label and a picture with both sets of boxes; and the folder describes itself."""

    async def offered(writer: PictureWriter, *scores: int) -> list[PictureDone]:
        camera, done = Camera(), list[PictureDone]()
        for score in scores:
            frame = camera.takes(40)
            frame.seq = score
            assert writer.offer(frame, compared(score, frame, tmp_path, keep=2), done.append)
            await until(lambda: writer.idle, "an answer")
        return done

    async def first(writer: PictureWriter) -> None:
        done = await offered(writer, 3, 1, 2)
        assert [(d.outcome, d.least) for d in done] == [("kept", 1), ("kept", 2), ("kept", 3)]

    async def second(writer: PictureWriter) -> None:
        done = await offered(writer, 2, 9)
        assert [(d.outcome, d.least) for d in done] == [("outdone", 3), ("kept", 4)]

    run(tmp_path, first)
    run(tmp_path, second)
    folder = tmp_path / "yolo" / "v2"
    stems = sorted(path.stem for path in (folder / "images").iterdir())
    assert [stem.rpartition("-d")[2] for stem in stems] == ["3", "9"]
    for beside in ("labels", "drawn"):
        assert sorted(path.stem for path in (folder / beside).iterdir()) == stems
    assert (folder / "labels" / f"{stems[0]}.txt").read_text().splitlines() == [
        "1 0.150000 0.375000 0.100000 0.250000",
        "0 0.375000 0.208333 0.125000 0.208333",
    ]
    described = yaml.safe_load((folder / "data.yaml").read_text())
    assert described == {"train": "images", "val": "images", "names": {0: "scratch", 1: "dent"}}
    found = read_set(layout_of(folder), NAMES)
    assert [[label.cls for label in picture.labels] for picture in found.pictures] == [[1, 0], [1, 0]]
    plain, drawn = (cv2.imread(str(folder / of / f"{stems[0]}.jpg")) for of in ("images", "drawn"))
    changed = np.abs(plain.astype(int) - drawn.astype(int)).max(axis=2) > 60
    assert np.abs(plain.astype(int) - 40).max() < 8
    assert changed[48, 34:60].all(), "the incumbent's line is whole"
    assert 0.3 < changed[50, 42:68].mean() < 0.8, "the candidate's is dashed"
    assert changed[:30, :100].mean() > 0.05, "the corner says which is which"
    kept = newest(tmp_path / "yolo", "yolo", 10)
    assert [(k.version, k.against, k.pipeline) for k in kept] == [("v2", "v1", "line-1")] * 2
    assert sorted(k.summary.lost for k in kept if k.summary) == [3, 9]


def test_what_fits_no_message_is_not_taken(tmp_path: Path) -> None:
    """Rather than kill the worker, or raise in the path of a frame."""

    async def test(writer: PictureWriter) -> None:
        camera = Camera()
        frame = camera.takes()
        too_much = DrawnVersion("v1", (), ("x" * 4000,) * 60)
        asked = PictureOrder(
            tmp_path,
            "a/b.jpg",
            90,
            Comparison(too_much, too_much, FrameDifference(), (), keep=1, spacing_s=0.0),
        )
        assert not writer.offer(frame, asked)
        assert writer.offer(frame, order(tmp_path, frame))
        await until(lambda: writer.idle, "an answer")
        assert len(pictures(tmp_path)) == 1

    run(tmp_path, test)


@pytest.mark.parametrize("closed", [False, True])
def test_a_frame_that_finds_it_at_work_goes_by(tmp_path: Path, closed: bool) -> None:
    """Nothing is queued; and nothing is taken any more at the end."""

    async def test(writer: PictureWriter) -> None:
        camera = Camera()
        if closed:
            await writer.close()
        else:
            frame = camera.takes()
            assert writer.offer(frame, order(tmp_path, frame))
        late = camera.takes()
        assert not writer.offer(late, order(tmp_path, late))
        late.release()
        await writer.close()
        assert camera.in_use == 0

    run(tmp_path, test)
