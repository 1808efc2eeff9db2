# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rules over frames, as tables: on which frame an alarm is raised, and on which it clears."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.core.alarms.in_view import MOST_BOXES, ObjectsInView
from edgeagent.core.alarms.rules import Confirmed, FrameSeen, Rule, condition, unusable
from edgeagent.core.alarms.watch import RuleWatch
from edgeagent.core.regions import parse_region

NAMES = ("carton", "person")
LEFT_HALF = parse_region([[0, 0], [0.5, 0], [0.5, 1], [0, 1]])
WIDTH, HEIGHT = 640, 360


def box(cls: int = 1, x: float = 100, conf: float = 0.9, size: float = 50) -> tuple[float, ...]:
    """A square box with its middle at `x`."""
    return (x - size / 2, 100.0, x + size / 2, 100.0 + size, conf, float(cls))


def frame(mono: float, *boxes: tuple[float, ...], names: tuple[str, ...] = NAMES) -> FrameSeen:
    """What was found on a frame at `mono`."""
    return FrameSeen(boxes, names, WIDTH, HEIGHT, mono, "v1")  # type: ignore[arg-type]


def run(rule: Rule, seen: str, step_s: float = 1.0) -> str:
    """A character a frame. In: `x` a person, `.` nothing, `|` a break. Out: `!` the condition holds, `.` it doesn't."""
    watch, out, now = RuleWatch(rule), "", 0.0
    for what in seen:
        now += step_s
        if what == "|":
            watch.pause()
            now += 1000
            out += "|"
            continue
        watch.observe(frame(now, *([box()] if what == "x" else [])))
        out += "!" if watch.active else "."
    return out


@pytest.mark.parametrize(
    ("fields", "seen", "holds"),
    [
        ({}, ".x.x...", ".!!!!!."),  # clears after the off-delay of 2 s
        ({"off_delay_s": 1.0}, ".x..x..", ".!!.!!."),
        ({"on_delay_s": 2.0}, ".xx.xxx...", "......!!!."),  # must last
        ({"on_delay_s": 2.0}, "xx|xxx", "..|..!"),  # a break counts for nothing
        ({"confirmed": Confirmed(2, 3), "off_delay_s": 1.0}, "x..x.x...", ".....!!.."),
        ({"confirmed": Confirmed(2, 3), "off_delay_s": 1.0}, "x|x.x", ".|..!"),
        ({"objects": 2}, "xxx", "..."),
        ({"when": "absent", "absent_s": 3.0, "off_delay_s": 1.0}, "x....xx", "...!!!."),
        ({"when": "absent", "absent_s": 3.0}, "x.|..x", "..|..."),  # while no frames come, nothing is missing
        ({"when": "absent", "absent_s": 3.0}, "x..|...", "...|.!!"),
    ],
)
def test_when_it_holds(fields: dict[str, Any], seen: str, holds: str) -> None:
    """Delays, n of the last m frames, absence; a frame a second."""
    assert run(Rule("r", classes=("person",), **fields), seen) == holds


@pytest.mark.parametrize(
    ("fields", "boxes", "holds"),
    [
        ({}, [box()], True),
        ({}, [box(cls=0)], False),
        ({"classes": ()}, [box(cls=0)], True),  # any
        ({"confidence": 0.95}, [box()], False),
        ({"region": LEFT_HALF}, [box(x=300)], True),
        ({"region": LEFT_HALF}, [box(x=340)], False),
        ({"min_size": 0.01}, [box(size=47)], False),  # 1 % of 640x360 is 48x48
        ({"min_size": 0.01}, [box(size=49)], True),
        ({"objects": 2}, [box(x=100), box(x=200)], True),
        ({"objects": 2}, [box(x=100), box(x=200, cls=0)], False),
    ],
)
def test_which_boxes_count(fields: dict[str, Any], boxes: list[tuple[float, ...]], holds: bool) -> None:
    """Class, confidence, region, size."""
    watch = RuleWatch(Rule("r", **{"classes": ("person",), **fields}))
    watch.observe(frame(0.0, *boxes))
    assert watch.active is holds


class Counting:
    """Rules of one pipeline that count."""

    def __init__(self, *rules: Rule) -> None:
        self.watches = [RuleWatch(rule) for rule in rules]
        self.objects = ObjectsInView()

    def observe(self, mono: float, *boxes: tuple[float, ...]) -> bool:
        """A frame. Returns whether one of them has changed."""
        seen = frame(mono, *boxes)
        objects = self.objects.observe(seen, self.watches)
        changed = [watch.observe(seen, objects) for watch in self.watches]
        return any(changed)

    @property
    def counted(self) -> list[float | str]:
        """By each."""
        return [watch.figures["objects"] for watch in self.watches]


