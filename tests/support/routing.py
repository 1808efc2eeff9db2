# SPDX-License-Identifier: AGPL-3.0-or-later
"""A router with engines and cameras that do what the test says, when it says so."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import cast

from edgeagent.core.model import Contract
from edgeagent.core.state import VersionRef
from edgeagent.serving.artifact import Artifact
from edgeagent.serving.engine_process import Asker, Engine
from edgeagent.serving.frame import Frame
from edgeagent.serving.record import Timing
from edgeagent.serving.router import Route, Router
from edgeagent.serving.slot import Slot
from edgeagent.sinks.port import Record
from edgeagent.workers.messages import BOX_STRUCT, Detected
from edgeagent.workers.ring import Ring

CONTRACT = Contract("detect", ("scratch", "dent"), (64, 64), 32)
BOX_OF_A_DENT = (1.04, 2.0, 3.0, 4.0, 0.9, 1.0)


class FakeEngine(Engine):
    """Takes frames and answers when told to, the oldest first, as a worker does. `router` hears of it."""

    def __init__(
        self, version: str, router: Router | None = None, ready: bool = True, streams: int = 1
    ) -> None:
        # Not the real one's beginnings: what the router and the slot look at, and nothing that could run.
        self.ref = VersionRef(version, f"sha256:{version}")
        self.artifact = cast(Artifact, SimpleNamespace(ref=self.ref, contract=CONTRACT))
        self.max_batch = 1
        self.streams = streams
        self.router = router
        self.ready = ready
        self.has: list[tuple[int, Frame]] = []  # ticket, frame
        self.askers: dict[int, Asker | None] = {}  # by ticket
        self.limits: list[tuple[float, float]] = []  # that it was given, with each frame
        self.worker = None

    @property
    def in_flight(self) -> int:
        """As the real one counts."""
        return len(self.has)

    def infer(
        self, ticket: int, frame: Frame, confidence: float, iou: float, asker: Asker | None = None
    ) -> None:
        """Take it; nothing happens yet."""
        self.has.append((ticket, frame))
        self.limits.append((confidence, iou))
        self.askers[ticket] = asker or self.router

    @property
    def seqs(self) -> list[int]:
        """The frames that it has."""
        return [frame.seq for _, frame in self.has]

    def answers(self, *boxes: tuple[float, ...], place: int = 0) -> None:
        """Detections of the oldest frame, or of one that another stream has."""
        ticket, _ = self.has.pop(place)
        data = b"".join(BOX_STRUCT.pack(*box) for box in boxes)
        self._asker(ticket).detected(self, Detected(ticket, 1.0, 2.0, 3.0, data))

    def faults(self) -> None:
        """It can't infer the oldest frame."""
        ticket, _ = self.has.pop(0)
        self._asker(ticket).fault(self, ticket, "NaN")

    def dies(self) -> None:
        """Its worker is gone, with all that it had."""
        assert self.router is not None
        self.ready = False
        had, self.has = self.has, []
        for ticket, _ in had:
            if (asker := self._asker(ticket)) is not self.router:
                asker.fault(self, ticket, "it died")
        self.router.lost(self)

    def _asker(self, ticket: int) -> Asker:
        asker = self.askers.pop(ticket, self.router)
        assert asker is not None
        return asker

    def restarts(self) -> None:
        """Its next worker is ready."""
        assert self.router is not None
        self.ready = True
        self.router.dispatch()


class FakeLine:
    """A camera, its line, and what comes out of it."""

    def __init__(self, router: Router, name: str, live: bool, slots: int) -> None:
        self.router = router
        self.ring = Ring(1, slots, 1)
        self.captured = 0
        self.out: list[Record] = []
        self.timings: list[Timing] = []
        self.dropped: Counter[str] = Counter()
        self.route = Route(name, live, 0.25, 0.45, self._emit, self._drop)
        router.add(self.route)

    def captures(self, count: int = 1) -> None:
        """So many frames, one after the other. Each needs a free slot."""
        for _ in range(count):
            slot = self.ring.acquire()
            assert slot is not None, "no slot is free"
            seq, self.captured = self.captured, self.captured + 1
            mono = 100.0 + seq
            frame = Frame(self.route.name, seq, self.ring, slot, 1, 1, 1000.0 + seq, mono, lambda _ring: None)
            self.router.captured(self.route, frame)

    @property
    def seqs(self) -> list[int]:
        """The frames that came out."""
        return [record.seq for record in self.out]

    @property
    def in_use(self) -> int:
        """Slots in use."""
        return self.ring.slots - self.ring.free

    def removed(self, held: int = 0) -> None:
        """The line ends; every slot must be back, but for those that somebody who looked on still holds."""
        self.router.remove(self.route)
        assert self.in_use == held
        self.ring.close()

    def _emit(self, record: Record, timing: Timing) -> None:
        self.out.append(record)
        self.timings.append(timing)

    def _drop(self, reason: str, count: int) -> None:
        self.dropped[reason] += count


class RouterHarness:
    """One router, with a clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 200.0
        self.slot = Slot()
        self.router = Router("yolo", self.slot, clock=lambda: self.now)
        self.lines: list[FakeLine] = []

    def line(self, name: str = "line-1", live: bool = False, slots: int = 16) -> FakeLine:
        """One more line."""
        line = FakeLine(self.router, name, live, slots)
        self.lines.append(line)
        return line

    def engine(self, version: str, ready: bool = True, streams: int = 1) -> FakeEngine:
        """A version with a worker."""
        return FakeEngine(version, self.router, ready, streams)

    def swap(self, version: str, ready: bool = True, streams: int = 1) -> FakeEngine:
        """A version that serves from now on."""
        engine = self.engine(version, ready, streams)
        self.slot.swap(engine, self.slot.epoch + 1)
        self.router.dispatch()
        return engine
