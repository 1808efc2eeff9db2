# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who sees which frame, how often, and that nothing is queued; the worker is one of paper."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from edgeagent.config.preview import PreviewConfig
from edgeagent.errors import NotFoundError, UnavailableError
from edgeagent.serving.frame import Frame
from edgeagent.serving.preview import Previews, Viewer
from edgeagent.serving.tap import TAP_FRAMES, Tap
from edgeagent.workers.messages import Detected, Message
from edgeagent.workers.ring import Ring
from edgeagent.workers.tasks.preview import EncodePreview, PreviewEncoded
from tests.support.sinks import record


class PaperEncoder:
    """Takes a frame, and has its pictures when it is told to: each is the frame's number and the form's width."""

    process = None

    def __init__(self) -> None:
        self.started = 0
        self.orders: list[EncodePreview] = []
        self.boxes: list[bytes] = []
        self._job: tuple[Frame, Callable[[PreviewEncoded | None], None], int] | None = None

    @property
    def idle(self) -> bool:
        """As the real one."""
        return self._job is None

    def offer(
        self,
        frame: Frame,
        request: Callable[[int], Message],
        on_done: Callable[[PreviewEncoded | None], None],
        *,
        before: Sequence[Message] = (),
        fds: Sequence[int] = (),
    ) -> bool:
        """Take it, and nothing happens yet."""
        self.orders.append(cast("EncodePreview", request(len(self.orders))))
        self.boxes += [m.boxes for m in before if isinstance(m, Detected)]
        self._job = frame, on_done, fds[0]
        return True

    def done(self) -> None:
        """The pictures are there."""
        assert self._job
        (frame, on_done, fd), self._job = self._job, None
        pictures = [f"{frame.seq} {form.width}".encode() for form in self.orders[-1].forms]
        os.pwrite(fd, b"".join(pictures), 0)
        frame.release()
        on_done(PreviewEncoded(0, tuple(map(len, pictures))))

    def fails(self) -> None:
        """The worker died."""
        assert self._job
        (frame, on_done, _), self._job = self._job, None
        frame.release()
        on_done(None)

    def start(self) -> bool:
        """Somebody looks."""
        self.started += 1
        return True

    async def close(self) -> None:
        """Nothing to end."""


class PaperLine:
    """A pipeline that films a frame when it is told to."""

    source_state = "running"

    def __init__(self, name: str, tap: Tap) -> None:
        self.name, self.tap = name, tap
        self.ring, self.seq = Ring(1, 8, 3), 0

    def films(self, now: float) -> None:
        """One more frame."""
        slot = self.ring.acquire()
        assert slot is not None
        frame = Frame(self.name, self.seq, self.ring, slot, 1280, 720, 1.5, 1.5, lambda _ring: None)
        self.tap.offer(frame, replace(record(self.seq), pipeline=self.name), now)
        frame.release()
        self.seq += 1


class Stage:
    """Previews of two lines on one model, and a clock that the test sets."""

    def __init__(self, config: PreviewConfig) -> None:
        self.now = 100.0
        tap = Tap()
        self.a, self.b = PaperLine("a", tap), PaperLine("b", tap)
        self.previews = Previews(config, {"a": self.a, "b": self.b}, clock=lambda: self.now)
        self.encoder = PaperEncoder()
        self.previews._encoder = cast("Any", self.encoder)

    def after(self, seconds: float, *lines: PaperLine) -> list[str]:
        """Frames of these lines, in one instant, each encoded at once where one is; which were, by pipeline."""
        self.now += seconds
        begun = len(self.encoder.orders)
        for line in lines:
            line.films(self.now)
            if not self.encoder.idle:
                self.encoder.done()
        return [order.pipeline for order in self.encoder.orders[begun:]]


def seen(viewer: Viewer) -> str | None:
    """What would be seen now; None for nothing."""
    picture, viewer._picture = viewer._picture, None
    viewer._news.clear()
    return picture.jpeg.decode() if picture else None


def play(test: Callable[[Stage], Awaitable[None]], **limits: Any) -> None:
    """A test; afterwards every frame was given back."""

    async def run() -> None:
        stage = Stage(PreviewConfig(**limits))
        await test(stage)
        await stage.previews.close()
        assert {line.ring.free for line in (stage.a, stage.b)} == {8}
        assert stage.previews._sheet < 0

    asyncio.run(run())