def test_objects_are_counted_and_not_frames() -> None:
    """Three cartons cross the picture, one after the other, in view for twenty frames each: that is three."""
    c = Counting(Rule("r", "count", ("carton",), objects=3, within_s=60.0, confirmed=Confirmed(2, 2)))
    changes = []
    for n in range(120):
        at = [(n - start) * 30.0 for start in (0, 30, 60)]
        boxes = [box(cls=0, x=x) for x in at if 0 < x < WIDTH]
        if c.observe(n / 10, *boxes):
            changes.append(n)
    assert changes == [62]  # the third, on the second of its frames
    assert c.counted == [3]
    for n in range(120, 900):
        if c.observe(n / 10):
            changes.append(n)
    assert changes[1] == pytest.approx(
        602 + 20 + 1, abs=2
    )  # the first is longer ago than a minute, and the off-delay


def test_a_flicker_is_no_object() -> None:
    """What is seen on one frame only isn't counted where two are asked for."""
    c = Counting(Rule("r", "count", objects=1, confirmed=Confirmed(2, 2)))
    for n in range(30):
        c.observe(n / 10, *([box()] if n == 10 else []))
    assert c.counted == [0]


def test_an_object_counts_where_the_region_is() -> None:
    """Once it has come into it."""
    c = Counting(Rule("r", "count", objects=1, region=LEFT_HALF))
    seen = []
    for n in range(20):
        c.observe(n / 10, box(x=600 - 30 * n))
        seen += c.counted
    assert seen.index(1) == 10
    assert seen[-1] == 1


def test_rules_count_each_for_itself_what_is_followed_once() -> None:
    """An object counts by the frames on which it meets the rule; a rule that is new begins with what is in view."""
    sure = Rule("sure", "count", confidence=0.8, confirmed=Confirmed(2, 2))
    c = Counting(Rule("any", "count"), sure, Rule("cartons", "count", ("carton",)))
    for n, conf in enumerate((0.5, 0.9, 0.5)):
        c.observe(n / 10, box(conf=conf), box(cls=0, x=500, conf=0.6))
    assert c.counted == [2, 0, 1]
    c.observe(0.3, box(conf=0.9), box(cls=0, x=500, conf=0.6))
    assert c.counted == [2, 1, 1]
    c.watches.append(RuleWatch(Rule("new", "count")))
    c.observe(0.4, box(conf=0.9), box(cls=0, x=500, conf=0.6))
    assert c.counted == [2, 1, 1, 2]


def test_of_a_flood_the_surest_are_followed() -> None:
    """A frame with thousands of boxes holds up none that come after it."""
    objects, rule = ObjectsInView(), RuleWatch(Rule("r", "count"))
    flood = frame(0.0, *(box(conf=1 - n / 5000) for n in range(5000)))
    assert [seen for seen, _ in objects.observe(flood, [rule])] == list(flood.boxes[:MOST_BOXES])


def test_classes_that_change_their_place() -> None:
    """After a swap the names stand under other numbers."""
    watch = RuleWatch(Rule("r", classes=("person",), off_delay_s=1.0))
    watch.observe(frame(0.0, box(cls=1)))
    assert watch.active
    for n in range(1, 4):
        watch.observe(frame(n, box(cls=1), names=("person", "carton")))
    assert not watch.active


def test_what_held_before_a_restart_holds_until_frames_say_otherwise() -> None:
    """And the frames have to say so for as long as the off-delay."""
    watch = RuleWatch(Rule("r", off_delay_s=5.0), active=True)
    for n in range(5):
        watch.observe(frame(n))
        assert watch.active
    watch.observe(frame(5.0))
    assert not watch.active


def test_a_rule_for_a_class_that_is_not_there() -> None:
    """Is said in words, and doesn't hang on how many classes there are."""
    rule = Rule("r", classes=("person", "forklift"))
    assert unusable(rule, ("person", "forklift", "x"), "v1") == ""
    assert unusable(rule, ("person",), "v2") == "v2 has no class forklift; it has person"
    many = tuple(f"c{n}" for n in range(80))
    assert "and 75 more" in unusable(rule, many, "v2")
    assert unusable(Rule("r"), (), "v1") == ""  # any class


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Rule("r", classes=("person",)), "line-1: person seen"),
        (Rule("r", "count", ("person",), objects=5), "line-1: 5 times person within 60 s"),
        (Rule("r", "absent", ("person",), absent_s=30), "line-1: no person for 30 s"),
        (Rule("r", classes=("a\nb\x1b[2J",)), "line-1: a b [2J seen"),
        (Rule("r", text="Get out!"), "Get out!"),
    ],
)
def test_what_is_said(rule: Rule, text: str) -> None:
    """In the words of the rule, or in words made of it; on one line, whatever a class is called."""
    assert condition(rule, "line-1", "yolo", (), {}).text == text
