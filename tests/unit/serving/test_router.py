# SPDX-License-Identifier: AGPL-3.0-or-later
"""The frame path: every frame to one engine, results in frame order, nothing lost that need not be."""

from __future__ import annotations

import asyncio
import math

import pytest

from edgeagent.core.detection_settings import DetectionSettings
from edgeagent.core.state import VersionRef
from edgeagent.serving.frame import Frame
from edgeagent.serving.router import BURST, DEPTH, Router
from edgeagent.sinks.port import Record
from tests.support.routing import BOX_OF_A_DENT, RouterHarness

# -- one engine --------------------------------------------------------------------------------------


def test_frames_wait_until_there_is_an_engine() -> None:
    """And go as soon as there is."""
    harness = RouterHarness()
    line = harness.line()
    line.captures(2)
    assert harness.swap("v1").seqs == [0, 1]


def test_frames_wait_for_an_engine_that_is_not_ready() -> None:
    """Its worker is started again."""
    harness = RouterHarness()
    line = harness.line()
    engine = harness.swap("v1", ready=False)
    line.captures(2)
    assert engine.seqs == []
    engine.restarts()
    assert engine.seqs == [0, 1]


def test_an_engine_has_one_frame_in_work_and_one_waiting_and_no_more() -> None:
    """It never idles, and a swap finds few frames in flight."""
    harness = RouterHarness()
    line = harness.line()
    engine = harness.swap("v1")
    line.captures(5)
    assert engine.seqs == [0, 1]
    assert engine.in_flight == DEPTH
    engine.answers()
    assert engine.seqs == [1, 2]


def test_a_record_says_what_was_seen_where_and_by_whom() -> None:
    """As the interface names it."""
    harness = RouterHarness()
    line = harness.line()
    line.captures()
    engine = harness.swap("v1")
    harness.now = 200.25
    engine.answers(BOX_OF_A_DENT)
    assert [r.as_dict() for r in line.out] == [
        {
            "pipeline": "line-1",
            "seq": 0,
            "ts": 1000.0,
            "model": "yolo",
            "version": "v1",
            "digest": "sha256:v1",
            "epoch": 1,
            "latency_ms": 100250.0,
            "detections": [{"cls": 1, "name": "dent", "conf": 0.9, "xyxy": [1.0, 2.0, 3.0, 4.0]}],
        }
    ]
    timing = line.timings[0]
    assert (timing.wait, timing.total) == (100.0, 100.25)
    assert (timing.pre, timing.infer, timing.post) == (0.001, 0.002, 0.003)


def test_a_record_has_the_class_ids_of_the_contract_in_force() -> None:
    """Whatever the version calls them; a frame that is in flight at the swap has those of before."""
    harness = RouterHarness()
    line = harness.line()
    line.captures(2)
    before = harness.swap("v1")
    after = harness.engine("v2")
    harness.slot.swap(after, 2, ("dent", "label", "scratch"))
    line.captures()
    for engine in (before, before, after):
        engine.answers(BOX_OF_A_DENT)
    found = [(d["cls"], d["name"]) for record in line.out for d in record.as_dict()["detections"]]
    assert found == [(1, "dent"), (1, "dent"), (0, "dent")]


@pytest.mark.parametrize("cls", [2.0, -1.0, math.nan, math.inf])
def test_a_class_without_a_name_fails_the_frame_and_not_the_node(cls: float) -> None:
    """An end-to-end network gives class ids as plain numbers."""
    harness = RouterHarness()
    line = harness.line()
    engine = harness.swap("v1")
    line.captures(3)
    engine.answers((0.0, 0.0, 1.0, 1.0, 0.9, cls))
    engine.answers(BOX_OF_A_DENT)
    engine.answers()
    assert line.seqs == [1, 2]
    assert line.dropped == {"failed": 1}
    assert line.in_use == 0


