# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras that die, hang, freeze, go away and come back; files and folders with their faults. Real workers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from edgeagent.config import SourceConfig
from edgeagent.errors import UnavailableError
from edgeagent.serving.camera import CaptureSettings
from edgeagent.workers.probe import probe_source
from tests.support import films
from tests.support.filming import Filming
from tests.support.live_stream import LiveStream
from tests.support.mjpeg import MjpegCamera

RING_SLOTS = CaptureSettings().slots


@pytest.fixture
def camera() -> Iterator[MjpegCamera]:
    """An HTTP camera, running."""
    with MjpegCamera() as camera:
        yield camera


def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    """Each frame once, in order, at full speed; then the source has ended, and its worker rests."""

    async def steps() -> None:
        async with Filming(films.video(tmp_path / "film.mp4", 90)) as film:
            await film.until_state("ended")
            assert film.numbers == film.seqs == list(range(90))
            assert film.capture.pid is not None
            assert film.capture.source.why == "after 90 frames"
        assert film.capture.pid is None
        assert len(film.rings_gone) == 1

    asyncio.run(steps())


def test_a_worker_at_rest_is_not_taken_for_hung(tmp_path: Path) -> None:
    """At the end of a file it still gives signs of life: after longer than a hang would take it is the same one."""

    async def steps() -> None:
        async with Filming(films.video(tmp_path / "film.avi", 3), stall_seconds=0.1) as film:
            await film.until_state("ended")
            pid, since = film.capture.pid, time.monotonic()
            await film.until(lambda: film.capture.pid != pid or time.monotonic() > since + 4.5)
            assert (film.capture.pid, film.restarts, film.capture.source.state) == (pid, 0, "ended")

    asyncio.run(steps())


@pytest.mark.parametrize("kind", ["mp4", "folder"])
def test_killed_again_and_again_it_loses_no_frame(tmp_path: Path, kind: str) -> None:
    """kill -9 of the worker at four places of a file: each frame comes once, in order, under its own number."""

    async def steps() -> None:
        make = films.folder if kind == "folder" else films.video
        async with Filming(make(tmp_path / f"film.{kind}", 100), fps=100) as film:
            for at in (1, 30, 31, 60):
                await film.until(
                    lambda at=at: len(film.seqs) >= at and film.capture.source.state == "running"
                )
                pid = film.capture.pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                await film.until(lambda pid=pid: film.capture.pid not in (None, pid))
            await film.until_state("ended")
            assert film.numbers == film.seqs == list(range(100))
            assert film.restarts == 4
            assert film.dropped == {"busy": 0, "unreadable": 0}

    asyncio.run(steps())


def test_a_killed_camera_comes_back() -> None:
    """kill -9 of the worker of a live source: frames flow again, and numbers go on."""

    async def steps() -> None:
        async with Filming("synthetic://conveyor?width=160&height=120") as film:
            await film.until(lambda: len(film.seqs) > 5)
            assert film.capture.pid is not None
            os.kill(film.capture.pid, signal.SIGKILL)
            await film.until_state("restarting")
            assert "SIGKILL" in film.capture.source.why
            seen = len(film.seqs)
            await film.until(lambda: len(film.seqs) > seen)
            assert film.seqs == sorted(set(film.seqs))
            assert film.seqs[-1] + 1 - len(film.seqs) == film.dropped["busy"]

    asyncio.run(steps())


def test_a_hung_worker_is_killed_and_nothing_is_lost(tmp_path: Path) -> None:
    """A worker that neither reads nor beats is replaced, although it will not end by itself."""

    async def steps() -> None:
        async with Filming(films.video(tmp_path / "film.avi", 60), fps=60, stall_seconds=0.5) as film:
            await film.until(lambda: len(film.seqs) > 1)
            hung = film.capture.pid
            assert hung is not None
            os.kill(hung, signal.SIGSTOP)
            await film.until_state("restarting")
            assert "no sign of life" in film.capture.source.why
            assert not Path(f"/proc/{hung}").exists()
            await film.until_state("ended")
            assert film.numbers == film.seqs == list(range(60))

    asyncio.run(steps())


def test_a_file_waits_for_whoever_is_slow(tmp_path: Path) -> None:
    """Frames that are not released fill the ring, and the file waits; then it goes on without a gap."""

    async def steps() -> None:
        async with Filming(films.video(tmp_path / "film.avi", 40), keep=True) as film:
            await film.until(lambda: len(film.seqs) == RING_SLOTS)
            await asyncio.sleep(0.3)  # nothing may come: there is no condition to wait for
            assert len(film.seqs) == RING_SLOTS
            film.capture.pause(True)
            film.release()
            await asyncio.sleep(0.3)
            assert len(film.seqs) == RING_SLOTS
            film.capture.pause(False)
            await film.until_state("ended")
            assert film.numbers == film.seqs == list(range(40))
            assert film.dropped["busy"] == 0

    asyncio.run(steps())


