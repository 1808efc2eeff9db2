# SPDX-License-Identifier: AGPL-3.0-or-later
"""A second version on the frames of a line: when it gets one, what becomes of the frame, and what of no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeagent.core.detection_settings import DetectionSettings
from edgeagent.core.pair_pace import PaceLimits
from edgeagent.core.pairs import FramePair
from edgeagent.core.state import VersionRef
from edgeagent.serving.artifact import Artifact
from edgeagent.serving.frame import Frame
from edgeagent.update import paired_run
from edgeagent.update.paired_run import PairedRun, PairedSettings, Second, renumbered
from tests.support.routing import BOX_OF_A_DENT, CONTRACT, RouterHarness

FAST = PairedSettings(PaceLimits(first_fps=10.0, least_fps=1.0, most_fps=10.0), patience_s=3600.0)
DENT = (pytest.approx(1.04), 2.0, 3.0, 4.0, pytest.approx(0.9), 1)
Scenario = Callable[["Bench"], None]


class Bench:
    """One line, an engine that serves it, and a second one beside."""

    def __init__(self, second: Second = Second.CANDIDATE, settings: PairedSettings = FAST) -> None:
        self.harness = RouterHarness()
        self.line = self.harness.line()
        self.serving = self.harness.swap("v1")
        self.engine = self.harness.engine("v2")
        self.pairs: list[FramePair] = []
        self.keep: list[Frame] = []
        self.keeps = False
        self.run = PairedRun(
            self.harness.router, self.engine, second, self._pair, settings, lambda: self.harness.now
        )
        self.run.start()

    def _pair(self, pair: FramePair, frame: Frame) -> None:
        assert frame.seq == pair.seq
        assert frame.users
        self.pairs.append(pair)
        if self.keeps:
            self.keep.append(frame.retain())

    def frame(self, *boxes: tuple[float, ...], after_s: float = 1.0) -> None:
        """One more frame is captured, and served."""
        self.harness.now += after_s
        self.line.captures()
        self.serving.answers(*boxes)


def on_loop(scenario: Scenario, **how: Any) -> Bench:
    """Run a scenario where there is an event loop."""

    async def run() -> Bench:
        bench = Bench(**how)
        scenario(bench)
        return bench

    return asyncio.run(run())


def test_both_see_the_same_picture() -> None:
    """What was served is the incumbent's when the candidate looks on; the slot goes back with the answer."""

    def scenario(b: Bench) -> None:
        b.frame(BOX_OF_A_DENT)
        assert (b.engine.seqs, b.pairs, b.line.in_use) == ([0], [], 1)
        b.harness.now += 0.05
        b.engine.answers()
        assert b.line.in_use == 0

    [pair] = on_loop(scenario).pairs
    assert (pair.pipeline, pair.seq, pair.width, pair.height) == ("line-1", 0, 1, 1)
    assert (pair.incumbent, pair.candidate) == ((DENT,), ())
    assert pair.candidate_ms == pytest.approx(50)


def test_on_probation_the_version_before_looks_on() -> None:
    """Then what was served is the candidate's."""

    def scenario(b: Bench) -> None:
        b.frame(BOX_OF_A_DENT)
        b.engine.answers()

    [pair] = on_loop(scenario, second=Second.INCUMBENT).pairs
    assert (pair.incumbent, pair.candidate) == ((), (DENT,))


def test_a_busy_second_engine_gets_nothing_and_delays_nothing() -> None:
    """Frames that come meanwhile are served, and not kept."""

    def scenario(b: Bench) -> None:
        for _ in range(5):
            b.frame()
        assert b.line.seqs == [0, 1, 2, 3, 4]
        assert (b.engine.seqs, b.line.in_use) == ([0], 1)

    assert on_loop(scenario).pairs == []


def test_it_waits_for_a_line_that_is_at_work_but_not_for_ever() -> None:
    """While another frame is with the engine that serves, that one is to be through soon."""

    def scenario(b: Bench) -> None:
        b.line.captures()
        for _ in range(4):
            b.harness.now += 0.1
            b.line.captures()
            b.serving.answers()
            assert b.serving.seqs
            assert not b.engine.seqs or b.harness.now >= 200.3
        assert b.engine.seqs

    on_loop(scenario)


def test_it_keeps_its_pace() -> None:
    """Ten pairs a second at most."""

    def scenario(b: Bench) -> None:
        for _ in range(40):
            b.frame(after_s=0.025)
            if b.engine.has:
                b.engine.answers()

    assert 8 <= len(on_loop(scenario).pairs) <= 11


@pytest.mark.parametrize("how", ["faults", "dies"])
def test_no_answer_is_a_pair_too(how: str) -> None:
    """The frame goes back all the same; a worker that is gone goes on being counted."""

    def scenario(b: Bench) -> None:
        b.frame(BOX_OF_A_DENT)
        getattr(b.engine, how)()
        b.frame(BOX_OF_A_DENT)
        assert b.line.in_use == (1 if how == "faults" else 0)

    pairs = on_loop(scenario).pairs
    assert [(p.seq, p.candidate) for p in pairs] == [(0, None), (1, None)][: 1 if how == "faults" else 2]
    assert all(p.incumbent == (DENT,) for p in pairs)


def test_an_answer_that_is_overdue_is_none() -> None:
    """The slot goes back; what comes late saw another frame's pixels. Until then the engine gets nothing."""

    async def run() -> list[FramePair]:
        b = Bench(settings=replace(FAST, patience_s=0.0))
        b.frame()
        async with asyncio.timeout(60):
            while not b.pairs:
                await asyncio.sleep(0)
        assert b.line.in_use == 0
        b.frame()
        assert b.engine.seqs == [0]
        b.engine.answers(BOX_OF_A_DENT)
        b.frame()
        assert b.engine.seqs == [2]
        b.run.stop()
        return b.pairs

    assert [(p.seq, p.candidate) for p in asyncio.run(run())] == [(0, None), (1, None)]