def test_a_frame_that_can_t_be_inferred_is_counted_and_the_line_goes_on() -> None:
    """In order: the one behind it doesn't overtake."""
    harness = RouterHarness()
    line = harness.line()
    engine = harness.swap("v1")
    line.captures(3)
    engine.faults()
    engine.answers()
    engine.answers()
    assert line.seqs == [1, 2]
    assert line.dropped == {"failed": 1}


def test_who_looks_on_gets_each_result_with_its_frame_before_the_slot_is_free() -> None:
    """In frame order; a frame that gave none is not shown."""
    harness = RouterHarness()
    line = harness.line()
    engine = harness.swap("v1", streams=2)
    seen: list[tuple[int, int, str]] = []

    def look(frame: Frame, record: Record) -> None:
        seen.append((frame.seq, record.seq, record.version))
        frame.release()

    harness.router.tap.subscribe(look, fps=math.inf, frames=1)
    line.captures(3)
    engine.answers(place=1)
    assert seen == []
    engine.faults()
    engine.answers()
    assert seen == [(1, 1, "v1"), (2, 2, "v1")]
    assert line.in_use == 0


# -- live and lossless -------------------------------------------------------------------------------


def test_a_live_line_drops_the_older_frame_when_the_engine_is_busy() -> None:
    """The newest waits; what was dropped is counted, and its slot is free."""
    harness = RouterHarness()
    line = harness.line(live=True, slots=4)
    engine = harness.swap("v1")
    line.captures(6)
    assert engine.seqs == [0, 1]
    assert line.dropped == {"busy": 3}
    assert line.in_use == 3
    for _ in range(3):
        engine.answers()
    assert line.seqs == [0, 1, 5]


def test_a_live_line_bears_a_hiccup() -> None:
    """Frames that come late and together wait a little; only what is more than a burst is dropped."""
    harness = RouterHarness()
    harness.now = 100.0  # the frames are new
    line = harness.line(live=True)
    engine = harness.swap("v1")
    line.captures(2 + BURST)
    assert not line.dropped
    line.captures(1)
    assert line.dropped == {"busy": 1}
    while engine.has:
        engine.answers()
    assert line.seqs == [0, 1, 3, 4, 5, 6]


def test_a_live_line_without_an_engine_holds_one_frame() -> None:
    """Its camera never runs out of slots."""
    harness = RouterHarness()
    line = harness.line(live=True, slots=2)
    line.captures(100)
    assert line.in_use == 1
    assert line.dropped == {"no_engine": 99}
    assert harness.swap("v1").seqs == [99]


def test_a_live_line_infers_nothing_that_is_too_old_by_now() -> None:
    """It came late, or waited for an engine; also what a dead engine had. Counted, in order, and its slot is free."""
    harness = RouterHarness()
    harness.now = 100.0
    line = harness.line(live=True)
    line.route.max_age_s = 2.0
    old = harness.swap("v1")
    line.captures(3)
    new = harness.swap("v2")
    assert (old.seqs, new.seqs) == ([0, 1], [2])
    harness.now = 104.5
    new.dies()
    line.captures(1)
    new.restarts()
    assert new.seqs == [3]
    old.answers()
    old.answers()
    assert (line.seqs, line.dropped) == ([0, 1], {"stale": 1})
    new.answers()
    assert line.seqs == [0, 1, 3]
    assert line.in_use == 0


def test_a_lossless_line_infers_what_is_old() -> None:
    """However long it waited."""
    harness = RouterHarness()
    harness.now = 1000.0
    line = harness.line()
    line.route.max_age_s = 2.0
    line.captures(3)
    assert harness.swap("v1").seqs == [0, 1]
    assert not line.dropped


def test_a_lossless_line_waits() -> None:
    """Its camera is held by the slots that it lacks."""
    harness = RouterHarness()
    line = harness.line(slots=6)
    engine = harness.swap("v1")
    line.captures(6)
    assert line.ring.free == 0
    for n in range(6):
        assert line.seqs == list(range(n))
        engine.answers()
    assert line.seqs == list(range(6))
    assert not line.dropped
    assert line.in_use == 0


