# SPDX-License-Identifier: AGPL-3.0-or-later
"""The engine worker between its channel and a network that runs for as long as the test wants."""

from __future__ import annotations

import mmap
import os
import select
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgeagent.core.model import Contract
from edgeagent.errors import WeightsError
from edgeagent.runtimes.port import ModelMetadata, Tensor
from edgeagent.runtimes.variants import Variant
from edgeagent.testing import wait_for
from edgeagent.workers import engine
from edgeagent.workers.channel import NodeGoneError, WorkerChannel, channel_pair
from edgeagent.workers.messages import (
    MAX_MESSAGE_BYTES,
    Detected,
    Grant,
    Heartbeat,
    Infer,
    Message,
    Ring,
    UnmapRing,
    decode,
    encode,
)
from edgeagent.workers.tasks.engine import EngineReady, FrameFailed, LoadEngine, LoadPlan

SIDE = 64
BAD = 12  # a frame of this brightness is refused by the network
SLOW = 200  # a frame of this brightness takes it as long as the test wants
SLOT_BYTES = -(-SIDE * SIDE * 3 // mmap.PAGESIZE) * mmap.PAGESIZE
SLOTS = 8
PATIENCE_S = 60


class GatedRuntime:
    """Finds one box in each frame, as high, in pixels, as a quarter of its brightness."""

    name = "gated"
    metadata = ModelMetadata(Contract("detect", ("a", "b"), (SIDE, SIDE), 32), "onnx")

    def __init__(self, max_batch: int, streams: int = 0) -> None:
        self.max_batch = max_batch
        self.side_by_side = [GatedRuntime(1) for _ in range(streams)]
        self.running = threading.Event()
        self.go = threading.Event()
        self.sizes: list[int] = []
        self.threads: set[int] = set()

    def run(self, batch: Tensor) -> Tensor:
        """What it was given must be there at its end too."""
        self.threads.add(threading.get_ident())
        self.sizes.append(len(batch))
        if SLOW in self.brightness(batch):
            self.running.set()
            assert self.go.wait(PATIENCE_S)
        brightness = self.brightness(batch)
        if BAD in brightness:
            raise WeightsError("weights", "refuse this frame")
        output = np.zeros((len(batch), 6, 84), np.float32)
        output[:, :5, 0] = 32, 32, 16, 0, 0.5
        output[:, 3, 0] = brightness / 4
        return output

    @staticmethod
    def brightness(batch: Tensor) -> Tensor:
        """Of each frame, 0 to 255."""
        return np.round(batch[:, 0, SIDE // 2, SIDE // 2] * 255)

    def streams(self) -> list[GatedRuntime]:
        """With a gate for each."""
        return self.side_by_side

    def close(self) -> None:
        """Nothing to free."""


class Line:
    """The node's side of a worker that runs in a thread of the test. Slots hold grey frames, of any brightness."""

    def __init__(self, runtime: GatedRuntime) -> None:
        self.runtime = runtime
        self.ours, self._theirs = channel_pair()
        self.ours.settimeout(PATIENCE_S)
        self._fd = os.memfd_create("ring")
        os.ftruncate(self._fd, SLOTS * SLOT_BYTES)
        self.slots = np.frombuffer(mmap.mmap(self._fd, 0), np.uint8).reshape(SLOTS, -1)
        self._thread = ThreadPoolExecutor(1)
        self.worker: Future[None] | None = None

    def start(self) -> None:
        """What was sent before waits already when the worker is ready."""
        streams = max(len(self.runtime.side_by_side), 1)
        variant = Variant("onnxruntime", "cpu", "fp32", "onnx")
        plan = LoadPlan(variant, Path("w.onnx"), {}, streams, self.runtime.max_batch)
        self.worker = self._thread.submit(engine.serve, WorkerChannel(self._theirs), LoadEngine(plan, None))
        ready = self.heard()
        assert isinstance(ready, EngineReady)
        assert ready == EngineReady("gated", self.runtime.max_batch, streams, ready.frame_ms)

    def ring(self, ring: int) -> None:
        """Share the slots as a ring."""
        socket.send_fds(self.ours, [encode(Ring(ring, SLOTS, SLOT_BYTES))], [self._fd])

    def frame(self, ticket: int, brightness: int, ring: int = 1) -> None:
        """Ask for the detections of a frame, in slot `ticket`."""
        self.slots[ticket] = brightness
        self.send(Infer(ticket, ring, ticket, SIDE, SIDE, 0.25, 0.45))

    def send(self, message: Message) -> None:
        """To the worker."""
        self.ours.send(encode(message))

    def heard(self) -> Message:
        """What the worker says next."""
        return decode(self.ours.recv(MAX_MESSAGE_BYTES))

    def height(self, ticket: int) -> float:
        """Of the box of the frame whose turn it is, in pixels."""
        found = self.heard()
        assert isinstance(found, Detected)
        assert found.ticket == ticket
        (box,) = np.frombuffer(found.boxes, "<f4").reshape(-1, 6)
        return round(float(box[3] - box[1]), 2)

    def wait_taken(self) -> None:
        """Until the worker has read all that was sent to it."""
        wait_for(lambda: not select.select([self._theirs], [], [], 0)[0], "all of it read", PATIENCE_S)

    def runs(self) -> list[int]:
        """How often the network has run: with all threads, and in each stream."""
        return [len(runtime.sizes) for runtime in (self.runtime, *self.runtime.side_by_side)]

    def wait_rest(self, stream: GatedRuntime) -> None:
        """Until the thread that a stream has run in takes no more frames."""
        own = {ident for ident in stream.threads if ident not in self.runtime.threads}
        wait_for(lambda: not self._takes_frames(own), "a stream at rest", PATIENCE_S)

    @staticmethod
    def _takes_frames(threads: set[int]) -> bool:
        frames = sys._current_frames()
        stacks = [traceback.extract_stack(frames[t]) for t in threads if t in frames]
        return any(entry.name == "_work" for stack in stacks for entry in stack)

    def end(self) -> BaseException | None:
        """What the worker ended with."""
        assert self.worker is not None
        return self.worker.exception(PATIENCE_S)

    def close(self) -> None:
        """The node is gone."""
        for runtime in (self.runtime, *self.runtime.side_by_side):
            runtime.go.set()
        self.ours.close()
        if self.worker is not None:
            self.end()
        self._theirs.close()
        os.close(self._fd)


@pytest.fixture
def line(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A worker, not started yet, whose network takes one frame at a time, or as many as the test says; and streams."""
    max_batch, streams = getattr(request, "param", (1, 0))
    line = Line(GatedRuntime(max_batch, streams))
    monkeypatch.setattr(engine, "load_plan", lambda _: line.runtime)
    line.ring(1)
    yield line
    line.close()


def test_the_next_frame_is_read_while_the_network_runs(line: Line) -> None:
    """One, and no more; nothing is said meanwhile, and each frame has its own box. The network stays in its thread."""
    line.frame(1, SLOW)
    line.frame(2, 100)
    line.start()
    assert line.runtime.running.wait(PATIENCE_S)
    line.wait_taken()
    line.frame(3, 60)
    line.ours.setblocking(False)
    with pytest.raises(BlockingIOError):
        line.heard()
    line.ours.settimeout(PATIENCE_S)
    line.runtime.go.set()
    assert [line.height(ticket) for ticket in (1, 2, 3)] == [50, 25, 15]
    assert len(line.runtime.threads) == 1


@pytest.mark.parametrize("line", [(3, 0)], indirect=True)
def test_frames_that_come_while_the_network_runs_go_together(line: Line) -> None:
    """Their ring may be dropped and their slots written anew meanwhile: their pixels were taken already."""
    line.frame(1, SLOW)
    line.start()
    assert line.runtime.running.wait(PATIENCE_S)
    line.frame(2, 100)
    line.ring(2)
    line.send(UnmapRing(1))
    line.frame(3, 60, ring=2)
    line.wait_taken()
    line.slots[2] = 0
    line.runtime.go.set()
    assert [line.height(ticket) for ticket in (1, 2, 3)] == [50, 25, 15]
    assert line.runtime.sizes[-2:] == [1, 2]


@pytest.mark.parametrize("line", [(3, 0)], indirect=True)
def test_a_frame_that_fails_does_not_take_others_with_it(line: Line) -> None:
    """Each of its batch is tried alone; the one to blame is answered too."""
    line.frame(1, SLOW)
    line.start()
    assert line.runtime.running.wait(PATIENCE_S)
    for ticket, brightness in ((2, 100), (3, BAD), (4, 60)):
        line.frame(ticket, brightness)
    line.wait_taken()
    line.runtime.go.set()
    assert [line.height(ticket) for ticket in (1, 2)] == [50, 25]
    assert line.heard() == FrameFailed(3, "weights: refuse this frame")
    assert line.height(4) == 15
    assert line.runtime.sizes[-4:] == [3, 1, 1, 1]


def test_a_message_that_makes_no_sense_ends_the_worker(line: Line) -> None:
    """Also one that comes while the network runs, after the results of that run."""
    line.frame(1, SLOW)
    line.send(Grant(1, 1))
    line.start()
    assert line.runtime.running.wait(PATIENCE_S)
    line.wait_taken()
    line.runtime.go.set()
    assert line.height(1) == 50
    assert isinstance(line.end(), SystemExit)


def test_a_worker_whose_node_goes_while_the_network_runs_ends(line: Line) -> None:
    """With the run, for nobody wants its results."""
    line.frame(1, SLOW)
    line.start()
    assert line.runtime.running.wait(PATIENCE_S)
    line.ours.close()
    line.runtime.go.set()
    assert isinstance(line.end(), NodeGoneError)


def test_a_worker_says_that_it_lives_when_idle(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its first frame, and between frames, which it takes all the same."""
    monkeypatch.setattr(engine, "_HEARTBEAT_S", 0.01)
    line.start()
    assert line.heard() == Heartbeat(1)
    for ticket in (1, 2):
        line.frame(ticket, 100)
        said = [line.heard()]
        while isinstance(said[-1], Heartbeat):
            said.append(line.heard())
        assert isinstance(said[-1], Detected)
        assert isinstance(line.heard(), Heartbeat)


# -- streams -----------------------------------------------------------------------------------------

TWO_STREAMS = pytest.mark.parametrize("line", [(1, 2)], indirect=True)


@TWO_STREAMS
def test_frames_that_wait_are_inferred_side_by_side(line: Line) -> None:
    """One that takes long holds up no other."""
    for ticket, brightness in ((1, SLOW), (2, 100), (3, 60), (4, 80)):
        line.frame(ticket, brightness)
    line.start()
    begun = len(line.runtime.sizes)
    first, second = line.runtime.side_by_side
    assert first.running.wait(PATIENCE_S)
    assert [line.height(ticket) for ticket in (2, 3, 4)] == [25, 15, 20]
    first.go.set()
    assert line.height(1) == 50
    assert first.threads & line.runtime.threads, "one of the streams runs in the worker's own thread"
    assert second.threads - line.runtime.threads
    assert len(line.runtime.sizes) == begun


@TWO_STREAMS
def test_a_frame_that_finds_no_other_has_all_threads(line: Line) -> None:
    """Also when it came while the frame before was inferred: a camera that is a little late once must not find its
    frames in the slower streams from then on."""
    line.start()
    assert isinstance(line.heard(), Heartbeat)
    begun = line.runs()
    line.frame(1, SLOW)
    assert line.runtime.running.wait(PATIENCE_S)
    line.frame(2, SLOW)
    line.frame(3, 60)
    line.runtime.go.set()
    assert line.height(1) == 50
    slow, quick = line.runtime.side_by_side
    assert slow.running.wait(PATIENCE_S)
    assert line.height(3) == 15
    line.wait_rest(quick)
    line.frame(4, 80)  # for the streams are done with their queue
    slow.go.set()
    assert [line.height(ticket) for ticket in (2, 4)] == [50, 20]
    line.frame(5, 100)
    assert line.height(5) == 25
    assert [now - then for now, then in zip(line.runs(), begun, strict=True)] == [3, 1, 1]


@TWO_STREAMS
def test_a_frame_that_fails_in_a_stream_is_said_to_fail(line: Line) -> None:
    """And the stream goes on."""
    for ticket, brightness in ((1, BAD), (2, BAD), (3, 60)):
        line.frame(ticket, brightness)
    line.start()
    said = [line.heard() for _ in range(3)]
    assert {m.ticket for m in said if isinstance(m, FrameFailed)} == {1, 2}
    assert [m.ticket for m in said if isinstance(m, Detected)] == [3]


@TWO_STREAMS
def test_a_stream_that_breaks_ends_the_worker(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others don't wait for it for ever, nor does the node."""
    broken = line.runtime.side_by_side[1]
    line.frame(1, SLOW)
    line.frame(2, 100)
    run = broken.run
    monkeypatch.setattr(broken, "run", lambda batch: 1 / 0 if 100 in broken.brightness(batch) else run(batch))
    line.start()
    assert line.runtime.side_by_side[0].running.wait(PATIENCE_S)
    line.runtime.side_by_side[0].go.set()
    assert isinstance(line.end(), ZeroDivisionError)


@TWO_STREAMS
def test_a_message_that_makes_no_sense_ends_a_worker_with_streams(line: Line) -> None:
    """Whichever stream reads it."""
    line.frame(1, SLOW)
    line.frame(2, 100)
    line.send(Grant(1, 1))
    line.start()
    line.runtime.side_by_side[0].go.set()
    assert isinstance(line.end(), SystemExit)
