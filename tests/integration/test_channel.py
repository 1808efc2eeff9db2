# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pipe between node and worker: order, descriptors, a slow reader, a broken writer, an end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from edgeagent.workers.channel import NodeGoneError, WorkerChannel, channel_pair
from edgeagent.workers.messages import Heartbeat, Message, Ring, UnmapRing
from edgeagent.workers.node_channel import NodeChannel
from edgeagent.workers.tasks.engine import FrameFailed


async def _until(fulfilled: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not fulfilled():
            await asyncio.sleep(0.001)


def test_messages_come_whole_and_in_order_to_a_slow_worker() -> None:
    """More than the socket holds: the node never blocks, and descriptors travel with their own message."""

    async def steps() -> None:
        ours, theirs = channel_pair()
        node = NodeChannel(ours, lambda message: None, lambda why: None)
        worker = WorkerChannel(theirs)
        with open(os.devnull, "rb") as null:
            for n in range(2000):
                if n % 500 == 499:
                    node.send(Ring(n, 1, 1), [null.fileno()])
                else:
                    node.send(FrameFailed(n, "x" * 1000))
        got: list[Message] = []
        while len(got) < 2000:
            message = await asyncio.to_thread(worker.receive, 5)
            assert message is not None
            got.append(message)
            if isinstance(message, Ring):
                os.fstat(fd := worker.fds.popleft())
                os.close(fd)
        assert [m.ring if isinstance(m, Ring) else m.ticket for m in got] == list(range(2000))  # type: ignore[union-attr]
        assert not worker.fds
        node.close()

    asyncio.run(steps())


def test_a_worker_that_never_reads_is_given_up() -> None:
    """The backlog has an end; the node is told why, once, and leaks no descriptor."""

    async def steps() -> None:
        closed: list[str] = []
        gc.collect()  # what tests before have left open goes now, and not in the middle
        before = len(os.listdir("/proc/self/fd"))
        ours, theirs = channel_pair()
        node = NodeChannel(ours, lambda message: None, closed.append)
        with open(os.devnull, "rb") as null:
            for n in range(20_000):
                node.send(Ring(n, 1, 1), [null.fileno()] if n % 100 == 0 else [])
        assert closed == ["the worker doesn't read its messages"]
        theirs.close()
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(steps())


@pytest.mark.parametrize("garbage", [b"\xff", b"\x04short", b"\x08{}", b"\x08" + b"x" * 200_000])
def test_garbage_ends_the_channel_with_the_reason(garbage: bytes) -> None:
    """What was said before is heard; what comes after is not."""

    async def steps() -> None:
        heard: list[Message] = []
        closed: list[str] = []
        ours, theirs = channel_pair()
        NodeChannel(ours, heard.append, closed.append)
        worker = WorkerChannel(theirs)
        worker.send(Heartbeat(1))
        theirs.send(garbage)
        with contextlib.suppress(NodeGoneError):
            worker.send(Heartbeat(2))
        await _until(lambda: bool(closed))
        assert heard == [Heartbeat(1)]
        assert len(closed) == 1
        assert "no message" in closed[0]
        theirs.close()

    asyncio.run(steps())


def test_last_words_are_heard() -> None:
    """A worker that sends and ends at once: everything is delivered before the end."""

    async def steps() -> None:
        heard: list[Message] = []
        closed: list[str] = []
        ours, theirs = channel_pair()
        NodeChannel(ours, heard.append, closed.append)
        worker = WorkerChannel(theirs)
        for n in range(100):
            worker.send(UnmapRing(n))
        theirs.close()
        await _until(lambda: bool(closed))
        assert heard == [UnmapRing(n) for n in range(100)]
        assert closed == [""]

    asyncio.run(steps())


def test_a_worker_ends_when_its_node_closes_the_channel() -> None:
    """Without a signal too: its settings never come, and it has nothing to live for."""
    ours, theirs = channel_pair()
    worker = subprocess.Popen(
        [sys.executable, "-m", "edgeagent.workers.capture", str(theirs.fileno()), str(os.getpid())],
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    ours.close()
    assert worker.wait(60) == 0


def test_a_worker_of_a_node_that_is_gone_ends_at_once() -> None:
    """The node died between spawn and the worker's first line: it is not this worker's parent."""
    ours, theirs = channel_pair()
    worker = subprocess.Popen(
        [sys.executable, "-m", "edgeagent.workers.capture", str(theirs.fileno()), "1"],
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    assert worker.wait(60) == 1
    ours.close()