# -- a swap ------------------------------------------------------------------------------------------


def test_a_swap_loses_nothing_and_keeps_the_order() -> None:
    """Frames in flight finish on the old engine; the new one, though faster, doesn't overtake."""
    harness = RouterHarness()
    line = harness.line()
    old = harness.swap("v1")
    line.captures(4)
    new = harness.swap("v2")
    assert (old.seqs, new.seqs) == ([0, 1], [2, 3])
    new.answers()
    new.answers()
    assert line.seqs == []
    old.answers()
    assert line.seqs == [0]
    old.answers()
    assert line.seqs == [0, 1, 2, 3]
    assert [r.version for r in line.out] == ["v1", "v1", "v2", "v2"]
    assert [r.epoch for r in line.out] == [1, 1, 2, 2]


def test_a_swap_waits_for_nothing() -> None:
    """The old engine is full; the next frame goes to the new one at once."""
    harness = RouterHarness()
    line = harness.line()
    old = harness.swap("v1")
    line.captures(2)
    new = harness.swap("v2")
    line.captures()
    assert (old.seqs, new.seqs) == ([0, 1], [2])


def test_the_old_engine_gets_nothing_more() -> None:
    """Although it has room again."""
    harness = RouterHarness()
    line = harness.line()
    old = harness.swap("v1")
    line.captures(2)
    new = harness.swap("v2")
    old.answers()
    old.answers()
    line.captures(2)
    assert (old.seqs, new.seqs) == ([], [2, 3])


def test_the_old_engine_is_drained_with_its_last_frame() -> None:
    """Not while a result of its own still waits for its turn."""

    async def scenario() -> None:
        harness = RouterHarness()
        line = harness.line()
        old = harness.swap("v1")
        line.captures(2)
        harness.swap("v2")
        drained = asyncio.ensure_future(harness.slot.drained(old))
        old.answers()
        await asyncio.sleep(0)
        assert not drained.done()
        old.answers()
        await asyncio.wait_for(drained, 1)

    asyncio.run(scenario())


# -- several lines -----------------------------------------------------------------------------------


def test_lines_on_one_model_take_turns() -> None:
    """A line with many frames doesn't starve the other."""
    harness = RouterHarness()
    one, other = harness.line("one"), harness.line("other")
    one.captures(6)
    other.captures(3)
    engine = harness.swap("v1")
    served = []
    for _ in range(9):
        served.append(engine.has[0][1].pipeline)
        engine.answers()
    assert served == ["one", "other"] * 3 + ["one"] * 3
    assert (one.seqs, other.seqs) == (list(range(6)), list(range(3)))


def test_an_idle_line_costs_the_others_nothing() -> None:
    """Its turn is passed over."""
    harness = RouterHarness()
    harness.line("idle")
    line = harness.line("busy")
    harness.line("idle too")
    engine = harness.swap("v1")
    line.captures(3)
    assert engine.seqs == [0, 1]


def test_each_line_has_an_order_of_its_own() -> None:
    """A frame that hangs on one line holds up only its own followers."""
    harness = RouterHarness()
    one, other = harness.line("one"), harness.line("other")
    old = harness.swap("v1")
    one.captures()
    new = harness.swap("v2")
    other.captures()
    new.answers()
    assert (one.seqs, other.seqs) == ([], [0])
    old.answers()
    assert one.seqs == [0]


# -- an engine dies ----------------------------------------------------------------------------------


def test_what_a_dead_engine_had_goes_to_its_next_worker_in_order() -> None:
    """Before the frames that were captured meanwhile."""
    harness = RouterHarness()
    line = harness.line()
    engine = harness.swap("v1")
    line.captures(3)
    engine.dies()
    line.captures()
    assert engine.seqs == []
    engine.restarts()
    for _ in range(4):
        engine.answers()
    assert line.seqs == [0, 1, 2, 3]
    assert not line.dropped