def test_a_live_source_drops_and_counts() -> None:
    """With no slot free a live source goes on; each frame that nobody saw is counted, and its number is missing."""

    async def steps() -> None:
        async with Filming("synthetic://conveyor?width=160&height=120", keep=True, fps=200) as film:
            await film.until(lambda: len(film.seqs) == RING_SLOTS)
            await asyncio.sleep(0.3)  # time in which frames are dropped
            film.release()
            await film.until(lambda: len(film.seqs) > RING_SLOTS + 5)
            missing = film.seqs[-1] + 1 - len(film.seqs)
            assert missing == film.dropped["busy"] > 10
            assert film.seqs == sorted(set(film.seqs))
            assert film.capture.source.captured == film.seqs[-1] + 1

    asyncio.run(steps())


def test_a_looped_file_starts_again(tmp_path: Path) -> None:
    """The first frame follows the last, also when the worker is killed in the third pass."""

    async def steps() -> None:
        async with Filming(films.video(tmp_path / "film.avi", 10), loop=True, fps=100) as film:
            await film.until(lambda: len(film.seqs) >= 25)
            assert film.capture.pid is not None
            os.kill(film.capture.pid, signal.SIGKILL)
            await film.until(lambda: len(film.seqs) >= 50 and film.restarts == 1)
            assert film.numbers == [n % 10 for n in film.seqs]
            assert film.seqs == list(range(len(film.seqs)))

    asyncio.run(steps())


def test_a_folder_of_stills_at_its_pace(tmp_path: Path) -> None:
    """20 images at 40 a second take half a second, and not the time of another pace."""

    async def steps() -> None:
        async with Filming(films.folder(tmp_path / "parts", 21), fps=40) as film:
            await film.until_state("ended")
            assert 0.3 < film.monos[-1] - film.monos[0] < 0.95  # the first or the last may be late

    asyncio.run(steps())


def test_an_unreadable_image_is_counted_and_named(tmp_path: Path) -> None:
    """The line goes on; metric, number and status say what is missing."""
    folder = films.folder(tmp_path / "parts", 6)
    (folder / "part 2.png").write_bytes(b"this is no image")

    async def steps() -> None:
        async with Filming(folder) as film:
            await film.until_state("ended")
            assert film.numbers == film.seqs == [0, 1, 3, 4, 5]
            assert film.dropped == {"busy": 0, "unreadable": 1}
            assert "part 2.png" in film.capture.source.last_error

    asyncio.run(steps())


def test_a_folder_with_nothing_readable_says_so(tmp_path: Path) -> None:
    """A looped folder of broken files doesn't spin: it is unreadable, until an image can be read."""
    folder = films.folder(tmp_path / "parts", 1)
    whole = (folder / "part 0.png").read_bytes()
    (folder / "part 0.png").write_bytes(b"broken")

    async def steps() -> None:
        async with Filming(folder, loop=True, fps=20) as film:
            await film.until_state("unreadable")
            (folder / "part 0.png").write_bytes(whole)
            await film.until(lambda: len(film.seqs) > 3)
            assert film.capture.source.state == "running"

    asyncio.run(steps())


