# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queues before sinks: pressure, patience, trouble that stays with one sink; each record is accounted for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import structlog

from edgeagent.sinks import queue as queue_module
from edgeagent.sinks.port import SinkConfig, SinkError
from edgeagent.sinks.queue import SinkHost, Sinks
from tests.support.sinks import StuckSink, record, records, until

QUEUE = 40


class StuckConfig(SinkConfig):
    """Which of the sinks at hand."""

    type: Literal["stuck"] = "stuck"
    place: int = 0


LOSSLESS, LOSSY = StuckConfig(lossless=True), StuckConfig(lossless=False)


@pytest.fixture
def sinks_at_hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[StuckSink]]:
    """The sinks that configurations open, by `place`; freed at the end. A batch is one record."""
    sinks = [StuckSink("stuck"), StuckSink("other", stuck=False)]
    monkeypatch.setattr(queue_module, "open_sink", lambda config, place: sinks[config.place])
    monkeypatch.setattr(queue_module, "BATCH_RECORDS", 1)
    yield sinks
    for sink in sinks:
        sink.free()


class Told:
    """What a pipeline hears of its sinks."""

    def __init__(self) -> None:
        self.pressure: list[bool] = []
        self.errors: list[str] = []
        self.lost: dict[str, int] = {}

    def sinks(self, *configs: SinkConfig) -> Sinks:
        """Sinks that tell it."""
        return Sinks(
            "line-1",
            configs,
            self.pressure.append,
            self.errors.append,
            self._lose,
            host=SinkHost("node", Path("/nowhere")),
            queue_records=QUEUE,
        )

    def _lose(self, sink: str, count: int) -> None:
        self.lost[sink] = self.lost.get(sink, 0) + count


async def _stuck_with_one(sinks: Sinks) -> None:
    """The thread has a record in its hands, and the queue is empty."""
    sinks.write(record(0))
    await until(lambda: sinks.status()["queued"] == 0)


def test_pressure_is_told_and_taken_back(sinks_at_hand: list[StuckSink]) -> None:
    """Above half of the queue: behind. Below a quarter: no more. What finds it full is counted, the rest in order."""
    stuck, _ = sinks_at_hand
    told = Told()

    async def steps() -> None:
        sinks = told.sinks(LOSSLESS)
        await _stuck_with_one(sinks)
        for r in records(1, 20):
            sinks.write(r)
        await asyncio.sleep(0)
        assert told.pressure == []
        for r in records(21, 30):
            sinks.write(r)
        await until(lambda: told.lost == {"stuck": 10})
        assert told.pressure == [True]
        assert sinks.status()["errors"] == {"stuck": "can't keep up: its queue is full"}
        stuck.free()
        await until(lambda: told.pressure == [True, False])
        await sinks.close()
        assert stuck.seen == list(range(41))
        assert sinks.status()["errors"] == {}
        assert told.errors == []

    asyncio.run(steps())


def test_a_sink_that_hangs_says_so_before_its_queue_is_full(sinks_at_hand: list[StuckSink]) -> None:
    """On a slow line that is minutes later; who looks at the status must see it."""
    told = Told()

    async def steps() -> None:
        sinks = told.sinks(StuckConfig(patience_seconds=0.05))
        await _stuck_with_one(sinks)
        await until(lambda: sinks.status()["errors"] == {"stuck": "hangs: nothing was written for 0.05 s"})
        sinks_at_hand[0].free()
        await until(lambda: sinks.status()["errors"] == {})
        await sinks.close()

    asyncio.run(steps())


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
def test_a_sink_that_would_end_the_process_loses_a_batch(
    sinks_at_hand: list[StuckSink], error: BaseException
) -> None:
    """A thread ends of it without a word: its records would wait for ever."""
    told = Told()
    sinks_at_hand[1].fails = [error]

    async def steps() -> None:
        sinks = told.sinks(StuckConfig(place=1))
        sinks.write(record(0))
        await until(lambda: told.lost == {"other": 1})
        sinks.write(record(1))
        await sinks.close()
        assert sinks_at_hand[1].seen == [1]

    asyncio.run(steps())


@pytest.mark.parametrize(("said", "lost"), [(1000, 1), (-1, 0)])
def test_a_sink_can_not_lose_what_it_was_not_given(
    sinks_at_hand: list[StuckSink], said: int, lost: int
) -> None:
    """Its word on what is missing is another's, and counted by us."""
    told = Told()
    sinks_at_hand[1].fails = [SinkError("disk", said)]

    async def steps() -> None:
        sinks = told.sinks(StuckConfig(place=1))
        sinks.write(record(0))
        await until(lambda: told.errors)
        await sinks.close()
        status = sinks.status()
        assert (status["written"], status["lost"], told.lost) == (1 - lost, lost, {"other": lost})

    asyncio.run(steps())