def test_what_a_dead_engine_had_goes_to_the_version_that_serves_now() -> None:
    """It died while it was drained: each record is of the version that gave it."""
    harness = RouterHarness()
    line = harness.line()
    old = harness.swap("v1")
    line.captures(2)
    new = harness.swap("v2")
    line.captures(1)
    old.answers()
    old.dies()
    assert new.seqs == [2, 1]
    new.answers()
    new.answers()
    assert line.seqs == [0, 1, 2]
    assert [r.epoch for r in line.out] == [1, 2, 2]


def test_a_dead_engine_is_drained() -> None:
    """Its leases are back: nobody waits for what can't come."""
    harness = RouterHarness()
    line = harness.line()
    old = harness.swap("v1")
    line.captures(2)
    harness.swap("v2")
    old.dies()
    asyncio.run(asyncio.wait_for(harness.slot.drained(old), 1))


def test_a_frame_that_kills_twice_is_given_up_and_the_line_goes_on() -> None:
    """It is suspected; the frame behind it, which no engine has looked at, is not."""
    harness = RouterHarness()
    line = harness.line()
    engine = harness.swap("v1")
    line.captures(3)
    engine.dies()
    engine.restarts()
    assert engine.seqs == [0, 1]
    engine.dies()
    assert line.dropped == {"failed": 1}
    engine.restarts()
    assert engine.seqs == [1, 2]
    engine.answers()
    engine.answers()
    assert line.seqs == [1, 2]
    assert line.in_use == 0


def test_a_frame_that_is_given_up_waits_for_its_turn_and_is_not_tried_again() -> None:
    """The frame before it is still with the old engine."""
    harness = RouterHarness()
    line = harness.line()
    old = harness.swap("v1")
    line.captures()
    new = harness.swap("v2")
    line.captures(2)
    for _ in range(2):
        assert new.seqs == [1, 2]
        new.dies()
        new.restarts()
    assert (new.seqs, line.dropped) == ([2], {})
    new.answers()
    old.answers()
    assert (line.seqs, line.dropped) == ([0, 2], {"failed": 1})
    assert line.in_use == 0


def test_only_the_line_of_the_frame_that_kills_loses_it() -> None:
    """The other line's frame was in flight both times."""
    harness = RouterHarness()
    bad, good = harness.line("bad"), harness.line("good")
    engine = harness.swap("v1")
    bad.captures()
    good.captures()
    for _ in range(2):
        assert [frame.pipeline for _, frame in engine.has] == ["bad", "good"]
        engine.dies()
        engine.restarts()
    engine.answers()
    assert (bad.dropped, good.dropped) == ({"failed": 1}, {})
    assert good.seqs == [0]


def test_an_engine_that_dies_idle_loses_nothing() -> None:
    """Nothing was in flight."""
    harness = RouterHarness()
    line = harness.line()
    engine = harness.swap("v1")
    engine.dies()
    engine.restarts()
    line.captures()
    engine.answers()
    assert line.seqs == [0]


# -- an engine with streams --------------------------------------------------------------------------


def test_an_engine_has_a_frame_for_each_stream_and_as_many_waiting() -> None:
    """What one stream finishes first waits for its turn to come out."""
    harness = RouterHarness()
    line = harness.line()
    engine = harness.swap("v1", streams=3)
    line.captures(8)
    assert engine.seqs == [0, 1, 2, 3, 4, 5]
    engine.answers(place=1)
    assert (line.seqs, engine.seqs) == ([], [0, 2, 3, 4, 5, 6])
    engine.answers()
    assert line.seqs == [0, 1]