def test_pictures_that_are_uploaded_later_are_looked_at(tmp_path: Path) -> None:
    """Of a folder that is watched: what is there, what comes, each once, also when the worker is killed and what was
    seen is deleted. A half-written file waits until it is whole."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    whole = cv2.imencode(".jpg", films.picture(2))[1].tobytes()

    async def steps() -> None:
        async with Filming(folder, watch=True) as film:
            await film.until_state("waiting")
            cv2.imwrite(str(folder / "0.png"), films.picture(0))
            await film.until(lambda: film.numbers == [0])
            cv2.imwrite(str(folder / "1.png"), films.picture(1))
            (folder / "2.jpg").write_bytes(whole[: len(whole) // 2])
            await film.until(lambda: film.numbers == [0, 1])
            assert film.capture.pid is not None
            os.kill(film.capture.pid, signal.SIGKILL)
            (folder / "0.png").unlink()
            await film.until(lambda: film.restarts == 1 and film.capture.pid is not None)
            (folder / "2.jpg").write_bytes(whole)
            await film.until(lambda: len(film.numbers) > 2)
            assert (film.numbers, film.seqs) == ([0, 1, 2], [0, 1, 2])
            assert film.capture.source.state == "running"
            folder.rename(tmp_path / "away")
            await film.until_state("lost")
            (tmp_path / "away").rename(folder)
            cv2.imwrite(str(folder / "3.png"), films.picture(3))
            await film.until(lambda: film.numbers[-1] == 3)
            assert (film.numbers, film.restarts) == ([0, 1, 2, 3], 1)
            assert sum(film.dropped.values()) == 0

    asyncio.run(steps())


def test_images_of_different_sizes(tmp_path: Path) -> None:
    """Smaller ones use the same ring; a larger one gets a new ring, and the old one goes."""
    folder = tmp_path / "parts"
    folder.mkdir()
    sizes = [(160, 120), (80, 60), (320, 240), (160, 120), (640, 480)]
    for n, (width, height) in enumerate(sizes):
        cv2.imwrite(str(folder / f"{n}.png"), films.picture(n, width, height))

    async def steps() -> None:
        async with Filming(folder) as film:
            await film.until_state("ended")
            assert film.numbers == [0, 1, 2, 3, 4]
            assert film.sizes == sizes
            assert len(film.rings_gone) == 2
        assert len(film.rings_gone) == 3

    asyncio.run(steps())


def test_a_camera_that_goes_away_and_comes_back(camera: MjpegCamera) -> None:
    """Frames; lost, with the reason; frames again, from the same worker."""

    async def steps() -> None:
        async with Filming(camera.url) as film:
            await film.until(lambda: len(film.seqs) > 5)
            pid = film.capture.pid
            camera.stop()
            await film.until_state("lost")
            await film.until(lambda: "cannot connect to 127.0.0.1" in film.capture.source.why)
            seen = len(film.seqs)
            camera.start()
            await film.until(lambda: len(film.seqs) > seen + 5)
            assert film.capture.source.state == "running"
            assert (film.capture.pid, film.restarts) == (pid, 0)
            assert film.seqs == sorted(set(film.seqs))

    asyncio.run(steps())


def test_a_camera_that_falls_silent_is_lost(camera: MjpegCamera) -> None:
    """The connection stays open and nothing comes: after `stall_seconds` it is opened anew."""

    async def steps() -> None:
        async with Filming(camera.url, stall_seconds=1) as film:
            await film.until(lambda: len(film.seqs) > 5)
            camera.silent = True
            await film.until_state("lost")
            camera.silent = False
            seen = len(film.seqs)
            await film.until(lambda: len(film.seqs) > seen + 5)
            assert camera.connections >= 2

    asyncio.run(steps())


def test_frames_that_the_network_held_back_are_left_out_and_counted() -> None:
    """Held for three seconds: none that is older than `max_age_seconds` comes; those that come say when they were
    taken, and numbers have a gap for each that was left out."""

    async def steps() -> None:
        with LiveStream() as camera:
            async with Filming(camera.url, max_age_seconds=1) as film:
                await film.until(lambda: len(film.seqs) > 10)
                left_out, seen = film.dropped.get("stale", 0), len(film.seqs)
                camera.held = True
                await asyncio.sleep(3)
                camera.held = False
                await film.until(
                    lambda: film.dropped.get("stale", 0) > left_out + 10 and len(film.seqs) > seen + 25
                )
                assert (film.capture.source.state, film.restarts, camera.connections) == ("running", 0, 1)
                taken = [camera.taken[n] for n in film.numbers]
                assert film.monos[5:] == pytest.approx(taken[5:], abs=0.5)
                assert film.seqs[-1] + 1 - len(film.seqs) == sum(film.dropped.values())

    asyncio.run(steps())


def test_a_link_that_is_too_slow_is_opened_again() -> None:
    """Frames come ever later; after `stall_seconds` without one that is new enough the backlog is dropped."""

    async def steps() -> None:
        with LiveStream() as camera:
            async with Filming(camera.url, max_age_seconds=0.5, stall_seconds=2) as film:
                await film.until(lambda: len(film.seqs) > 10)
                camera.bytes_per_s = 4000
                await film.until_state("lost")
                assert "late: the network or the camera is too slow" in film.capture.source.why
                assert film.dropped["stale"] > 5
                camera.bytes_per_s = None
                await film.until_state("running")
                assert camera.connections >= 2

    asyncio.run(steps())


def test_a_frozen_camera_is_noticed(camera: MjpegCamera) -> None:
    """The same picture again and again: frames go on, and the state says what they are worth."""

    async def steps() -> None:
        async with Filming(camera.url, stall_seconds=1) as film:
            await film.until(lambda: len(film.seqs) > 5)
            assert film.capture.source.state == "running"
            camera.moving = False
            await film.until_state("frozen")
            assert "same picture" in film.capture.source.why
            seen = len(film.seqs)
            await film.until(lambda: len(film.seqs) > seen)
            camera.moving = True
            await film.until_state("running")

    asyncio.run(steps())


def test_a_device_that_is_not_there_is_absent() -> None:
    """It is tried again by the same worker, which stays responsive; a line beside it is untouched."""

    async def steps() -> None:
        async with (
            Filming("/dev/video99") as absent,
            Filming("synthetic://conveyor?width=160&height=120") as other,
        ):
            await absent.until_state("absent")
            assert absent.capture.source.why == "/dev/video99: no such device"
            seen = len(other.seqs)
            await other.until(lambda: len(other.seqs) > seen + 30)
            assert (absent.restarts, other.restarts) == (0, 0)
            assert absent.capture.worker is not None
            await absent.until(
                lambda: absent.capture.worker is not None and absent.capture.worker.silent_s < 0.5
            )

    asyncio.run(steps())


def test_a_file_that_appears_later_is_taken(tmp_path: Path) -> None:
    """Absent first, then read from its first frame."""
    path = tmp_path / "film.avi"

    async def steps() -> None:
        async with Filming(path) as film:
            await film.until_state("absent")
            films.video(tmp_path / "other.avi", 5).rename(path)
            await film.until_state("ended")
            assert film.numbers == [0, 1, 2, 3, 4]

    asyncio.run(steps())


_NODE = """
import asyncio, os, sys
from edgeagent.config import PipelineConfig
from edgeagent.serving.camera import Capture, CaptureObserver

