# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node's side of an engine worker, with workers that are none."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from edgeagent.core.model import Contract
from edgeagent.core.verified import VerifiedVersion
from edgeagent.errors import WorkerError, WorkerKilledError
from edgeagent.runtimes.variants import Variant
from edgeagent.serving import engine_process as engine_module
from edgeagent.serving import spare_worker as spare_module
from edgeagent.serving.artifact import Artifact
from edgeagent.serving.engine_process import Engine, EngineSettings, EngineUser, SpareEngine
from edgeagent.serving.frame import Frame
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.messages import Detected, Message
from edgeagent.workers.process import Exit, WorkerProgram
from edgeagent.workers.ring import Ring
from edgeagent.workers.tasks.engine import EngineReady, FrameFailed, LoadEngine, LoadPlan

CONTRACT = Contract("detect", ("scratch",), (64, 64), 32)
ARTIFACT = Artifact(
    VerifiedVersion("yolo", "v1", "sha256:1", CONTRACT, "onnx", Path("best.onnx")),
    LoadPlan(Variant("onnxruntime", "cpu", "fp32", "onnx"), Path("best.onnx"), {}, 1, 1),
)
HANG_S = 10.0
SETTINGS = EngineSettings(WorkerLimits(1 << 30, HANG_S, 60.0), WorkerLimits(1 << 40, HANG_S, 60.0))
FRAME = Frame("line-1", 0, Ring(1, 1, 1), 0, 1, 1, 0.0, 0.0, lambda _ring: None)
READY = EngineReady("fake", max_batch=1, streams=1)


class FakeWorker:
    """A worker that is ready as soon as it is started."""

    started: list[FakeWorker]
    errors: list[OSError]
    alive = True
    owes_since: float | None

    def __init__(
        self,
        program: WorkerProgram,
        task: LoadEngine,
        on_message: Callable[[Message], None],
        on_exit: Callable[[Exit], None],
        limits: WorkerLimits,
    ) -> None:
        if self.errors:
            raise self.errors.pop()
        self.low_priority, self.task = program.low_priority, task
        self.on_message, self.on_exit = on_message, on_exit
        self.limits, self.owes_since = limits, None
        self.killed: list[str] = []
        self.started.append(self)
        asyncio.get_running_loop().call_soon(on_message, READY)

    def adopt(
        self,
        task: LoadEngine,
        on_message: Callable[[Message], None],
        on_exit: Callable[[Exit], None],
        limits: WorkerLimits,
    ) -> None:
        """A spare one that is taken."""
        self.task, self.on_message, self.on_exit = task, on_message, on_exit
        self.limits, self.owes_since = limits, None
        asyncio.get_running_loop().call_soon(on_message, READY)

    def owes_answer(self, owes: bool) -> None:
        """As the real one keeps it, by the clock of the test."""
        self.owes_since = engine_module.time.monotonic() if owes else None

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Into the void."""

    def kill(self, why: str) -> None:
        """Remembered, and survived."""
        self.killed.append(why)

    def die(self) -> None:
        """As by `kill -9`."""
        self.alive = False
        self.on_exit(Exit(-9, ""))


class Listener:
    """Hears of everything, and forgets it."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args: None


def test_a_worker_that_cannot_be_started_just_now_is_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor is free when the worker has died: the line must not stay without an engine for that."""
    FakeWorker.started, FakeWorker.errors = [], []
    monkeypatch.setattr(engine_module, "WorkerProcess", FakeWorker)
    monkeypatch.setattr(engine_module, "_RESPAWN_MIN_S", 0.0)
    restarts: list[None] = []

    async def run() -> None:
        user = cast(EngineUser, Listener())
        engine = Engine(ARTIFACT, SETTINGS, user, lambda: restarts.append(None), SpareEngine())
        await engine.load()
        FakeWorker.errors = [OSError(errno.EMFILE, "too many open files") for _ in range(3)]
        FakeWorker.started[0].die()
        assert not engine.ready
        async with asyncio.timeout(120):
            while not engine.ready:
                await asyncio.sleep(0)
        FakeWorker.started[1].alive = False
        await engine.retire()

    asyncio.run(run())
    assert len(FakeWorker.started) == 2
    assert len(restarts) == 1


@pytest.mark.parametrize("may", [True, False])
def test_a_version_loads_at_low_priority_and_is_started_again_at_full(
    monkeypatch: pytest.MonkeyPatch, may: bool
) -> None:
    """Beside the one that serves, where its priority may be raised again; after a crash nothing serves."""
    FakeWorker.started, FakeWorker.errors = [], []
    monkeypatch.setattr(engine_module, "WorkerProcess", FakeWorker)
    monkeypatch.setattr(engine_module, "_can_deprioritise", lambda: may)
    monkeypatch.setattr(engine_module, "_RESPAWN_MIN_S", 0.0)

    async def run() -> None:
        engine = Engine(ARTIFACT, SETTINGS, cast(EngineUser, Listener()), lambda: None, SpareEngine())
        await engine.load()
        FakeWorker.started[0].die()
        async with asyncio.timeout(120):
            while len(FakeWorker.started) < 2:
                await asyncio.sleep(0)
        engine.worker = None
        await engine.retire()

    asyncio.run(run())
    first, second = FakeWorker.started
    nice = os.getpriority(os.PRIO_PROCESS, 0) if may else None
    assert (first.low_priority, first.task.nice) == (may, nice)
    assert (second.low_priority, second.task.nice) == (False, None)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands until it is moved."""
    FakeWorker.started, FakeWorker.errors = [], []
    clock = [100.0]
    monkeypatch.setattr(engine_module, "WorkerProcess", FakeWorker)
    monkeypatch.setattr(engine_module.time, "monotonic", lambda: clock[0])
    return clock


