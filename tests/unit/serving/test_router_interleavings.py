# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whatever order things happen in: no frame is lost, doubled or out of order, and every slot comes back."""

from __future__ import annotations

import math
from collections import Counter

import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from edgeagent.serving.frame import Frame
from edgeagent.serving.router import DEPTH
from edgeagent.serving.tap import TAP_FRAMES, Subscription
from edgeagent.sinks.port import Record
from tests.support.examples import examples
from tests.support.routing import BOX_OF_A_DENT, FakeEngine, FakeLine, RouterHarness

SLOTS = 8


class Onlooker:
    """Looks at frames and keeps them; or fails at it."""

    def __init__(self, fails: bool) -> None:
        self.fails = fails
        self.held: list[Frame] = []
        self.subscription: Subscription

    def look(self, frame: Frame, record: Record) -> None:
        """What it subscribes with."""
        assert (frame.pipeline, frame.seq) == (record.pipeline, record.seq)
        if self.fails:
            raise RuntimeError("an onlooker's own trouble")
        self.held.append(frame)

    @property
    def counts(self) -> bool:
        """Whether its bound is still taken."""
        return bool(self.held) or not self.subscription.closed


class Routing(RuleBasedStateMachine):
    """Two lossless lines and a live one; engines and onlookers come, answer, fail and go as they please."""

    def __init__(self) -> None:
        super().__init__()
        self.harness = RouterHarness()
        self.lines = [
            self.harness.line("file", slots=SLOTS),
            self.harness.line("folder", slots=SLOTS),
            self.harness.line("camera", live=True, slots=SLOTS),
        ]
        self.ended: set[FakeLine] = set()
        self.engines: list[FakeEngine] = []
        self.blamed: Counter[str] = Counter()  # frames that a test's engine failed on, by line
        self.deaths = 0
        self.onlookers: list[Onlooker] = []

    @rule(line=st.integers(0, 2), count=st.integers(1, 4))
    def capture(self, line: int, count: int) -> None:
        camera = self.lines[line]
        if camera not in self.ended:
            camera.captures(min(count, camera.ring.free))

    @rule(ready=st.booleans(), streams=st.integers(1, 3))
    def swap(self, ready: bool, streams: int) -> None:
        self.engines.append(self.harness.swap(f"v{self.harness.slot.epoch + 1}", ready, streams))

    @precondition(lambda self: any(e.has for e in self.engines))
    @rule(data=st.data(), ok=st.sampled_from([True, True, True, False]))
    def answer(self, data: st.DataObject, ok: bool) -> None:
        engine = data.draw(st.sampled_from([e for e in self.engines if e.has]))
        if ok:
            in_work = min(engine.streams, len(engine.has))
            engine.answers(BOX_OF_A_DENT, place=data.draw(st.integers(0, in_work - 1)))
        else:
            self.blamed[engine.has[0][1].pipeline] += 1
            engine.faults()

    @precondition(lambda self: self.engines)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        self.deaths += 1
        data.draw(st.sampled_from(self.engines)).dies()

    @precondition(lambda self: self.engines)
    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.engines)).restarts()

    @rule(line=st.integers(0, 2))
    def end(self, line: int) -> None:
        camera = self.lines[line]
        if camera not in self.ended and camera.captured > 5:
            self.ended.add(camera)
            camera.removed(len(self.held_slots(camera)))

    @rule(frames=st.integers(1, 2), fps=st.sampled_from([2.0, math.inf]), fails=st.booleans())
    def subscribe(self, frames: int, fps: float, fails: bool) -> None:
        onlooker = Onlooker(fails)
        try:
            onlooker.subscription = self.harness.router.tap.subscribe(onlooker.look, fps=fps, frames=frames)
        except ValueError:
            assert sum(o.subscription.frames for o in self.onlookers if o.counts) + frames > TAP_FRAMES
        else:
            self.onlookers.append(onlooker)

    @precondition(lambda self: self.onlookers)
    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.onlookers)).subscription.close()

    @precondition(lambda self: any(o.held for o in self.onlookers))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        onlooker = data.draw(st.sampled_from([o for o in self.onlookers if o.held]))
        onlooker.held.pop(data.draw(st.integers(0, len(onlooker.held) - 1))).release()

    @rule(seconds=st.sampled_from([0.1, 1.0]))
    def wait(self, seconds: float) -> None:
        self.harness.now += seconds

    def held_slots(self, camera: FakeLine) -> set[int]:
        """The slots of a camera that stay in use for onlookers' sake."""
        return {f.slot for o in self.onlookers for f in o.held if f.ring is camera.ring}

    @invariant()
    def onlookers_hold_no_more_than_they_may(self) -> None:
        for onlooker in self.onlookers:
            by_pipeline = Counter(frame.pipeline for frame in onlooker.held)
            assert all(count <= onlooker.subscription.frames for count in by_pipeline.values())
            assert all(onlooker.subscription.held(name) == count for name, count in by_pipeline.items())
        for camera in self.lines:
            assert len(self.held_slots(camera)) <= TAP_FRAMES

    @invariant()
    def results_leave_in_frame_order(self) -> None:
        for line in self.lines:
            assert line.seqs == sorted(set(line.seqs))
            epochs = [r.epoch for r in line.out]
            # A frame that was leased anew is of the newer epoch, and so are those behind it unless answered before.
            assert self.deaths or epochs == sorted(epochs)

    @invariant()
    def each_record_is_of_one_version(self) -> None:
        for line in self.lines:
            assert all(r.version == f"v{r.epoch}" for r in line.out)

    @invariant()
    def no_engine_has_too_much(self) -> None:
        for engine in self.engines:
            assert len(engine.has) <= DEPTH * engine.streams

    @invariant()
    def nobody_idles_while_frames_wait(self) -> None:
        engine = self.harness.slot.engine
        suspects = any(job.frame.attempts and not job.done for line in self.lines for job in line.route.jobs)
        room = 1 if engine and suspects and engine.streams > 1 else DEPTH * engine.streams if engine else 0
        if engine and engine.ready and engine.in_flight < room:
            assert not any(line.route.waiting for line in self.lines if not line.route.live)
            assert len(self.lines[2].route.waiting) == 0 or engine.in_flight > 0

    @invariant()
    def a_live_line_never_runs_out_of_slots(self) -> None:
        assert len(self.lines[2].route.waiting) <= 1

    def teardown(self) -> None:
        """Let everything finish: then each frame came out, or was dropped for a reason that is counted."""
        self.engines.append(self.harness.swap(f"v{self.harness.slot.epoch + 1}"))
        while busy := [e for e in self.engines if e.has]:
            busy[0].answers()
        for line in self.lines:
            if line in self.ended:
                continue
            assert len(line.out) + sum(line.dropped.values()) == line.captured
            assert line.route.live or not line.dropped["busy"] + line.dropped["no_engine"]
            # Two deaths for a frame; but those that were in work together have the first in common.
            fatal = self.deaths // 2 if all(e.streams == 1 for e in self.engines) else max(0, self.deaths - 1)
            assert line.dropped["failed"] <= self.blamed[line.route.name] + fatal
            assert line.in_use == len(self.held_slots(line))
            line.removed(line.in_use)
        assert not self.harness.slot._leases
        for onlooker in self.onlookers:
            for frame in onlooker.held:
                frame.release()
        assert [line.in_use for line in self.lines] == [0, 0, 0]


def test_no_frame_is_lost_doubled_or_out_of_order() -> None:
    """Random sequences of everything that can happen on the frame path."""
    with structlog.testing.capture_logs():
        run_state_machine_as_test(
            Routing, settings=settings(max_examples=examples(50), stateful_step_count=50)
        )