class _SpeechlessError(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SinkError("x" * 100_000, 1), "x" * 499 + "…"),
        (SinkError("", 1), "SinkError"),
        (_SpeechlessError(), "_SpeechlessError: "),
    ],
)
def test_whatever_a_sink_says_of_its_trouble_can_be_shown(
    sinks_at_hand: list[StuckSink], error: Exception, said: str
) -> None:
    """In the status, which is not to grow without bounds; and what says nothing is a loss all the same."""
    told = Told()
    sinks_at_hand[1].fails = [error]

    async def steps() -> None:
        sinks = told.sinks(StuckConfig(place=1))
        sinks.write(record(0))
        await until(lambda: told.lost == {"other": 1})
        assert sinks.status()["errors"] == {"other": said}
        await sinks.close()

    asyncio.run(steps())


def test_a_sink_that_is_not_lossless_holds_no_line(sinks_at_hand: list[StuckSink]) -> None:
    """It loses what its queue has no room for, and says so once."""
    told = Told()

    async def steps() -> None:
        sinks = told.sinks(LOSSY)
        with structlog.testing.capture_logs() as logs:
            await _stuck_with_one(sinks)
            for r in records(1, QUEUE + 5):
                sinks.write(r)
            await until(lambda: told.lost == {"stuck": 5})
        assert told.pressure == []
        assert sinks.status()["behind"]
        assert [log["event"] for log in logs] == ["sink.overflows"]
        sinks_at_hand[0].free()
        await sinks.close()

    asyncio.run(steps())


def test_one_that_hangs_does_not_stop_the_one_beside_it(sinks_at_hand: list[StuckSink]) -> None:
    """Each has its own queue and thread; sums and details are in the status."""
    _, other = sinks_at_hand
    told = Told()

    async def steps() -> None:
        sinks = told.sinks(LOSSY, StuckConfig(place=1, lossless=True))
        for n in range(3 * QUEUE):
            sinks.write(record(n))
            await until(lambda n=n: len(other.seen) == n + 1)
        status = sinks.status()
        stuck, beside = status.pop("each")
        assert beside == {
            "sink": "other",
            "type": "stuck",
            "lossless": True,
            "written": 3 * QUEUE,
            "lost": 0,
            "queued": 0,
            "behind": False,
            "error": None,
        }
        assert (stuck["written"], stuck["queued"], stuck["lost"]) == (0, QUEUE, 2 * QUEUE - 1)
        assert status == {
            "written": 3 * QUEUE,
            "lost": 2 * QUEUE - 1,
            "queued": QUEUE,
            "behind": True,
            "errors": {"stuck": "can't keep up: its queue is full"},
        }
        sinks_at_hand[0].free()
        await sinks.close()

    asyncio.run(steps())


def test_patience_with_one_that_hangs_has_an_end(sinks_at_hand: list[StuckSink]) -> None:
    """The line goes on without it, it is said, and its records are counted; when it writes again, it counts again."""
    stuck, _ = sinks_at_hand
    told = Told()

    async def steps() -> None:
        sinks = told.sinks(StuckConfig(lossless=True, patience_seconds=0.05))
        with structlog.testing.capture_logs() as logs:
            await _stuck_with_one(sinks)
            for r in records(1, QUEUE):
                sinks.write(r)
            await until(lambda: told.pressure == [True, False])
            assert sinks.status()["errors"] == {"stuck": "hangs: nothing was written for 0.05 s"}
            sinks.write(record(QUEUE + 1))
            await until(lambda: told.lost == {"stuck": 1})
            stuck.free()
            await until(lambda: sinks.status()["queued"] == 0)
            assert sinks.status()["errors"] == {}
            await sinks.close()
        assert [log["event"] for log in logs] == ["sink.hangs", "sink.overflows", "sink.recovered"]
        assert stuck.seen == list(range(QUEUE + 1))

    asyncio.run(steps())


