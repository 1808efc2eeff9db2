# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node's side of a camera, against a worker that the test plays itself: no process, no waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from edgeagent.config import PipelineConfig
from edgeagent.serving import camera as capture_module
from edgeagent.serving.camera import Capture, CaptureObserver, CaptureSettings
from edgeagent.serving.frame import Frame
from edgeagent.workers import messages
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.messages import Captured, Grant, Heartbeat, Message
from edgeagent.workers.process import Exit
from edgeagent.workers.tasks.capture import (
    FirstFrameBegun,
    FrameStale,
    FrameUnreadable,
    PictureBegun,
    SourceBusy,
    SourceOpened,
    SourceState,
    TakenPictures,
)
from edgeagent.workers.tasks.engine import LoadFailed

RING_SLOTS = CaptureSettings().slots


class Worker:
    """What Capture sees of a worker. `said`: what the node sent."""

    def __init__(
        self,
        position: int,
        on_message: Callable[[Message], None],
        on_exit: Callable[[Exit], None],
        limits: WorkerLimits,
        taken: TakenPictures,
    ) -> None:
        self.position, self.limits, self.taken = position, limits, taken
        self.say, self._on_exit = on_message, on_exit
        self.pid = 4711
        self.said: list[Message] = []
        self.killed: str | None = None

    def send(self, message: Message, fds: object = ()) -> None:
        self.said.append(message)

    def kill(self, why: str = "") -> None:
        self.killed = why
        asyncio.get_running_loop().call_soon(self.die)

    def die(self) -> None:
        """The process has ended."""
        self._on_exit(Exit(-9, self.killed or ""))

    @property
    def grants(self) -> list[Grant]:
        """Since the last Ring."""
        last = max((i for i, m in enumerate(self.said) if isinstance(m, messages.Ring)), default=-1)
        return [m for m in self.said[last + 1 :] if isinstance(m, Grant)]

    def open(self, width: int = 16, height: int = 8) -> None:
        """Hold a first frame."""
        self.say(SourceOpened(width, height, 25.0, 0))

    def frame(self, position: int, grant: Grant | None = None, skipped: int = 0, width: int = 16) -> None:
        """Deliver a frame in a granted slot."""
        grant = grant or self.grants[position % RING_SLOTS]
        self.say(Captured(grant.ring, grant.slot, position, skipped, width, 8, 1.0, time.monotonic()))


class Line:
    """A Capture with what it told, and the workers that it started."""

    def __init__(self, workers: list[Worker], **source: Any) -> None:
        self.workers = workers
        self.frames: list[Frame] = []
        self.dropped: list[tuple[str, int]] = []
        self.rings_gone: list[int] = []
        self.errors: list[str] = []
        self.restarts = 0
        config = PipelineConfig.model_validate(
            {"name": "line", "model": "m", "source": {"url": "/film.mp4", **source}}
        )
        self.capture = Capture(
            config,
            CaptureObserver(
                self.frames.append,
                lambda reason, n: self.dropped.append((reason, n)),
                self.rings_gone.append,
                self._restarted,
                self.errors.append,
            ),
            CaptureSettings(backoff_s=(0.0, 0.01)),
        )
        self.capture.start()

    @property
    def worker(self) -> Worker:
        """The one of now."""
        return self.workers[-1]

    def _restarted(self) -> None:
        self.restarts += 1

    async def respawned(self, count: int) -> None:
        """Wait until so many workers were started in all."""
        async with asyncio.timeout(10):
            while len(self.workers) < count:
                await asyncio.sleep(0.001)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[Worker]:
    """Played workers instead of processes."""
    started: list[Worker] = []

    def start(source: object, *task: Any) -> Worker:
        started.append(Worker(*task))
        return started[-1]

    monkeypatch.setattr(capture_module, "start_capture_worker", start)
    return started


def run(steps: Coroutine[Any, Any, None]) -> None:
    """Run a test's steps on a loop of their own."""
    asyncio.run(steps)


def test_every_free_slot_is_granted_at_once(workers: list[Worker]) -> None:
    """The camera never waits for a message while there is room."""

    async def steps() -> None:
        line = Line(workers)
        line.worker.open()
        assert len(line.worker.grants) == RING_SLOTS
        line.worker.frame(0)
        line.worker.frame(1)
        assert len(line.worker.grants) == RING_SLOTS
        line.frames[1].release()
        assert line.worker.grants[-1].slot == line.frames[1].slot
        assert [f.seq for f in line.frames] == [0, 1]
        await line.capture.stop()

    run(steps())


def test_skipped_frames_take_numbers_and_are_counted_by_reason(workers: list[Worker]) -> None:
    """One unreadable and two for which there was no slot: three numbers are missing, and told."""

    async def steps() -> None:
        line = Line(workers, live=True)
        line.worker.open()
        line.worker.frame(0)
        line.worker.say(FrameUnreadable("b.jpg: is broken"))
        line.worker.frame(4, skipped=3)
        assert [f.seq for f in line.frames] == [0, 4]
        assert line.dropped == [("unreadable", 1), ("busy", 2)]
        assert (line.capture.source.captured, line.capture.source.frames) == (5, 2)
        assert line.capture.source.last_error == "b.jpg: is broken"
        await line.capture.stop()

    run(steps())


