# SPDX-License-Identifier: AGPL-3.0-or-later
"""A second version beside the one that serves: two engine workers, and the pictures that both see."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeagent.core.model import Contract
from edgeagent.core.pair_pace import PaceLimits
from edgeagent.core.pairs import FramePair
from edgeagent.core.verified import VerifiedVersion
from edgeagent.runtimes.variants import Variant
from edgeagent.serving.artifact import Artifact
from edgeagent.serving.engine_process import Engine, EngineSettings, SpareEngine
from edgeagent.serving.frame import Frame
from edgeagent.serving.record import Timing
from edgeagent.serving.router import Route, Router
from edgeagent.serving.slot import Slot
from edgeagent.sinks.port import Record
from edgeagent.update.paired_run import PairedRun, PairedSettings, Second
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.messages import Detected
from edgeagent.workers.ring import Ring
from edgeagent.workers.tasks.engine import LoadPlan
from tests.support.weights import NAMES, ONE_BOX, SIZE, detection_onnx

PATIENCE_S = 120
LIMITS = WorkerLimits(4 << 30, 60.0, 60.0)
SETTINGS = PairedSettings(PaceLimits(first_fps=1e6, most_fps=1e6), patience_s=60.0)
SLOTS = 8


class Line:
    """One pipeline whose camera is this test, in front of two engines."""

    def __init__(self) -> None:
        self.slot = Slot()
        self.router = Router("yolo", self.slot)
        self.ring = Ring(1, SLOTS, SIZE * SIZE * 3)
        self.records: list[Record] = []
        self.pairs: list[FramePair] = []
        self.ended = 0
        self.route = Route("line", False, 0.25, 0.45, self._emit, lambda why, count: None)
        self.router.add(self.route)
        self._spare = SpareEngine()

    async def engine(self, weights: Path, version: str) -> Engine:
        """Loaded."""
        contract = Contract("detect", NAMES, (SIZE, SIZE), 32)
        artifact = Artifact(
            VerifiedVersion("yolo", version, f"sha256:{version}", contract, "onnx", weights),
            LoadPlan(Variant("onnxruntime", "cpu", "fp32", "onnx"), weights, {}, 1, 1),
        )
        settings = EngineSettings(LIMITS, LIMITS)
        engine = Engine(artifact, settings, User(self), lambda: None, self._spare)
        await engine.load()
        return engine

    def capture(self, seq: int) -> None:
        """One grey picture; those before must be through."""
        slot = self.ring.acquire()
        assert slot is not None
        os.pwrite(self.ring.fd, bytes([128]) * (SIZE * SIZE * 3), slot * self.ring.slot_bytes)
        now = asyncio.get_running_loop().time()
        frame = Frame("line", seq, self.ring, slot, SIZE, SIZE, 0.0, now, lambda _ring: None)
        self.router.captured(self.route, frame)

    async def run(self, frames: int) -> None:
        """So many frames, each when the one before is served and seen by both, and no sooner than the tap hands it on:
        a thousand a second."""
        for _ in range(frames):
            self.capture(len(self.records))
            await until(lambda: self.ring.free == SLOTS)
            await asyncio.sleep(0.002)

    def _emit(self, record: Record, timing: Timing) -> None:
        self.records.append(record)


@dataclass
class User:
    """What engines say goes to the router."""

    line: Line

    def detected(self, engine: Engine, result: Detected) -> None:
        """To the router."""
        self.line.router.detected(engine, result)

    def fault(self, engine: Engine, ticket: int, why: str) -> None:
        """To the router."""
        self.line.router.fault(engine, ticket, why)

    def lost(self, engine: Engine) -> None:
        """To the router."""
        self.line.router.lost(engine)

    def ready(self, engine: Engine) -> None:
        """To the router."""
        self.line.router.dispatch()

    def failed(self, engine: Engine, why: str, from_outside: bool = False) -> None:
        """Counted."""
        self.line.ended += 1


async def until(fulfilled: Callable[[], bool]) -> None:
    """Return when it is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not fulfilled():
            await asyncio.sleep(0.001)


def run_pair(tmp_path: Path, second: Path, scenario: Callable[[Line, Engine], Awaitable[None]]) -> Line:
    """A line with a good version, and `second` beside it as the candidate."""

    async def run() -> Line:
        line = Line()
        serving = await line.engine(detection_onnx(tmp_path / "v1.onnx"), "v1")
        other = await line.engine(second, "v2")
        line.slot.swap(serving, 1)
        paired = PairedRun(
            line.router, other, Second.CANDIDATE, lambda pair, _: line.pairs.append(pair), SETTINGS
        )
        paired.start()
        try:
            await scenario(line, other)
        finally:
            paired.stop()
            line.router.remove(line.route)
            await asyncio.gather(serving.retire(), other.retire())
            line.ring.close()
        return line

    return asyncio.run(run())


def test_two_engines_see_the_same_pictures(tmp_path: Path) -> None:
    """The second one finds one more: every pair says so, and no frame is lost."""
    box = (40.0, 32.0, 16.0, 16.0, 0.5, 1)
    line = run_pair(
        tmp_path, detection_onnx(tmp_path / "v2.onnx", (*ONE_BOX, box)), lambda line, other: line.run(12)
    )
    assert [record.seq for record in line.records] == list(range(12))
    assert {record.version for record in line.records} == {"v1"}
    assert [pair.seq for pair in line.pairs] == list(range(12))
    for pair in line.pairs:
        assert pair.incumbent is not None
        assert pair.candidate is not None
        assert [b[5] for b in pair.incumbent] == [0]
        assert [b[5] for b in pair.candidate] == [0, 1]
        assert pair.incumbent[0] == pytest.approx(pair.candidate[0])
        assert pair.candidate_ms > 0


def test_a_second_engine_that_dies_costs_the_line_nothing(tmp_path: Path) -> None:
    """Until it is back there is no answer, which is a pair, too; then there are answers again."""

    async def die(line: Line, other: Engine) -> None:
        await line.run(3)
        assert other.worker is not None
        os.kill(other.worker.pid, signal.SIGKILL)
        await until(lambda: not other.ready)
        await line.run(3)
        await until(lambda: other.ready)
        await line.run(3)

    line = run_pair(tmp_path, detection_onnx(tmp_path / "v2.onnx"), die)
    assert [record.seq for record in line.records] == list(range(9))
    assert line.ended == 1
    # While nobody answers, frames may follow each other sooner than pairs are due: those are no pairs.
    assert {3, 6} <= {pair.seq for pair in line.pairs}
    assert all((pair.candidate is None) == (3 <= pair.seq < 6) for pair in line.pairs)
    assert all(pair.incumbent for pair in line.pairs)