@pytest.mark.parametrize("answered", [[], [2], [2, 3]])
def test_a_stream_that_hangs_owes_an_answer_while_others_go_on(now: list[float], answered: list[int]) -> None:
    """The worker is not silent, and yet the oldest frame gets no answer."""

    async def run() -> None:
        engine = Engine(ARTIFACT, SETTINGS, cast(EngineUser, Listener()), lambda: None, SpareEngine())
        await engine.load()
        worker = FakeWorker.started[0]
        now[0] += 60  # nothing to do for long
        for ticket in (1, 2, 3):
            engine.infer(ticket, FRAME, 0.25, 0.45)
        for ticket in answered:
            now[0] += HANG_S / 2 - 1
            worker.on_message(Detected(ticket, 1.0, 1.0, 1.0, b""))
        assert worker.owes_since == 160.0
        worker.alive = False
        await engine.retire()

    asyncio.run(run())


def test_a_frame_that_waited_long_for_its_turn_is_not_taken_for_hung(now: list[float]) -> None:
    """Its time begins when those before it are through."""

    async def run() -> None:
        engine = Engine(ARTIFACT, SETTINGS, cast(EngineUser, Listener()), lambda: None, SpareEngine())
        await engine.load()
        worker = FakeWorker.started[0]
        for ticket in (1, 2, 3):
            engine.infer(ticket, FRAME, 0.25, 0.45)
        for ticket in (1, 2, 3):
            assert worker.owes_since == now[0]
            now[0] += HANG_S - 1
            worker.on_message(Detected(ticket, 1.0, 1.0, 1.0, b""))
        assert (worker.owes_since, engine.in_flight) == (None, 0)
        worker.alive = False
        await engine.retire()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("how", "error"),
    [
        (Exit(-9, ""), WorkerKilledError),
        (Exit(-9, "it took 2 GB of memory", by_node=True), WorkerError),
        (Exit(-11, ""), WorkerError),
    ],
)
def test_who_ended_a_worker_that_loads_is_told(
    monkeypatch: pytest.MonkeyPatch, how: Exit, error: type[WorkerError]
) -> None:
    """Somebody else's signal says nothing of the version."""
    FakeWorker.started, FakeWorker.errors = [], []
    monkeypatch.setattr(engine_module, "WorkerProcess", FakeWorker)

    async def run() -> None:
        engine = Engine(ARTIFACT, SETTINGS, cast(EngineUser, Listener()), lambda: None, SpareEngine())
        loading = asyncio.create_task(engine.load())
        await asyncio.sleep(0)
        FakeWorker.started[0].on_exit(how)
        with pytest.raises(WorkerError, match="ended while loading") as failed:
            await loading
        assert type(failed.value) is error

    asyncio.run(run())


