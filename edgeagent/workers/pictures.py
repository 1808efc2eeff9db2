# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pictures on which a version is tried: golden ones, what the cameras see, and what is made of these."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from edgeagent.runtimes.port import Image
from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.messages import Ring
from edgeagent.workers.ring import RingView
from edgeagent.workers.tasks.prepare import FramesLent, FramesWanted

_FRAMES_S = 5.0
_LOOK_S = 0.5  # between two looks at the line: it keeps a new frame of each pipeline as often
_STILL_S = 5.0  # without a new frame: nothing will come
_KEPT = 8  # pictures to make others of


class LineFrames:
    """What the line sees, for a worker that asks now and then. Copies: the node has its slots back at the next look,
    or when the worker ends, and the rings aren't mapped meanwhile."""

    def __init__(self, channel: WorkerChannel) -> None:
        self._channel = channel

    def take(self) -> list[Image]:
        """The newest frame of each pipeline, H×W×3 BGR."""
        self._channel.send(FramesWanted())
        rings: dict[int, RingView] = {}
        try:
            while True:
                message = self._channel.receive(_FRAMES_S)
                match message:
                    case Ring(ring, slots, slot_bytes):
                        rings[ring] = RingView(self._channel.fds.popleft(), slots, slot_bytes)
                    case FramesLent(frames):
                        return [rings[f.ring].image(f.slot, f.height, f.width).copy() for f in frames]
                    case _:
                        raise SystemExit(f"asked for frames, got {message!r}")
        finally:
            for view in rings.values():
                view.close()


def pictures_as_they_come(
    channel: WorkerChannel,
    golden: Sequence[Path],
    imgsz: tuple[int, int],
    count: int,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Image]:
    """`count` pictures, each another: the golden ones, then frames of the line as time goes by; when no more come,
    variations of these, or of test patterns of `imgsz` (height, width)."""
    given = 0
    kept: list[Image] = []
    for picture in _golden_then_line(channel, golden, sleep):
        if len(kept) < _KEPT:
            kept.append(picture)
        yield picture
        given += 1
        if given == count:
            return
    kept = kept or [pattern(imgsz, i) for i in range(_KEPT)]
    for i in range(count - given):
        yield variation(kept[i % len(kept)], i)


def _golden_then_line(
    channel: WorkerChannel, golden: Sequence[Path], sleep: Callable[[float], None]
) -> Iterator[Image]:
    yield from read_golden(golden)
    line, seen, idle_s = LineFrames(channel), set[int](), 0.0
    while idle_s < _STILL_S:
        new = 0
        for picture in line.take():
            if (mark := zlib.crc32(picture.data)) not in seen:
                seen.add(mark)
                new += 1
                yield picture
        idle_s = 0.0 if new else idle_s + _LOOK_S
        sleep(_LOOK_S)


def read_golden(paths: Sequence[Path]) -> Iterator[Image]:
    """Those that can be read."""
    for path in paths:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is not None:
            yield np.asarray(picture, np.uint8)


def pattern(imgsz: tuple[int, int], seed: int) -> Image:
    """A test pattern of soft spots, of `imgsz` (height, width); another for each seed."""
    height, width = imgsz
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def variation(picture: Image, seed: int) -> Image:
    """The picture in another light, from another place, perhaps mirrored; another for each seed."""
    random = np.random.default_rng(seed)
    gain, lift = random.uniform(0.6, 1.4), random.uniform(-25, 25)
    height, width = picture.shape[:2]
    x, y = random.uniform(-0.1, 0.1, 2) * (width, height)
    zoom = random.uniform(0.85, 1.15)
    moved = cv2.warpAffine(
        picture, np.array([[zoom, 0, x], [0, zoom, y]]), (width, height), borderMode=cv2.BORDER_REPLICATE
    )
    if random.random() < 0.5:
        moved = cv2.flip(moved, 1)
    return np.asarray(cv2.convertScaleAbs(moved, alpha=gain, beta=lift), np.uint8)