def test_a_slow_sink_is_waited_for_as_long_as_it_writes(sinks_at_hand: list[StuckSink]) -> None:
    """Patience begins anew with each batch."""
    stuck, _ = sinks_at_hand

    async def steps() -> None:
        sinks = Told().sinks(LOSSLESS)
        (queue,) = sinks.queues
        begun = time.monotonic()
        await _stuck_with_one(sinks)
        for r in records(1, QUEUE):
            sinks.write(r)
        first = queue.holds_until(time.monotonic())
        assert first is not None
        assert begun <= first - 30 <= time.monotonic()
        stuck.permit(1)
        await until(lambda: queue.status()["queued"] == QUEUE - 1)
        second = queue.holds_until(time.monotonic())
        assert second is not None
        assert second > first
        stuck.free()
        await sinks.close()
        assert queue.holds_until(time.monotonic()) is None

    asyncio.run(steps())


@pytest.mark.parametrize(
    ("error", "lost", "why"),
    [(SinkError("disk full", 1), 2, "disk full"), (KeyError("x"), 4, "KeyError: 'x'")],
)
def test_trouble_is_said_once_and_counted_each_time(
    sinks_at_hand: list[StuckSink], monkeypatch: pytest.MonkeyPatch, error: Exception, lost: int, why: str
) -> None:
    """Also a fault of the sink itself, which costs the batch and not the thread; then it recovers by itself."""
    monkeypatch.setattr(queue_module, "BATCH_RECORDS", 3)
    stuck, _ = sinks_at_hand
    told = Told()

    async def steps() -> None:
        sinks = told.sinks(LOSSLESS)
        with structlog.testing.capture_logs() as logs:
            await _stuck_with_one(sinks)
            for r in records(1, 3):
                sinks.write(r)
            stuck.fails = [error, error]
            stuck.free()
            await until(lambda: told.errors == ["stuck", "stuck"])
            assert sinks.status()["errors"] == {"stuck": why}
            sinks.write(record(4))
            await until(lambda: 4 in stuck.seen)
            await sinks.close()
        assert [log["event"] for log in logs] == ["sink.failed", "sink.recovered"]
        status = sinks.status()
        assert (status["written"], status["lost"], status["errors"]) == (5 - lost, lost, {})
        assert told.lost == {"stuck": lost}

    asyncio.run(steps())


def test_closing_is_bounded_for_all_together(sinks_at_hand: list[StuckSink]) -> None:
    """What hangs can't keep the node from stopping: what is left is counted. The others write all they have."""
    stuck, other = sinks_at_hand

    async def steps() -> None:
        sinks = Told().sinks(LOSSLESS, LOSSLESS, StuckConfig(place=1))
        await _stuck_with_one(sinks)
        sinks.write(record(1))
        with structlog.testing.capture_logs() as logs:
            await sinks.close(timeout_s=0.02)
        assert [log["event"] for log in logs if log["sink"] == "stuck"] == ["sink.given_up"] * 2
        await until(lambda: other.closed == 1)
        assert other.seen == [0, 1]
        assert stuck.closed == 0
        lost = sinks.status()["lost"]
        assert lost >= 2
        sinks.write(record(2))
        assert sinks.status()["lost"] == lost + 3
        stuck.free()
        await sinks.close()
        assert stuck.closed == 2

    asyncio.run(steps())


def test_a_pipeline_without_sinks_has_no_thread() -> None:
    """Its records go nowhere, and that is no loss."""

    async def steps() -> None:
        sinks = Told().sinks()
        sinks.write(record(0))
        await sinks.close()
        nothing = {"written": 0, "lost": 0, "queued": 0, "behind": False, "errors": {}, "each": []}
        assert sinks.status() == nothing

    asyncio.run(steps())


def test_sinks_change_while_records_come(sinks_at_hand: list[StuckSink]) -> None:
    """One that stays goes on. The next one takes records at once, and writes when the one before has ended: both may
    have the same file."""
    stuck, other = sinks_at_hand
    kept = StuckConfig(place=1)

    async def steps() -> None:
        told = Told()
        sinks = told.sinks(LOSSLESS, kept)
        (_, queue) = sinks.queues
        await _stuck_with_one(sinks)
        for r in records(1, 30):
            sinks.write(r)
        await until(lambda: told.pressure == [True])
        leaving = sinks.leave([kept, LOSSY])
        assert [q.config for q in leaving] == [LOSSLESS]
        assert told.pressure == [True, False]
        sinks.begin([kept, LOSSY], leaving)
        assert [q.config for q in sinks.queues] == [kept, LOSSY]
        assert sinks.queues[0] is queue
        sinks.write(record(31))
        await until(lambda: other.seen == list(range(32)))
        assert stuck.seen == []
        stuck.free()
        await sinks.left()
        await until(lambda: stuck.seen == list(range(32)))
        await sinks.close()
        assert told.lost == {}

    asyncio.run(steps())
