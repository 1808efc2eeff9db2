# SPDX-License-Identifier: AGPL-3.0-or-later
"""Onlookers on the path of a frame: how often they get one, how many they may hold, and that nobody waits for them."""

from __future__ import annotations

import math

import pytest
import structlog

from edgeagent.serving.frame import Frame
from edgeagent.serving.tap import SAY_AGAIN_S, TAP_FRAMES, Tap
from edgeagent.sinks.port import Record
from edgeagent.workers.ring import Ring
from tests.support.sinks import record


class Camera:
    """Frames of one pipeline, offered to a tap as the router does."""

    def __init__(self, tap: Tap, name: str = "line-1", slots: int = 8) -> None:
        self.tap, self.name = tap, name
        self.ring = Ring(1, slots, 1)
        self.seq = 0

    def gives_a_result(self, now: float) -> None:
        """One more frame."""
        slot = self.ring.acquire()
        assert slot is not None
        frame = Frame(self.name, self.seq, self.ring, slot, 1, 1, now, now, lambda _ring: None)
        self.tap.offer(frame, record(self.seq), now)
        frame.release()
        self.seq += 1

    @property
    def in_use(self) -> int:
        """Slots in use."""
        return self.ring.slots - self.ring.free


class Onlooker:
    """Keeps what it gets."""

    def __init__(self, tap: Tap, fps: float = math.inf, frames: int = 1) -> None:
        self.held: list[Frame] = []
        self.seen: list[int] = []
        self.ended: list[str] = []
        self.subscription = tap.subscribe(self._look, self.ended.append, fps=fps, frames=frames)

    def _look(self, frame: Frame, record: Record) -> None:
        assert frame.seq == record.seq
        self.seen.append(frame.seq)
        self.held.append(frame)


def test_a_frame_is_held_until_it_is_released() -> None:
    """The camera gets its slot back then, and not before."""
    tap = Tap()
    camera, onlooker = Camera(tap), Onlooker(tap)
    camera.gives_a_result(0.0)
    assert (onlooker.seen, camera.in_use) == ([0], 1)
    onlooker.held.pop().release()
    assert camera.in_use == 0
    camera.gives_a_result(0.1)
    assert onlooker.seen == [0, 1]


def test_who_holds_what_it_may_gets_nothing_more() -> None:
    """Frames go by; a slow onlooker costs the ring no more than its bound, also one that shares a frame."""
    tap = Tap()
    camera, onlooker = Camera(tap), Onlooker(tap, frames=2)
    for n in range(5):
        camera.gives_a_result(float(n))
    assert (onlooker.seen, camera.in_use) == ([0, 1], 2)
    onlooker.held[0].retain()
    onlooker.held[0].release()
    camera.gives_a_result(5.0)
    assert onlooker.seen == [0, 1]
    onlooker.held.pop(0).release()
    camera.gives_a_result(6.0)
    assert onlooker.seen == [0, 1, 6]
    assert onlooker.subscription.held("line-1") == 2


def test_a_frame_is_given_back_once() -> None:
    """A release too many is an error of the onlooker's, and hits nobody else."""
    tap = Tap()
    camera, one, other = Camera(tap), Onlooker(tap), Onlooker(tap)
    camera.gives_a_result(0.0)
    one.held[0].release()
    with pytest.raises(ValueError, match="released already"):
        one.held[0].release()
    assert camera.in_use == 1
    assert (one.subscription.held("line-1"), other.subscription.held("line-1")) == (0, 1)


@pytest.mark.parametrize(("camera_fps", "fps", "seen"), [(30, 10, 10), (30, 7, 7), (2, 10, 2), (30, 30, 30)])
def test_a_rate_is_kept(camera_fps: int, fps: float, seen: int) -> None:
    """On average, also where it doesn't divide the camera's; ten seconds of it."""
    tap = Tap()
    camera, onlooker = Camera(tap), Onlooker(tap, fps)
    for n in range(10 * camera_fps):
        camera.gives_a_result(n / camera_fps)
        while onlooker.held:
            onlooker.held.pop().release()
    assert len(onlooker.seen) == pytest.approx(10 * seen, abs=1)


def test_a_break_is_not_caught_up() -> None:
    """After a minute without frames the next one comes at once, and the one after it in its time."""
    tap = Tap()
    camera, onlooker = Camera(tap), Onlooker(tap, fps=1, frames=2)
    for now in (0.0, 60.0, 60.1, 60.9, 61.0):
        camera.gives_a_result(now)
        onlooker.held.pop().release() if onlooker.held else None
    assert onlooker.seen == [0, 1, 4]


