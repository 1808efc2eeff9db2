# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which frames are offered to the writer of pictures, by whom and when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from edgeagent.config import UpdateConfig
from edgeagent.core.boxes import Box
from edgeagent.core.pairs import FramePair
from edgeagent.core.pictures import read_picture
from edgeagent.serving.frame import Frame
from edgeagent.serving.tap import TAP_FRAMES, Tap
from edgeagent.update.disagreements import ComparedVersion, Disagreements, DisagreementSettings
from edgeagent.update.kept_pictures import KeptPictures
from edgeagent.update.picture_writer import PictureWriter
from edgeagent.update.stored_frames import StoredFrames
from edgeagent.workers.ring import Ring
from edgeagent.workers.tasks.pictures import PictureDone, PictureOrder
from tests.support.sinks import record

A: Box = (100.0, 100.0, 160.0, 160.0, 0.9, 0)
B: Box = (300.0, 100.0, 360.0, 160.0, 0.9, 1)


class PaperWriter(PictureWriter):
    """Takes one at a time, and is done when it is told to."""

    def __init__(self) -> None:
        super().__init__(())
        self.orders: list[PictureOrder] = []
        self.has: tuple[Frame, Callable[[PictureDone], None]] | None = None

    @property
    def idle(self) -> bool:
        """As the real one."""
        return self.has is None

    def offer(
        self, frame: Frame, order: PictureOrder, on_done: Callable[[PictureDone], None] = lambda done: None
    ) -> bool:
        """Take it, and nothing happens yet."""
        if self.has:
            return False
        self.orders.append(order)
        self.has = frame, on_done
        return True

    def done(self, least: int = 0) -> None:
        """It is written."""
        assert self.has
        (frame, on_done), self.has = self.has, None
        frame.release()
        on_done(PictureDone(1, "kept", least=least))


class Camera:
    """Frames with results, offered to a tap."""

    def __init__(self, tap: Tap, name: str) -> None:
        self.tap, self.name, self.seq = tap, name, 0
        self.ring = Ring(1, 4, 1)

    def gives_a_result(self, now: float) -> None:
        """One more frame."""
        frame = self.takes(now)
        self.tap.offer(frame, record(frame.seq), now)
        frame.release()

    def takes(self, now: float) -> Frame:
        """The next frame."""
        slot = self.ring.acquire()
        assert slot is not None
        self.seq += 1
        return Frame(self.name, self.seq, self.ring, slot, 640, 480, 1.8e9 + now, now, lambda _ring: None)

    @property
    def in_use(self) -> int:
        """Slots in use."""
        return self.ring.slots - self.ring.free


def test_a_frame_of_each_pipeline_now_and_then() -> None:
    """Cameras whose frames are due at one instant take turns."""
    tap, writer = Tap(), PaperWriter()
    StoredFrames(tap, writer, Path("/replay"), every_s=10.0, quality=80)
    cameras = [Camera(tap, "a"), Camera(tap, "b")]
    for n in range(210):
        for camera in cameras:
            camera.gives_a_result(n / 10)
            assert camera.in_use <= 1
        if writer.has:
            writer.done()
    assert [order.path.partition("/")[0] for order in writer.orders] == ["a", "b"] * 3
    assert {(order.root, order.quality) for order in writer.orders} == {(Path("/replay"), 80)}
    times = [p.ts for order in writer.orders if (p := read_picture(order.path, 0))]
    assert [round(t - 1.8e9) for t in times[::2]] == [0, 10, 20]


def test_a_writer_that_hangs_costs_one_slot() -> None:
    """And whoever writes next is given a new frame, not one of long ago."""
    tap, writer = Tap(), PaperWriter()
    StoredFrames(tap, writer, Path("/replay"), every_s=1.0, quality=80)
    camera = Camera(tap, "a")
    for n in range(100):
        camera.gives_a_result(float(n))
        assert camera.in_use == 1
    writer.done()
    camera.gives_a_result(100.0)
    found = read_picture(writer.orders[-1].path, 0)
    assert found is not None
    assert (len(writer.orders), found.seq) == (2, 101)