def test_the_spare_worker_is_taken_first_and_after_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has waited at low priority, which is raised at once when nothing serves. A dead one is of no use."""
    FakeWorker.started, FakeWorker.errors = [], []
    monkeypatch.setattr(engine_module, "WorkerProcess", FakeWorker)
    monkeypatch.setattr(spare_module, "WorkerProcess", SpareFake)
    monkeypatch.setattr(engine_module, "_can_deprioritise", lambda: True)
    monkeypatch.setattr(engine_module, "_RESPAWN_MIN_S", 0.0)
    raised: list[int] = []
    monkeypatch.setattr(engine_module, "raise_priority", lambda nice, pid: raised.append(pid))

    async def run() -> None:
        spare = SpareEngine()
        spare.wait("openvino")
        spare.wait("openvino")
        first = spare.worker
        engine = Engine(ARTIFACT, SETTINGS, cast(EngineUser, Listener()), lambda: None, spare)
        await engine.load()
        assert (engine.worker, spare.worker) == (first, None)
        spare.wait("onnxruntime")
        wrong = cast(Any, spare.worker)
        spare.wait("openvino")
        assert wrong.killed, "the version that serves now needs another runtime"
        second = cast(Any, spare.worker)
        cast(Any, first).die()
        async with asyncio.timeout(120):
            while not engine.ready:
                await asyncio.sleep(0)
        assert engine.worker is second
        assert (second.task.nice, raised) == (None, [second.pid])
        spare.wait("openvino")
        cast(Any, spare.worker).alive = False
        second.die()
        async with asyncio.timeout(120):
            while not engine.ready:
                await asyncio.sleep(0)
        assert engine.worker is FakeWorker.started[-1]
        engine.worker = None
        await engine.retire()

    asyncio.run(run())
    libraries = [w.libraries[0].removeprefix("edgeagent.runtimes.") for w in SpareFake.all]
    assert libraries == ["openvino.runtime", "onnx.runtime", "openvino.runtime", "openvino.runtime"]


@pytest.mark.parametrize("urgent", [False, True])
def test_what_a_line_waits_for_is_loaded_at_normal_priority(
    monkeypatch: pytest.MonkeyPatch, urgent: bool
) -> None:
    """With no version beside it there is nothing to be considerate of; nor would it get much on a busy machine."""
    FakeWorker.started, FakeWorker.errors = [], []
    monkeypatch.setattr(engine_module, "WorkerProcess", FakeWorker)
    monkeypatch.setattr(spare_module, "WorkerProcess", SpareFake)
    monkeypatch.setattr(engine_module, "_can_deprioritise", lambda: True)

    async def run() -> None:
        spare = SpareEngine()
        engine = Engine(ARTIFACT, SETTINGS, cast(EngineUser, Listener()), lambda: None, spare)
        await engine.load(urgent)
        assert FakeWorker.started[0].low_priority is not urgent
        spare.wait("torch", soon=True, urgent=urgent)
        assert cast(Any, spare.worker).low_priority is not urgent
        assert cast(Any, spare.worker).libraries == ("edgeagent.runtimes.torch.runtime",)
        engine.worker = None
        await engine.retire()

    asyncio.run(run())


class SpareFake(FakeWorker):
    """One that waits."""

    all: ClassVar[list[SpareFake]] = []
    started, errors = [], []

    def __init__(
        self,
        program: WorkerProgram,
        task: None,
        on_message: Callable[[Message], None],
        on_exit: Callable[[Exit], None],
    ) -> None:
        self.low_priority, self.libraries = program.low_priority, tuple(program.libraries)
        self.killed = []
        self.pid = len(self.all)
        self.all.append(self)


def test_a_candidate_has_other_limits_than_what_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is ready for the first time; one that is started again serves."""
    FakeWorker.started, FakeWorker.errors = [], []
    monkeypatch.setattr(engine_module, "WorkerProcess", FakeWorker)
    monkeypatch.setattr(engine_module, "_RESPAWN_MIN_S", 0.0)

    async def run() -> None:
        engine = Engine(ARTIFACT, SETTINGS, cast(EngineUser, Listener()), lambda: None, SpareEngine())
        loading = asyncio.create_task(engine.load())
        await asyncio.sleep(0)
        assert FakeWorker.started[0].limits == SETTINGS.loading
        await loading
        assert FakeWorker.started[0].limits == SETTINGS.serving
        FakeWorker.started[0].die()
        async with asyncio.timeout(10):
            while len(FakeWorker.started) < 2:
                await asyncio.sleep(0)
        assert FakeWorker.started[1].limits == SETTINGS.serving
        engine.worker = None
        await engine.retire()

    asyncio.run(run())


def test_whoever_asks_gets_the_answer(now: list[float]) -> None:
    """Also that the worker ended before it came; the user hears of what nobody else asked for."""
    heard: list[tuple[str, str, int]] = []

    class Asks:
        def __init__(self, name: str) -> None:
            self.name = name

        def detected(self, engine: Engine, result: Detected) -> None:
            heard.append((self.name, "detected", result.ticket))

        def fault(self, engine: Engine, ticket: int, why: str) -> None:
            heard.append((self.name, "fault", ticket))

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *args: None

    async def run() -> None:
        engine = Engine(ARTIFACT, SETTINGS, cast(EngineUser, Asks("user")), lambda: None, SpareEngine())
        await engine.load()
        worker, other = FakeWorker.started[0], Asks("other")
        for ticket, asker in ((1, None), (2, other), (3, other), (4, other), (5, None)):
            engine.infer(ticket, FRAME, 0.25, 0.45, asker)
        for ticket in (1, 2):
            worker.on_message(Detected(ticket, 1.0, 1.0, 1.0, b""))
        worker.on_message(FrameFailed(3, "NaN"))
        worker.die()
        engine.worker = None
        await engine.retire()

    asyncio.run(run())
    assert heard == [
        ("user", "detected", 1),
        ("other", "detected", 2),
        ("other", "fault", 3),
        ("other", "fault", 4),
    ]