def test_bounds_are_counted_by_pipeline() -> None:
    """Each camera has a ring of its own."""
    tap = Tap()
    first, second = Camera(tap, "line-1"), Camera(tap, "line-2")
    onlooker = Onlooker(tap, fps=1)
    first.gives_a_result(0.0)
    second.gives_a_result(0.0)
    first.gives_a_result(2.0)
    assert [frame.pipeline for frame in onlooker.held] == ["line-1", "line-2"]


def test_all_together_have_the_slots_that_the_ring_has_for_them() -> None:
    """One that would need more is refused; what another let go is free, once nothing of it is held."""
    tap = Tap()
    camera, onlooker = Camera(tap), Onlooker(tap, frames=TAP_FRAMES)
    with pytest.raises(ValueError, match="0 are free"):
        Onlooker(tap)
    camera.gives_a_result(0.0)
    onlooker.subscription.close()
    with pytest.raises(ValueError, match="0 are free"):
        Onlooker(tap)
    onlooker.held.pop().release()
    Onlooker(tap, frames=TAP_FRAMES)


def test_who_is_gone_gets_nothing_and_gives_back_what_it_has() -> None:
    """Its frames are its own until it releases them."""
    tap = Tap()
    camera, onlooker = Camera(tap), Onlooker(tap, frames=2)
    camera.gives_a_result(0.0)
    onlooker.subscription.close()
    onlooker.subscription.close()
    camera.gives_a_result(1.0)
    assert (onlooker.seen, camera.in_use) == ([0], 1)
    onlooker.held.pop().release()
    assert camera.in_use == 0


def test_an_end_is_told() -> None:
    """So that a ring is not kept for a frame that nobody will replace."""
    tap = Tap()
    onlooker = Onlooker(tap)
    tap.end("line-1")
    assert onlooker.ended == ["line-1"]


def test_an_onlooker_that_fails_is_left_out_and_the_others_are_not() -> None:
    """It costs the line nothing, keeps nothing, and is said."""
    tap = Tap()

    def fail(frame: Frame, record: Record) -> None:
        raise RuntimeError("out of paint")

    tap.subscribe(fail, fps=math.inf, frames=1)
    camera, onlooker = Camera(tap), Onlooker(tap)
    with structlog.testing.capture_logs() as logs:
        camera.gives_a_result(0.0)
        onlooker.held.pop().release()
        camera.gives_a_result(1.0)
    assert [log["event"] for log in logs] == ["tap.subscriber_failed"]
    assert (onlooker.seen, camera.in_use) == ([0, 1], 1)


def test_one_may_go_while_it_looks() -> None:
    """In the middle of a frame that another gets as well."""
    tap = Tap()
    camera = Camera(tap)

    def leave(frame: Frame, record: Record) -> None:
        subscription.close()
        frame.release()

    subscription = tap.subscribe(leave, fps=math.inf, frames=1)
    onlooker = Onlooker(tap)
    camera.gives_a_result(0.0)
    assert (onlooker.seen, camera.in_use) == ([0], 1)


def test_who_listens_gets_every_record_and_takes_no_slot() -> None:
    """Until it has enough; a second end is none."""
    tap = Tap()
    camera = Camera(tap)
    heard: list[int] = []
    end = tap.listen(lambda record: heard.append(record.seq))
    for seconds in range(3):
        camera.gives_a_result(float(seconds))
    end()
    end()
    camera.gives_a_result(3.0)
    assert len(heard) == 3


def test_a_listener_that_fails_gets_the_next_record_all_the_same() -> None:
    """It costs the line nothing; that it fails is said now and then, and not with each frame."""
    tap, heard = Tap(), []
    camera, onlooker = Camera(tap), Onlooker(tap)

    def fail_at_first(record: Record) -> None:
        heard.append(record.seq)
        if record.seq < 3:
            raise RuntimeError("no memory")

    tap.listen(fail_at_first)
    with structlog.testing.capture_logs() as logs:
        for now in (0.0, 1.0, SAY_AGAIN_S, SAY_AGAIN_S + 1):
            camera.gives_a_result(now)
            onlooker.held.pop().release()
    assert [log["event"] for log in logs] == ["tap.listener_failed"] * 2
    assert heard == onlooker.seen == [0, 1, 2, 3]