def test_one_picture_for_all_of_a_form() -> None:
    """One of eight a second and one of four cost eight; another width is another picture of the same frame."""

    async def test(stage: Stage) -> None:
        previews = stage.previews
        fast, slow = (previews.watch("a", width=640, fps=fps) for fps in (8.0, 4.0))
        wide = previews.watch("a", width=800, fps=4.0)
        frames = [stage.after(0.125, stage.a) for _ in range(10)]
        assert frames == [["a"]] * 10
        forms = [tuple(form.width for form in order.forms) for order in stage.encoder.orders]
        assert sorted(map(len, forms)) == [1] * 5 + [2] * 5
        assert seen(fast) == "9 640"
        slow_seen, wide_seen = seen(slow), seen(wide)
        assert (slow_seen, wide_seen) in (("8 640", "8 800"), ("9 640", "9 800"))
        assert stage.encoder.orders[0].names == {"0": "dent"}
        assert len(stage.encoder.boxes[0]) == 24

    play(test)


def test_who_is_slow_misses_pictures() -> None:
    """There is room for one, the newest."""

    async def test(stage: Stage) -> None:
        viewer = stage.previews.watch("a", width=640, fps=10.0)
        for _ in range(5):
            stage.after(0.1, stage.a)
        assert (await viewer.next()).jpeg == b"4 640"  # type: ignore[union-attr]
        assert seen(viewer) is None

    play(test)


def test_pipelines_take_turns() -> None:
    """One that finds the worker at another's picture is shown a frame later, not an interval later."""

    async def test(stage: Stage) -> None:
        for name in ("a", "b"):
            stage.previews.watch(name, width=640, fps=1.0)
        stage.a.films(stage.now)
        stage.b.films(stage.now)
        assert [order.pipeline for order in stage.encoder.orders] == ["a"]
        stage.encoder.done()
        assert stage.after(0.03, stage.a, stage.b) == ["b"]

    play(test)


def test_limits_and_names() -> None:
    """Width and rate are brought within them; who comes too late, or asks for what isn't there, is told."""

    async def test(stage: Stage) -> None:
        previews = stage.previews
        viewer = previews.watch("a", width=5000, fps=1000.0)
        assert viewer.form.width == 1280
        assert [bool(stage.after(0.05, stage.a)) for _ in range(6)] == [True, False] * 3
        with pytest.raises(NotFoundError, match="it has: a, b"):
            previews.watch("c", width=640, fps=1.0)
        previews.watch("b", width=640, fps=1.0)
        with pytest.raises(UnavailableError, match="2 look already"):
            previews.watch("b", width=640, fps=1.0)
        previews.watch("b", width=640).close()  # once: counted apart
        viewer.close()
        previews.watch("b", width=640, fps=1.0)

    play(test, max_viewers=2)


def test_nobody_may_look() -> None:
    """Switched off for snapshots, too."""

    async def test(stage: Stage) -> None:
        with pytest.raises(UnavailableError, match="switched off"):
            await stage.previews.snapshot("a", width=None, boxes=True)

    play(test, max_viewers=0)


def test_a_pipeline_that_is_removed_ends_its_streams() -> None:
    """Those of others go on. So does whoever looks when the worker dies."""

    async def test(stage: Stage) -> None:
        gone, stays = (stage.previews.watch(name, width=640, fps=10.0) for name in ("a", "b"))
        stage.b.films(stage.now)
        stage.encoder.fails()
        stage.a.tap.end("a")
        assert await gone.next() is None
        assert stage.after(0.1, stage.b) == ["b"]
        assert seen(stays) == "1 640"

    play(test)


def test_nothing_is_offered_when_nobody_looks() -> None:
    """Some seconds after the last, for another may come."""

    async def test(stage: Stage) -> None:
        viewer = stage.previews.watch("a", width=640, fps=10.0)
        stage.after(0.1, stage.a)
        viewer.close()
        assert stage.after(1.0, stage.a) == []
        with pytest.raises(ValueError, match="are free"):
            stage.a.tap.subscribe(lambda frame, record: None, fps=1.0, frames=TAP_FRAMES)
        stage.previews._let_go()
        stage.a.tap.subscribe(lambda frame, record: frame.release(), fps=1.0, frames=TAP_FRAMES)

    play(test)


def test_the_worker_starts_with_the_viewer() -> None:
    """Not with the first frame, for which a model may have to be loaded; nor for who may not look."""

    async def test(stage: Stage) -> None:
        stage.after(1.0, stage.a)
        assert stage.encoder.started == 0
        stage.previews.watch("a", width=640, fps=10.0)
        assert (stage.encoder.started, stage.encoder.orders) == (1, [])
        with pytest.raises(UnavailableError, match="1 look already"):
            stage.previews.watch("b", width=640, fps=10.0)
        assert stage.encoder.started == 1

    play(test, max_viewers=1)