def test_stopping_gives_everything_back() -> None:
    """Also while the second engine is at work; its answer is left alone."""

    def scenario(b: Bench) -> None:
        b.frame()
        b.run.stop()
        b.run.stop()
        assert b.line.in_use == 0
        b.engine.answers(BOX_OF_A_DENT)
        b.frame()
        assert b.engine.has == []

    assert on_loop(scenario).pairs == []


def test_a_pipeline_that_goes_takes_its_frame_along() -> None:
    """The ring's memory isn't kept for an answer."""

    def scenario(b: Bench) -> None:
        b.frame()
        b.line.removed()
        b.engine.answers()

    assert on_loop(scenario).pairs == []


def test_who_keeps_pictures_holds_up_pairs_and_not_the_line() -> None:
    """One of them may be kept; the next waits until it is released."""

    def scenario(b: Bench) -> None:
        b.keeps = True
        for _ in range(6):
            b.frame()
            if b.engine.has:
                b.engine.answers()
        assert (len(b.pairs), b.line.seqs) == (2, [0, 1, 2, 3, 4, 5])
        b.keep.pop().release()
        b.frame()
        assert b.engine.seqs == [6]

    on_loop(scenario)


def test_whoever_gets_pairs_and_fails_stops_nothing() -> None:
    """Neither the line nor the pairs."""

    def scenario(b: Bench) -> None:
        b.run._on_pair = lambda pair, frame: 1 / 0  # type: ignore[assignment,return-value]
        for _ in range(2):
            b.frame()
            b.engine.answers()
        assert (b.line.seqs, b.line.in_use) == ([0, 1], 0)

    on_loop(scenario)


def test_what_it_served_itself_is_no_pair() -> None:
    """After a roll-back the second version is the one that serves."""

    def scenario(b: Bench) -> None:
        b.harness.slot.swap(b.engine, 2)
        b.harness.now += 1
        b.line.captures()
        b.engine.answers()
        assert (b.engine.has, b.line.seqs) == ([], [0])

    assert on_loop(scenario).pairs == []


def test_pipelines_take_turns() -> None:
    """The one whose frames come first each time doesn't get all."""

    def scenario(b: Bench) -> None:
        other = b.harness.line("line-2")
        for _ in range(20):
            for line in (b.line, other):
                b.harness.now += 0.06
                line.captures()
                b.serving.answers()
                if b.engine.has:
                    b.engine.answers()

    names = [pair.pipeline for pair in on_loop(scenario).pairs]
    assert abs(names.count("line-1") - names.count("line-2")) <= 2
    assert len(names) > 10


def test_its_worker_has_low_priority_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its own again before it may have to serve. One that was started anew is lowered, too."""
    said: list[tuple[str, int | None]] = []
    monkeypatch.setattr(paired_run, "can_raise_priority", lambda: True)
    monkeypatch.setattr(paired_run, "lower_priority_of_all", lambda pid: said.append(("lower", pid)))
    monkeypatch.setattr(paired_run, "raise_priority", lambda nice, pid: said.append(("raise", pid)))

    def scenario(b: Bench) -> None:
        b.engine.worker = cast(Any, SimpleNamespace(pid=41, alive=True))
        b.frame()
        b.engine.answers()
        b.engine.worker = cast(Any, SimpleNamespace(pid=42, alive=True))
        b.frame()
        b.run.stop()

    on_loop(scenario)
    assert said == [("lower", 41), ("lower", 42), ("raise", 42)]


def test_classes_are_told_apart_by_name() -> None:
    """The incumbent's numbers count; what it doesn't know comes behind."""
    box = (0.0, 0.0, 1.0, 1.0, 0.5)
    boxes = ((*box, 0.0), (*box, 1.0), (*box, 2.0))
    theirs, ours = ("dent", "hole", "scratch"), ("scratch", "dent")
    assert [b[5] for b in renumbered(boxes, theirs, ours)] == [1, 2, 0]
    assert [b[5] for b in renumbered(boxes[:2], ours, ours)] == [0, 1]


def test_a_second_version_with_other_numbers_is_compared_by_name() -> None:
    """Its dent is the line's dent."""

    def scenario(b: Bench) -> None:
        contract = replace(CONTRACT, names=("dent", "scratch"))
        ref = VersionRef("v2", "sha256:v2")
        b.engine.artifact = cast(Artifact, SimpleNamespace(ref=ref, contract=contract))
        b.frame(BOX_OF_A_DENT)
        b.engine.answers((*BOX_OF_A_DENT[:5], 0.0))

    [pair] = on_loop(scenario).pairs
    assert pair.incumbent == pair.candidate == (DENT,)


def test_what_counts_as_a_detection_counts_for_both() -> None:
    """Else the one that looks on would find more, by what the line leaves out."""

    def scenario(b: Bench) -> None:
        b.harness.router.settings = DetectionSettings((("dent", 0.95), ("scratch", 0.1)))
        scratch = (*BOX_OF_A_DENT[:4], 0.3, 0.0)
        b.frame(BOX_OF_A_DENT, scratch)
        b.engine.answers(BOX_OF_A_DENT, scratch)
        assert b.engine.limits == [(0.1, 0.45)]

    [pair] = on_loop(scenario).pairs
    assert pair.incumbent is not None
    assert [box[5] for box in pair.incumbent] == [0]
    assert pair.incumbent == pair.candidate