def test_a_dead_worker_is_replaced_behind_its_last_frame(workers: list[Worker]) -> None:
    """The next one goes on at the next position, in the same ring, with the slots that the dead one had."""

    async def steps() -> None:
        line = Line(workers)
        line.worker.open()
        for i in range(3):
            line.worker.frame(i)
        ring = line.frames[0].ring
        assert ring.free == 0
        line.worker.die()
        assert ring.free == RING_SLOTS - 3
        assert line.capture.source.state == "restarting"
        await line.respawned(2)
        assert line.worker.position == 3
        line.worker.open()
        assert {g.ring for g in line.worker.grants} == {ring.id}
        assert len(line.worker.grants) == RING_SLOTS - 3
        line.worker.frame(3, line.worker.grants[0])
        assert [f.seq for f in line.frames] == [0, 1, 2, 3]
        assert (line.capture.source.state, line.restarts) == ("running", 1)
        await line.capture.stop()

    run(steps())


def test_a_larger_frame_gets_a_larger_ring_and_the_old_one_goes(workers: list[Worker]) -> None:
    """The old ring lives as long as a frame in it is in use, and is said to be gone once."""

    async def steps() -> None:
        line = Line(workers)
        line.worker.open(16, 8)
        line.worker.frame(0)
        old = line.frames[0].ring
        line.worker.open(1600, 800)
        new = line.worker.grants[0].ring
        assert new != old.id
        assert line.rings_gone == []
        assert old.fd >= 0
        line.frames[0].release()
        assert line.rings_gone == [old.id]
        assert old.fd == -1
        await line.capture.stop()
        assert line.rings_gone == [old.id, new]

    run(steps())


def test_the_same_size_keeps_the_ring(workers: list[Worker]) -> None:
    """A camera that comes back is no reason for engines to map new memory."""

    async def steps() -> None:
        line = Line(workers)
        line.worker.open()
        ring = line.worker.grants[0].ring
        line.worker.open()
        assert [g.ring for g in line.worker.grants] == [ring] * RING_SLOTS
        assert line.rings_gone == []
        await line.capture.stop()

    run(steps())


def test_while_held_a_file_gets_no_slots(workers: list[Worker]) -> None:
    """What is released meanwhile is granted when the sinks have caught up."""

    async def steps() -> None:
        line = Line(workers)
        line.worker.open()
        line.worker.frame(0)
        line.capture.pause(True)
        before = len(line.worker.grants)
        line.frames[0].release()
        assert len(line.worker.grants) == before
        line.capture.pause(False)
        assert len(line.worker.grants) == before + 1
        await line.capture.stop()

    run(steps())


def test_a_live_source_is_not_held(workers: list[Worker]) -> None:
    """A camera doesn't wait; its frames would be stale."""

    async def steps() -> None:
        line = Line(workers, live=True)
        line.worker.open()
        line.capture.pause(True)
        line.worker.frame(0)
        line.frames[0].release()
        assert len(line.worker.grants) == RING_SLOTS + 1
        await line.capture.stop()

    run(steps())


@pytest.mark.parametrize(
    "lie",
    [
        lambda w: w.frame(0, Grant(w.grants[0].ring, 99)),
        lambda w: w.frame(0, Grant(w.grants[0].ring + 1, 0)),
        lambda w: (w.frame(0, w.grants[0]), w.frame(1, w.grants[0])),
        lambda w: w.frame(0, width=100_000),
        lambda w: w.frame(0, width=0),
        lambda w: w.open(1_000_000, 1_000_000),
        lambda w: w.open(-1, 5),
        lambda w: w.say(LoadFailed("format c:")),
        lambda w: w.say(Grant(1, 1)),
    ],
)
def test_a_worker_that_talks_nonsense_is_replaced(
    workers: list[Worker], lie: Callable[[Worker], None]
) -> None:
    """Slots that it has not, sizes that don't fit, words that there are not: killed, told why, and replaced."""

    async def steps() -> None:
        line = Line(workers)
        line.worker.open()
        lie(line.worker)
        await line.respawned(2)
        assert line.workers[0].killed
        assert line.workers[0].killed in line.capture.source.last_error
        assert len(line.frames) <= 1
        await line.capture.stop()

    run(steps())


def test_a_worker_may_be_silent_for_as_long_as_it_says(workers: list[Worker]) -> None:
    """From its start a while; then no longer than the source may stall, except while it says that it is busy."""

    async def steps() -> None:
        line = Line(workers, stall_seconds=5.0)
        assert line.worker.limits.start_s == 30
        line.worker.say(Heartbeat(1))
        usual = line.worker.limits.silence_s
        assert 5 < usual < 25
        line.worker.say(SourceBusy(25))
        assert line.worker.limits.silence_s == 25
        line.worker.say(Heartbeat(2))
        assert line.worker.limits.silence_s == usual
        await line.capture.stop()

    run(steps())


