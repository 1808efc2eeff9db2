# SPDX-License-Identifier: AGPL-3.0-or-later
"""Clips of alarms, within the worker: which frames are in one, when it is done, and what a browser can play of it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from edgeagent.workers.clip_video import FORMS, ClipVideo, VideoForm
from edgeagent.workers.clips import FORGET_S, MAX_CLIPS, ClipKeeper, FrameMemory, KeptFrame
from edgeagent.workers.jpeg import encode_jpeg
from edgeagent.workers.tasks.clips import BeginClip, ClipNews, KeepClips, KeepFrame


def jpeg(width: int = 64, height: int = 48) -> bytes:
    """A grey picture."""
    return encode_jpeg(np.full((height, width, 3), 128, np.uint8), 80)


class Keeper:
    """A keeper into a folder; a frame a second, at whole seconds."""

    def __init__(self, folder: Path, **task: int) -> None:
        self.task = KeepClips(
            folder, **{"max_width": 640, "max_bytes": 1 << 20, "min_free_bytes": 0, **task}, idle_s=9
        )
        self.keeper = ClipKeeper(self.task)
        self.news: list[ClipNews] = []

    def frames(
        self, first: int, last: int, pipeline: str = "line-1", size: tuple[int, int] = (64, 48)
    ) -> None:
        for ts in range(first, last + 1):
            order = KeepFrame(1, 0, size[1], size[0], pipeline, "v1", float(ts), {}, 5.0)
            self.keeper.keep(KeptFrame(float(ts), jpeg(*size)), order)
            self.work(float(ts))

    def begin(self, id: str = "a", at: float = 10.0, pipeline: str = "line-1") -> None:
        self.news += self.keeper.begin(BeginClip(id, pipeline, at, before_s=3.0, after_s=2.0), at)

    def work(self, now: float) -> None:
        while self.keeper.has_work(now):
            self.news += self.keeper.work(now)


def seconds_of(path: Path) -> list[float]:
    """The times of a video's pictures, from its beginning."""
    with av.open(str(path)) as video:
        return [round(float(frame.time), 3) for frame in video.decode(video=0)]


def test_before_and_after(tmp_path: Path) -> None:
    """From three seconds before to two after; the picture is that of the frame itself."""
    k = Keeper(tmp_path)
    k.frames(1, 10)
    k.begin()
    k.frames(11, 14)
    assert [(n.what, n.name) for n in k.news] == [("picture", "a.jpg"), ("clip", "a.mp4")]
    assert seconds_of(tmp_path / "a.mp4") == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "a.mp4"]


def test_a_pipeline_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    """Once no clip can be about it, while others go on."""
    k = Keeper(tmp_path)
    k.frames(1, 10, "line-1")
    k.frames(5, 5 + int(FORGET_S), "line-2")
    assert set(k.keeper.pipelines) == {"line-1", "line-2"}
    k.frames(6 + int(FORGET_S), 11 + int(FORGET_S), "line-2")
    assert set(k.keeper.pipelines) == {"line-2"}


def test_the_frame_itself_is_on_its_way(tmp_path: Path) -> None:
    """It is offered after the alarm was raised by it."""
    k = Keeper(tmp_path)
    k.frames(1, 9)
    k.begin()
    k.work(10.0)
    assert not [n for n in k.news if n.what == "picture"]
    k.frames(10, 10)
    assert [(n.what, n.name) for n in k.news] == [("picture", "a.jpg")]


def test_a_camera_that_goes_away(tmp_path: Path) -> None:
    """The clip has what there was; without a frame there is none, and that is said."""
    k = Keeper(tmp_path)
    k.frames(8, 10)
    k.begin("a")
    k.begin("b", pipeline="line-2")
    k.work(11.0)
    k.work(16.0)
    assert {(n.id, n.what, n.name) for n in k.news} == {
        ("a", "picture", "a.jpg"),
        ("a", "clip", "a.mp4"),
        ("b", "picture", ""),
        ("b", "clip", ""),
    }
    assert seconds_of(tmp_path / "a.mp4") == [0.0, 1.0, 2.0]


def test_a_camera_that_changes_its_size(tmp_path: Path) -> None:
    """The clip stays as it began."""
    k = Keeper(tmp_path)
    k.frames(8, 10)
    k.begin()
    k.frames(11, 13, size=(128, 97))
    assert len(seconds_of(tmp_path / "a.mp4")) == 5


@pytest.mark.parametrize("task", [{"max_bytes": 10}, {"min_free_bytes": 1 << 60}])
def test_a_disk_that_is_short(tmp_path: Path, task: dict[str, int]) -> None:
    """Nothing is written."""
    k = Keeper(tmp_path, **task)
    k.frames(8, 10)
    k.begin()
    k.frames(11, 13)
    assert [n.name for n in k.news] == ["", ""]
    assert list(tmp_path.iterdir()) == []


def test_too_many_at_a_time(tmp_path: Path) -> None:
    """Are refused at once."""
    k = Keeper(tmp_path)
    for n in range(MAX_CLIPS + 1):
        k.begin(f"id-{n}")
    assert {n.id for n in k.news} == {f"id-{MAX_CLIPS}"}


def test_what_is_remembered() -> None:
    """So many seconds, and the one before; a clock that is set back begins anew."""
    memory = FrameMemory()
    for ts in range(20):
        memory.add(KeptFrame(float(ts), b"12"), keep_s=5.0)
    assert [f.ts for f in memory.frames] == [13.0, 14.0, 15.0, 16.0, 17.0, 18.0, 19.0]
    assert memory.size == 14
    memory.add(KeptFrame(3.0, b"12"), keep_s=5.0)
    assert [f.ts for f in memory.frames] == [3.0]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.encoder)
def test_what_a_browser_plays(tmp_path: Path, form: VideoForm) -> None:
    """Even sides, colours at half their size; what begins with its index is shown before all of it is there."""
    video = ClipVideo(form, 65, 49)
    for n in range(5):
        video.add(np.full((49, 65, 3), 40 * n, np.uint8), n / 5 if n != 3 else 0.4)  # times may come twice
    path = tmp_path / f"x{form.suffix}"
    path.write_bytes(video.finish())
    with av.open(str(path)) as opened:
        stream = opened.streams.video[0]
        assert (stream.codec_context.pix_fmt, stream.width, stream.height) == ("yuv420p", 64, 48)
        assert len(list(opened.decode(video=0))) == 5
    data = path.read_bytes()
    assert form.format != "mp4" or 0 < data.find(b"moov") < data.find(b"mdat")
    ClipVideo(form, 64, 48).discard()
