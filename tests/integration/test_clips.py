# SPDX-License-Identifier: AGPL-3.0-or-later
"""Clips of alarms: a real ring and a real worker, and what is left of its folder."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from edgeagent.alarms.clips import ClipNeeds, ClipRecorder, find_file, sweep
from edgeagent.config.alarms import ClipsConfig
from edgeagent.core.alarms.rules import Clip
from edgeagent.core.pictures import PictureQuota
from edgeagent.errors import NotFoundError
from edgeagent.serving.tap import Tap
from tests.support.ring_camera import Camera, until
from tests.support.sinks import record

CONFIG = ClipsConfig(min_free_bytes=0)


def test_a_clip_of_a_line(tmp_path: Path) -> None:
    """Picture and video are there, whole; each frame is given back; without rules nobody subscribes."""

    async def run() -> None:
        news: list[tuple[str, str]] = []
        recorder, tap, camera = (
            ClipRecorder(tmp_path, lambda id, what: news.append((id, what))),
            Tap(),
            Camera(),
        )
        needs = {"line-1": ClipNeeds(before_s=60.0, fps=15.0)}
        recorder.configure(CONFIG, needs, {tap})

        async def show_frames(enough: Callable[[], object]) -> None:
            while not enough():
                frame = camera.takes()
                tap.offer(frame, record(frame.seq), frame.mono)
                frame.release()
                await asyncio.sleep(0.02)

        await show_frames(lambda: recorder.worker)
        await show_frames(lambda: recorder._worker.idle)  # it has answered
        # So long before that there is a frame in it, however slow the worker, whose priority is the lowest.
        recorder.begin("a", "line-1", time.time(), Clip(60.0, 0.5, 15.0))
        await show_frames(lambda: ("a", "clip") in news)
        assert news == [("a", "picture"), ("a", "clip")]
        path, media_type = await recorder.file("a", "clip")
        assert media_type == "video/mp4"
        with av.open(str(path)) as video:
            assert (video.streams.video[0].width, len(list(video.decode(video=0))) > 0) == (320, True)
        assert (await recorder.file("a", "picture"))[0].read_bytes()[:2] == b"\xff\xd8"
        with pytest.raises(NotFoundError):
            await recorder.file("b", "clip")

        assert recorder.worker
        os.kill(recorder.worker.pid, signal.SIGKILL)  # costs a clip, and no frame
        await until(lambda: recorder.worker is None, "the worker is gone")
        recorder.configure(CONFIG, {}, set())
        await recorder.close()
        await until(lambda: camera.in_use == 0, "all frames are back")
        assert not tap._subscriptions

    asyncio.run(run())


def test_what_has_to_go(tmp_path: Path) -> None:
    """The oldest, with all that belongs to it; what somebody else put there stays."""
    for age, id in enumerate(("new", "older", "old")):
        for suffix in (".jpg", ".mp4"):
            path = tmp_path / (id + suffix)
            path.write_bytes(bytes(100))
            os.utime(path, (1000 - age, 1000 - age))
    (tmp_path / "notes.txt").write_text("mine")
    quota = PictureQuota(max_bytes=450, max_age_s=3600, max_pictures=1000, min_free_bytes=0)
    assert sweep(tmp_path, quota, 1000.0) == {"old"}
    assert sweep(tmp_path, PictureQuota(450, 0.5, 1000, 0), 1000.0) == {"older"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new.jpg", "new.mp4", "notes.txt"]
    assert find_file(tmp_path, "old", "clip") is None
    assert sweep(tmp_path / "gone", quota, 1000.0) == set()