def test_the_next_worker_is_told_what_of_a_folder_is_done(workers: list[Worker]) -> None:
    """The picture that was handed on, and the broken one that was counted; not the one in hand. One of which three
    workers die is left out."""

    async def steps() -> None:
        line = Line(workers, url="/uploads", watch=True)
        line.worker.open()
        line.worker.say(PictureBegun(5, 50))
        line.worker.frame(0)
        line.worker.say(PictureBegun(5, 51))
        line.worker.say(FrameUnreadable("b.jpg: is broken"))
        line.worker.say(SourceState("waiting", "", skipped=1))
        for count in (2, 3, 4):
            line.worker.say(PictureBegun(5, 52))
            line.worker.die()
            await line.respawned(count)
            assert set(line.worker.taken.contents) == {50, 51} | ({52} if count == 4 else set())
        assert line.dropped == [("unreadable", 1)] * 2
        await line.capture.stop()

    run(steps())


def test_a_frame_that_kills_decoders_is_left_out(workers: list[Worker]) -> None:
    """Three workers in a row die while they read frame 1: the fourth begins behind it, and the frame is counted."""

    async def steps() -> None:
        line = Line(workers)
        line.worker.open()
        line.worker.frame(0)
        line.worker.die()
        for count in (2, 3, 4):
            await line.respawned(count)
            assert line.worker.position == 1
            line.worker.say(FirstFrameBegun(1))
            line.worker.die()
        await line.respawned(5)
        assert line.worker.position == 2
        line.worker.open()
        line.worker.frame(2)
        assert line.dropped == [("unreadable", 1)]
        assert [f.seq for f in line.frames] == [0, 2]
        await line.capture.stop()

    run(steps())


def test_what_is_left_out_is_counted_by_its_reason(workers: list[Worker]) -> None:
    """Also when no frame follows: the source is lost, for all come late."""

    async def steps() -> None:
        line = Line(workers)
        line.worker.open()
        for message in (FrameStale(), FrameStale(), FrameUnreadable("torn")):
            line.worker.say(message)
        line.worker.frame(4, skipped=4)
        assert sorted(line.dropped) == [("busy", 1), ("stale", 2), ("unreadable", 1)]
        line.worker.say(FrameStale())
        line.worker.say(SourceState("lost", "late", skipped=1))
        assert line.dropped[-1] == ("stale", 1)
        assert line.capture.source.captured == 6
        await line.capture.stop()

    run(steps())


def test_state_follows_the_worker(workers: list[Worker]) -> None:
    """Absent, running, lost, running, frozen, running, ended: with the reason, and each trouble counted."""

    async def steps() -> None:
        line = Line(workers)
        states = [line.capture.source.state]

        def say(state: Any, why: str = "") -> None:
            line.worker.say(SourceState(state, why))
            states.append(line.capture.source.state)

        def frame(position: int) -> None:
            line.worker.frame(position)
            states.append(line.capture.source.state)

        say("absent", "no such device")
        assert line.capture.source.why == "no such device"
        line.worker.open()
        frame(0)
        say("lost", "cable?")
        frame(1)
        say("frozen", "the same picture")
        frame(2)
        say("running")
        say("ended")
        assert states == [
            "starting", "absent", "running", "lost", "running", "frozen", "frozen", "running", "ended",
        ]  # fmt: skip
        assert line.errors == ["absent", "lost", "frozen"]
        await line.capture.stop()
        assert line.capture.source.state == "stopped"

    run(steps())


def test_frames_behind_the_end_are_counted(workers: list[Worker]) -> None:
    """A file whose last frame is broken: the number is taken, although no frame follows to tell."""

    async def steps() -> None:
        line = Line(workers)
        line.worker.open()
        line.worker.frame(0)
        line.worker.say(FrameUnreadable("broken"))
        line.worker.say(SourceState("ended", "", 2, 1))
        assert line.dropped == [("unreadable", 1)]
        assert line.capture.source.captured == 2
        line.worker.die()
        await line.respawned(2)
        assert line.worker.position == 2
        await line.capture.stop()

    run(steps())


def test_stop_waits_for_the_worker_and_starts_none(workers: list[Worker]) -> None:
    """After stop the worker is gone, its frames are not handed on, and a second stop is harmless."""

    async def steps() -> None:
        line = Line(workers)
        line.worker.open()
        stopping = asyncio.create_task(line.capture.stop())
        await asyncio.sleep(0)
        line.worker.frame(0)
        await stopping
        await line.capture.stop()
        await asyncio.sleep(0.02)
        assert line.frames == []
        assert len(workers) == 1
        assert len(line.rings_gone) == 1

    run(steps())