def test_a_live_line_has_a_frame_for_each_stream_and_one_that_waits() -> None:
    """More would only be older."""
    harness = RouterHarness()
    line = harness.line(live=True)
    engine = harness.swap("v1", streams=3)
    line.captures(6)
    assert engine.seqs == [0, 1, 2, 3]


def test_frames_that_were_in_work_together_are_tried_alone() -> None:
    """So only the one that kills is lost; those behind them were not looked at yet."""
    harness = RouterHarness()
    line, other = harness.line(), harness.line("other")
    engine = harness.swap("v1", streams=2)
    line.captures(6)
    assert engine.seqs == [0, 1, 2, 3]
    engine.dies()
    other.captures()
    engine.restarts()
    tried: list[tuple[str, int]] = []
    while len(engine.has) == 1:
        frame = engine.has[0][1]
        tried.append((frame.pipeline, frame.seq))
        if (frame.pipeline, frame.seq) == ("line-1", 1):
            engine.dies()
            engine.restarts()
        else:
            engine.answers()
    assert [seq for name, seq in tried if name == "line-1"] == [0, 1]
    assert line.dropped == {"failed": 1}
    assert len(engine.has) == 4, "all streams again, when no frame is suspected any more"
    while engine.has:
        engine.answers()
    assert line.seqs == [0, 2, 3, 4, 5]
    assert (other.seqs, other.dropped) == ([0], {})


# -- a line ends -------------------------------------------------------------------------------------


def test_a_line_that_ends_gives_back_every_frame() -> None:
    """In flight, answered out of turn, waiting."""
    harness = RouterHarness()
    line = harness.line()
    old = harness.swap("v1")
    line.captures(6)
    old.answers()
    new = harness.swap("v2")
    new.answers()
    assert line.in_use == 5
    line.removed()
    assert harness.router.routes == []
    asyncio.run(asyncio.wait_for(harness.slot.drained(old), 1))


def test_an_answer_for_a_line_that_ended_is_left_alone() -> None:
    """It was on its way; the other line goes on."""
    harness = RouterHarness()
    ended, line = harness.line("ended"), harness.line("line")
    engine = harness.swap("v1")
    ended.captures(2)
    line.captures(2)
    ended.removed()
    engine.answers()
    engine.faults()
    engine.answers()
    engine.answers()
    assert (ended.out, ended.dropped) == ([], {})
    assert line.seqs == [0, 1]


def test_an_engine_that_dies_after_its_line_ended() -> None:
    """Nothing is leased anew."""
    harness = RouterHarness()
    line = harness.line()
    engine = harness.swap("v1")
    line.captures(2)
    line.removed()
    engine.dies()
    engine.restarts()
    assert engine.seqs == []


def test_an_engine_can_t_answer_for_another() -> None:
    """Its ticket is not among those that it has: a broken worker doesn't speak for a good one."""
    harness = RouterHarness()
    line = harness.line()
    engine = harness.swap("v1")
    line.captures()
    stranger = harness.engine("v9")
    stranger.has = list(engine.has)
    stranger.answers()
    assert line.out == []
    engine.answers()
    assert [r.version for r in line.out] == ["v1"]


# -- batches -----------------------------------------------------------------------------------------


def test_an_engine_that_takes_batches_has_two_of_them() -> None:
    """One being inferred, one waiting; filled from all lines in turn."""
    harness = RouterHarness()
    lines = [harness.line(f"line-{i}") for i in range(4)]
    engine = harness.engine("v1")
    engine.max_batch = 3
    harness.slot.swap(engine, 1)
    for line in lines:
        line.captures(3)
    assert engine.in_flight == 2 * 3
    while engine.has:
        engine.answers()
    assert [line.seqs for line in lines] == [[0, 1, 2]] * 4


def test_a_live_line_does_not_fill_batches_alone() -> None:
    """More of its frames with the engine would only be older ones."""
    harness = RouterHarness()
    harness.now = 100.0
    engine = harness.engine("v1")
    engine.max_batch = 8
    harness.slot.swap(engine, 1)
    harness.line("camera", live=True).captures(5)
    assert engine.in_flight == DEPTH
    harness.line("file").captures(5)
    assert engine.in_flight == DEPTH + 5


