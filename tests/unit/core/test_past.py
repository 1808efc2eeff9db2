# SPDX-License-Identifier: AGPL-3.0-or-later
"""A version against this line's own past: large effects only, and nothing where the past says too little."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from edgeagent.core.past import (
    MAX_HOURS,
    Block,
    Past,
    PastLimits,
    lacks_blocks,
    lacks_past,
    past_breach,
    remember,
)

LIMITS = PastLimits(least_past=20, least_days=2)
NAMES = ("dent", "scratch")


def block(hour: float, dents: int, scratches: int = 50, day: int = 0, frames: int = 900) -> Block:
    """A minute of a line."""
    return Block(day, hour, frames, dents + scratches, {"dent": dents, "scratch": scratches})


def run(hour: float, dents: int, scratches: int = 50, day: int = 9) -> list[Block]:
    """Five of them."""
    return [block(hour, dents, scratches, day)] * 5


def days(*numbers: int, quiet: int = 0) -> Past:
    """From 8 to 16 o'clock, 6 runs an hour of 30 to 36 dents; `quiet`: so many blocks of each of them without any."""
    past = Past()
    for day in numbers:
        for hour in range(8, 16):
            for minute in range(0, 60, 10):
                blocks = [block(hour + minute / 60, 30 + minute // 10, day=day)] * (5 - quiet)
                empty = [block(hour + minute / 60, 0, 0, day=day)] * quiet
                past = remember(past, [*blocks, *empty], NAMES, LIMITS)
    return past


WEEK = days(1, 2, 3, 4, 5)


def test_far_less_than_ever_at_this_time_of_the_day_is_a_breach() -> None:
    """Of one class, or of all; in five blocks in a row, and one with more is a reason not to."""
    few = run(9.5, 10)
    assert past_breach(few[:4], WEEK, NAMES, LIMITS) == ""
    assert "1.1 dent on 100 frames" in past_breach(few, WEEK, NAMES, LIMITS)
    assert "this line had 3.3 at least" in past_breach(few, WEEK, NAMES, LIMITS)
    assert past_breach([*few[:4], block(9.5, 20)], WEEK, NAMES, LIMITS) == ""
    assert "objects" in past_breach(run(9.5, 5, 5), WEEK, NAMES, LIMITS)
    assert past_breach(run(9.5, 30), WEEK, NAMES, LIMITS) == ""


def test_as_many_quiet_blocks_as_the_past_had_are_no_reason() -> None:
    """Four of five without a part are usual on this line; five were never seen, and are a breach."""
    stops = days(1, 2, 3, quiet=4)
    assert past_breach([*run(9.5, 0, 0)[:4], block(9.5, 30)], stops, NAMES, LIMITS) == ""
    assert past_breach(run(9.5, 0, 0), stops, NAMES, LIMITS)
    breaks = days(1, 2, 3, quiet=5)
    assert past_breach(run(9.5, 0, 0), breaks, NAMES, LIMITS) == ""
    assert "without an object" in lacks_past(breaks, 9.5, NAMES, LIMITS)


def test_a_past_that_says_too_little_says_nothing_and_says_so() -> None:
    """None, one day only, or another shift."""
    nothing = run(9.5, 0, 0)
    for past, hour in ((Past(), 9.5), (days(1), 9.5), (WEEK, 22.0)):
        assert past_breach(run(hour, 0, 0), past, NAMES, LIMITS) == ""
        assert "are needed" in lacks_past(past, hour, NAMES, LIMITS)
    assert past_breach(nothing, days(1), NAMES, replace(LIMITS, least_days=1))
    assert lacks_past(WEEK, 9.5, NAMES, LIMITS) == ""


def test_missing_data_is_neither_health_nor_a_breach() -> None:
    """A block without frames enough: nothing is concluded from it, and it becomes no part of the past."""
    dark = [*run(9.5, 0, 0)[:4], block(9.5, 0, 0, frames=10)]
    assert past_breach(dark, WEEK, NAMES, LIMITS) == ""
    assert "4 blocks in a row" in lacks_blocks(dark, LIMITS)
    assert remember(WEEK, dark, NAMES, LIMITS) == WEEK


def test_midnight_is_in_a_shift() -> None:
    """23:30 and 0:30 are an hour apart."""
    past = Past()
    for day in (1, 2):
        for _ in range(12):
            past = remember(past, run(23.5, 30, day=day), NAMES, LIMITS)
    assert past_breach(run(0.5, 0, 0), past, NAMES, LIMITS)


def test_classes_that_a_version_lacks_are_not_held_against_it() -> None:
    """The operator let them go: neither they nor all objects together count, and what is left does."""
    scratches_only = [Block(9, 9.5, 900, 50, {"scratch": 50})] * 5
    assert past_breach(scratches_only, WEEK, ("scratch",), LIMITS) == ""
    blind = [Block(9, 9.5, 900, 5, {"scratch": 5})] * 5
    assert "scratch" in past_breach(blind, WEEK, ("scratch",), LIMITS)
    assert "dent" in past_breach(scratches_only, WEEK, NAMES, LIMITS)


def test_a_class_that_was_split_in_two_is_not_missing() -> None:
    """All objects together count yet; where classes went as well, nothing does, and that is said."""
    more = (*NAMES, "deep dent")
    split = [Block(9, 9.5, 900, 83, {"dent": 3, "deep dent": 30, "scratch": 50})] * 5
    assert past_breach(split, WEEK, more, LIMITS) == ""
    assert "objects" in past_breach(run(9.5, 3, 3), WEEK, more, LIMITS)
    assert past_breach(run(9.5, 0, 0), WEEK, ("dent", "deep dent"), LIMITS) == ""
    assert "other classes" in lacks_past(WEEK, 9.5, ("dent", "deep dent"), LIMITS)


def test_other_classes_begin_another_past() -> None:
    """The longest silence stays."""
    past = remember(replace(WEEK, longest_silence_s=7.0), run(9.5, 3), (*NAMES, "hole"), LIMITS)
    assert (len(past.hours), past.longest_silence_s) == (1, 7.0)
    assert remember(WEEK, run(9.5, 3), NAMES[::-1], LIMITS).hours[:-1] == WEEK.hours


def test_only_so_many_hours_are_kept() -> None:
    """The newest ones."""
    past = days(*range(40))
    assert len(past.hours) == MAX_HOURS
    assert past.hours[-1].day == 39


RATES = {"scratch": 10.0, "dent": 3.0, "chip": 1.0, "stain": 0.3}


class Simulated:
    """A line with so many objects a minute of each class, at random, each seen on sixty frames; days differ."""

    def __init__(self) -> None:
        self.random = Random(7)
        self.busy = 1.0

    def blocks(self, day: int, hour: float, minutes: int, blind: str = "") -> list[Block]:
        """Of a day that is busier than another, or less."""
        self.busy = self.random.lognormvariate(0.0, 0.3)
        return [self.minute(day, hour + n / 60, blind) for n in range(minutes)]

    def minute(self, day: int, hour: float, blind: str) -> Block:
        """Objects come independently of each other: 300 times in a minute one may."""
        found = {
            name: 60 * sum(self.random.random() < rate * self.busy / 300 for _ in range(300))
            for name, rate in RATES.items()
            if name != blind
        }
        return Block(day, hour, 1800, sum(found.values()), found)

    def breaches(self, past: Past, blind: str = "") -> int:
        """In fifty probations of ten minutes."""
        return sum(
            any(
                past_breach(run, past, tuple(RATES), PastLimits())
                for run in runs(self.blocks(99, self.random.uniform(10.5, 13), 10, blind))
            )
            for _ in range(50)
        )


def runs(blocks: list[Block]) -> list[list[Block]]:
    """All that are in them."""
    return [blocks[n : n + 5] for n in range(len(blocks) - 4)]


def test_chance_hardly_ever_takes_a_good_version_back_and_what_is_broken_always_goes() -> None:
    """With the thresholds as they come, after five days."""
    line, past = Simulated(), Past()
    for day in range(5):
        for each in runs(line.blocks(day, 10.0, 200)):
            past = remember(past, each, tuple(RATES), PastLimits())
    assert line.breaches(past) <= 1
    assert line.breaches(past, blind="scratch") == 50
