# SPDX-License-Identifier: AGPL-3.0-or-later
"""The bus: who is told what, in which order, and what becomes of those who fail or are slow."""

from __future__ import annotations

import asyncio
from typing import Any

from structlog.testing import capture_logs

from edgeagent.core.lifecycle import Stage
from edgeagent.observe.bus import Bus, SinkFailed, StageEntered, Swapped, WorkerRestarted

SWAP = Swapped("yolo", "v2", "sha256:2", 4)
STAGE = StageEntered("yolo", "v2", "", Stage.FETCHING)


def test_each_is_told_what_it_asked_for() -> None:
    """In the order of publishing; an event that nobody waits for is nothing."""
    bus, told = Bus(), list[Any]()
    bus.subscribe(Swapped, told.append)
    bus.subscribe(StageEntered, told.append)
    bus.publish(STAGE)
    bus.publish(SinkFailed("line-1", "log"))
    bus.publish(SWAP)
    assert told == [STAGE, SWAP]


def test_one_that_fails_does_not_hurt_the_others() -> None:
    """Neither those after it nor the publisher; the log has its traceback and what it was about."""
    bus, told = Bus(), list[Any]()

    def broken(event: Swapped) -> None:
        raise RuntimeError(f"no room for {event.version}")

    bus.subscribe(Swapped, broken)
    bus.subscribe(Swapped, told.append)
    with capture_logs() as logs:
        bus.publish(SWAP)
    assert told == [SWAP]
    [line] = logs
    assert (line["event"], line["about"], line["log_level"]) == ("subscriber.failed", "Swapped", "error")


def test_a_stream_has_what_comes_while_it_is_open() -> None:
    """Of the kinds that it wants, whether they came before it was read or while it waits."""

    async def run() -> list[Any]:
        bus, seen = Bus(), list[Any]()
        bus.publish(SWAP)
        with bus.stream(Swapped, WorkerRestarted) as stream:
            bus.publish(STAGE)
            bus.publish(WorkerRestarted("engine", "yolo"))
            seen.append(await anext(stream))
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            bus.publish(SWAP)
            seen.append(await waiting)
        bus.publish(SWAP)
        assert stream.dropped == 0
        return seen

    assert asyncio.run(run()) == [WorkerRestarted("engine", "yolo"), SWAP]


def test_a_slow_reader_misses_the_oldest_and_knows_it() -> None:
    """The publisher never waits, and memory doesn't grow."""

    async def run() -> None:
        bus = Bus()
        with bus.stream(WorkerRestarted, size=3) as stream:
            for number in range(10):
                bus.publish(WorkerRestarted("engine", str(number)))
            assert [(await anext(stream)).of for _ in range(3)] == ["7", "8", "9"]
            assert stream.dropped == 7

    asyncio.run(run())


def test_two_readers_do_not_disturb_each_other() -> None:
    """Each has a queue of its own; one that leaves is forgotten, also when it leaves with an error."""

    async def run() -> None:
        bus = Bus()
        with bus.stream(Swapped) as one:
            try:
                with bus.stream(Swapped, size=1) as other:
                    bus.publish(SWAP)
                    bus.publish(SWAP)
                    raise RuntimeError
            except RuntimeError:
                bus.publish(SWAP)
            assert (one.dropped, other.dropped) == (0, 1)
            assert [await anext(one) for _ in range(3)] == [SWAP] * 3

    asyncio.run(run())
