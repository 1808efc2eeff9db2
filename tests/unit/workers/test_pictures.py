# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures to try a version on: golden ones, frames as they come, and what is made of these."""

from __future__ import annotations

import os
from collections import deque
from itertools import islice
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.messages import Ring
from edgeagent.workers.pictures import pattern, pictures_as_they_come, variation
from edgeagent.workers.tasks.prepare import FramesLent, FramesWanted, LentFrame

HEIGHT, WIDTH = 6, 8
SIZE = HEIGHT * WIDTH * 3


class LinePaper:
    """A line on paper: what each of its two cameras shows at each look."""

    def __init__(self, looks: list[tuple[int, int]]) -> None:
        self.fds: deque[int] = deque()
        self.looks = deque(looks)
        self.waiting: deque[Any] = deque()
        self.memory = os.memfd_create("ring")
        os.ftruncate(self.memory, 2 * SIZE)
        self.asked = 0

    def send(self, message: Any) -> None:
        """Frames are wanted: those before may be written over from now on."""
        assert isinstance(message, FramesWanted)
        self.asked += 1
        shown = self.looks.popleft() if len(self.looks) > 1 else self.looks[0]
        os.pwrite(self.memory, b"".join(bytes([value]) * SIZE for value in shown), 0)
        self.fds.append(os.dup(self.memory))
        lent = tuple(LentFrame(1, slot, HEIGHT, WIDTH) for slot in range(len(shown)))
        self.waiting += Ring(1, 2, SIZE), FramesLent(lent)

    def receive(self, timeout_s: float) -> Any:
        """What the node says to that."""
        return self.waiting.popleft()


def seen(line: LinePaper, count: int, golden: tuple[Path, ...] = ()) -> list[np.ndarray[Any, Any]]:
    """The pictures, without the time that they take."""
    channel = cast("WorkerChannel", line)
    return list(pictures_as_they_come(channel, golden, (64, 96), count, sleep=lambda _: None))


def test_frames_are_taken_as_time_goes_by() -> None:
    """Two cameras, of which one stands still; each picture once, and none is written over by a later one."""
    line = LinePaper([(1, 100), (2, 100), (3, 100), (3, 100), (4, 100)])
    assert [int(picture[0, 0, 0]) for picture in seen(line, 5)] == [1, 100, 2, 3, 4]
    assert line.asked == 5


def test_golden_pictures_come_first(tmp_path: Path) -> None:
    """As many as can be read; the line makes up the rest."""
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    cv2.imwrite(str(good), np.full((4, 4, 3), 200, np.uint8))
    bad.write_bytes(b"no picture")
    line = LinePaper([(1, 2)])
    assert [int(picture[0, 0, 0]) for picture in seen(line, 3, (good, bad))] == [200, 1, 2]
    line = LinePaper([(1, 2)])
    assert len(seen(line, 1, (good,))) == 1
    assert line.asked == 0


def test_when_no_new_frame_comes_variations_do() -> None:
    """The line stands still: what it showed, in another light and from elsewhere; no two are alike."""
    pictures = seen(LinePaper([(90, 180)]), 20)
    assert len(pictures) == 20
    assert {picture.shape for picture in pictures} == {(HEIGHT, WIDTH, 3)}
    assert len({picture.tobytes() for picture in pictures}) >= 18


def test_without_any_picture_there_are_test_patterns() -> None:
    """No camera has sent anything yet."""
    line = LinePaper([cast("tuple[int, int]", ())])
    pictures = seen(line, 30)
    assert {picture.shape for picture in pictures} == {(64, 96, 3)}
    assert len({picture.tobytes() for picture in pictures}) == 30


def test_the_same_seed_makes_the_same_picture() -> None:
    """A comparison can be repeated."""
    first = pattern((64, 64), 1)
    assert np.array_equal(first, pattern((64, 64), 1))
    assert np.array_equal(variation(first, 2), variation(first, 2))
    assert not np.array_equal(variation(first, 2), variation(first, 3))


def test_nothing_is_asked_for_that_nobody_looks_at() -> None:
    """The node lends a frame at each look."""
    line = LinePaper([(1, 2)])
    channel = cast("WorkerChannel", line)
    some = pictures_as_they_come(channel, (), (64, 64), 100, sleep=lambda _: None)
    assert len(list(islice(some, 2))) == 2
    assert line.asked == 1