def pair(incumbent: tuple[Box, ...] | None, candidate: tuple[Box, ...] | None) -> FramePair:
    """What two versions found on a frame."""
    return FramePair("line-1", 1, 1.0, 640, 480, incumbent, candidate)


def disagreements(writer: PictureWriter) -> Disagreements:
    """Of v2 beside v1."""
    versions = ComparedVersion("v1", ("scratch", "dent")), ComparedVersion("v2", ("scratch", "dent"))
    settings = DisagreementSettings(keep=20, apart_s=2.0, quality=90)
    return Disagreements(writer, Path("/d"), "yolo/v2", *versions, settings)


@pytest.mark.parametrize("seen", [pair((A, B), (A, B)), pair(None, (A,)), pair((A,), None), pair((), ())])
def test_frames_that_show_no_difference_are_no_pictures(seen: FramePair) -> None:
    """Nor those that one of them gave no answer for."""
    writer, camera = PaperWriter(), Camera(Tap(), "line-1")
    frame = camera.takes(1.0)
    assert not disagreements(writer).offer(seen, frame)
    assert (writer.orders, frame.users) == ([], 1)


def test_a_frame_on_which_they_differ_is_a_picture() -> None:
    """Named after how much; held until it is written, beside the hold of who offered it."""
    writer, camera = PaperWriter(), Camera(Tap(), "line-1")
    kept, frame = disagreements(writer), camera.takes(1.0)
    assert kept.offer(pair((A, B), (B,)), frame)
    frame.release()
    assert camera.in_use == 1
    (order,) = writer.orders
    assert order.path == "yolo/v2/images/20270115T080001.000Z-1-line-1-d1.jpg"
    assert order.comparison is not None
    assert order.comparison.incumbent.labels == ("scratch 0.90", "dent 0.90")
    assert (order.comparison.candidate.boxes, order.comparison.names) == ((B,), ("scratch", "dent"))
    writer.done(least=2)
    assert (camera.in_use, kept.kept, kept.path) == (0, 1, Path("/d/yolo/v2"))


def test_what_differs_less_than_those_that_are_kept_is_left_out() -> None:
    """The worker said how much it takes."""
    writer, camera = PaperWriter(), Camera(Tap(), "line-1")
    kept = disagreements(writer)
    assert kept.offer(pair((A, B), (B,)), camera.takes(1.0))
    writer.done(least=2)
    frame = camera.takes(2.0)
    assert not kept.offer(pair((A, B), (B,)), frame)
    assert kept.offer(pair((A, B), ()), frame)
    other = camera.takes(3.0)
    assert not kept.offer(pair((A, B), ()), other), "the writer is at work"
    assert other.users == 1


def test_the_configuration_says_what_is_kept(tmp_path: Path) -> None:
    """By default no recent frames, and disagreements; what isn't kept has no place in its archive."""
    default = KeptPictures(UpdateConfig(), tmp_path)
    versions = ComparedVersion("v1", ()), ComparedVersion("v2", ())
    assert default.replay_folders(["line-1"]) == ()
    assert default.disagreements("yolo", *versions) is not None
    wanted = UpdateConfig.model_validate(
        {"recent_frames": {"keep": True, "max_bytes": 1 << 20}, "disagreements": {"frames": 0}}
    )
    other = KeptPictures(wanted, tmp_path)
    assert other.replay_folders(["line-1"]) == (tmp_path / "replay" / "line-1",)
    assert other.disagreements("yolo", *versions) is None
    for kept, places in ((default, [0, 1]), (other, [1, 0])):
        archives = cast("PaperWriter", kept.writer)._archives
        assert [min(access.quota.max_pictures, 1) for access in archives] == places
    tap = Tap()
    default.follow(tap)
    tap.subscribe(lambda frame, record: None, fps=1.0, frames=TAP_FRAMES)  # nobody else has taken any