async def main():
    def frame(f):
        print("frame", capture.pid, os.fstat(f.ring.fd).st_ino, flush=True)
    config = {"name": "a", "model": "m", "source": {"url": "synthetic://conveyor?width=160&height=120"}}
    capture = Capture(PipelineConfig.model_validate(config), CaptureObserver(frame))
    capture.start()
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_a_killed_node_leaves_nothing_behind() -> None:
    """kill -9 of the node while frames flow: the worker ends, and nobody maps the ring any more."""
    node = subprocess.Popen([sys.executable, "-c", _NODE], stdout=subprocess.PIPE, text=True)
    try:
        assert node.stdout is not None
        words = next(line.split() for line in node.stdout if line.startswith("frame"))
        worker, inode = int(words[1]), int(words[2])
        assert _maps_ring(worker, inode)
    finally:
        node.kill()
        node.wait()
        if node.stdout:
            node.stdout.close()
    deadline = time.monotonic() + 120
    while _runs(worker):
        assert time.monotonic() < deadline, "the worker outlives its node"
        time.sleep(0.02)
    assert not [pid for pid in os.listdir("/proc") if pid.isdecimal() and _maps_ring(int(pid), inode)]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _maps_ring(pid: int, inode: int) -> bool:
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return False
    return any("memfd:edgeagent-ring" in line and line.split()[4] == str(inode) for line in lines)


def test_probe_says_what_a_source_gives(tmp_path: Path, camera: MjpegCamera) -> None:
    """Size and pace of a file, a folder and a camera; the worker is gone afterwards."""
    assert probe_source(SourceConfig(url=str(films.video(tmp_path / "f.avi", 3)))) == "160x120, 25.0 fps"
    assert (
        probe_source(SourceConfig(url=str(films.folder(tmp_path / "parts", 2))))
        == "160x120, no frame rate of its own"
    )
    assert probe_source(SourceConfig(url=camera.url), 30).startswith("160x120, ")


def test_probe_says_why_there_is_nothing(tmp_path: Path, camera: MjpegCamera) -> None:
    """Absent, broken, silent: an UnavailableError with the reason, in time."""
    (tmp_path / "broken.png").write_bytes(b"no")
    with pytest.raises(UnavailableError, match="no such device"):
        probe_source(SourceConfig(url="/dev/video99"))
    with pytest.raises(UnavailableError, match=r"broken\.png: is broken"):
        probe_source(SourceConfig(url=str(tmp_path / "broken.png")))
    camera.silent = True
    with pytest.raises(UnavailableError, match="no frame within 3 s"):
        probe_source(SourceConfig(url=camera.url), 3)


def test_the_node_side_loads_no_picture_library() -> None:
    """Neither cv2 nor numpy: the node never touches pixels, and its memory is counted."""
    code = (
        "import sys, edgeagent.serving.camera, edgeagent.sinks.queue, edgeagent.workers.probe\n"
        "print(sorted({'cv2', 'numpy', 'torch'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