def test_what_came_after_a_frame_that_is_tried_again_is_of_the_same_epoch() -> None:
    """Also what the engine before has answered already, or still answers; nothing is lost."""
    harness = RouterHarness()
    line = harness.line()
    bad = harness.swap("bad", streams=2)
    line.captures(5)
    assert bad.seqs == [0, 1, 2, 3]
    bad.answers(BOX_OF_A_DENT, place=1)
    good = harness.swap("good")
    bad.faults()
    while good.has:
        good.answers()
    bad.answers()
    bad.answers()
    assert line.seqs == [0, 1, 2, 3, 4]
    assert [record.epoch for record in line.out] == [2] * 5
    assert line.dropped == {}
    assert line.in_use == 0


@pytest.mark.parametrize("dies", [True, False])
@pytest.mark.parametrize("poisoned", [True, False])
def test_a_frame_that_fails_on_two_versions_is_at_fault(dies: bool, poisoned: bool) -> None:
    """The first of them is told of; a frame that the second infers is no excuse for the first."""
    harness = RouterHarness()
    found: list[VersionRef] = []
    harness.router = Router("yolo", harness.slot, lambda: harness.now, at_fault=found.append)
    line = harness.line()
    line.captures(2)
    bad = harness.swap("bad")
    if dies:
        bad.dies()
    good = harness.swap("good")
    if not dies:
        bad.faults()
    assert good.seqs == [0, 1]
    if poisoned:
        (good.dies if dies else good.faults)()
        good.restarts()
    while good.has:
        good.answers()
    assert found == ([bad.ref] if poisoned else [])
    assert line.seqs == ([1] if poisoned else [0, 1])


def test_a_frame_that_fails_twice_on_one_version_is_no_excuse() -> None:
    """Another version was never asked."""
    harness = RouterHarness()
    found: list[VersionRef] = []
    harness.router = Router("yolo", harness.slot, lambda: harness.now, at_fault=found.append)
    harness.line().captures(1)
    engine = harness.swap("v1")
    for _ in range(2):
        engine.dies()
        engine.restarts()
    assert found == []


# -- settings of the model ---------------------------------------------------------------------------


def test_what_counts_as_a_detection_is_the_model_s() -> None:
    """The engine finds all that may count; the rest is left out of the record, by the name of the class."""
    harness = RouterHarness()
    line = harness.line()
    engine = harness.swap("v1")
    line.captures()
    engine.answers(BOX_OF_A_DENT, (0.0, 0.0, 1.0, 1.0, 0.3, 0.0))
    harness.router.settings = DetectionSettings((("dent", 0.95), ("scratch", 0.1)), iou=0.6)
    line.captures()
    engine.answers(BOX_OF_A_DENT, (0.0, 0.0, 1.0, 1.0, 0.3, 0.0))
    assert engine.limits == [(0.25, 0.45), (0.1, 0.6)]
    assert [[int(box[5]) for box in record.boxes] for record in line.out] == [[1, 0], [0]]
    line.removed()


def test_a_pipeline_that_gets_another_source_begins_anew() -> None:
    """Sizes of the frames before, and what was kept of them, say nothing of it; what is on its way comes out."""
    harness = RouterHarness()
    line = harness.line()
    engine = harness.swap("v1")
    ended: list[str] = []
    harness.router.tap.subscribe(lambda frame, record: frame.release(), ended.append, fps=1.0, frames=1)
    line.captures(2)
    harness.router.begin_anew(line.route)
    assert (ended, harness.router.frame_sizes().seen) == (["line-1"], frozenset())
    engine.answers()
    engine.answers()
    line.captures()
    engine.answers()
    assert line.seqs == [0, 1, 2]
    line.removed()
