# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is fastest, from timings in turns: what noise can't turn round, and when it is known."""

from __future__ import annotations

import random

import pytest

from edgeagent.core.race import CALM, MAX_TURNS, Standing, Turn, is_settled, standing

BUSY = CALM * 2


def turns(*each: dict[str, float], waited: float = 0.0) -> list[Turn]:
    """Turns with these times."""
    return [Turn(ms, waited) for ms in each]


def test_one_turn_tells_apart_what_is_twice_as_fast_and_no_more() -> None:
    """One look is noise: 8.34 against 8.43 once decided for good, and ten minutes later it was 90 against 133."""
    order = ("torch", "fp32", "bf16")
    assert standing(order, turns({"torch": 40.0, "fp32": 8.34, "bf16": 8.43})) == Standing("fp32", ("bf16",))
    assert not is_settled(order, turns({"torch": 40.0, "fp32": 8.34, "bf16": 8.43}))
    assert standing(order, turns({"torch": 40.0, "fp32": 20.0, "bf16": 8.0})) == Standing("bf16", ())


def test_one_turn_on_a_busy_machine_tells_nothing_apart() -> None:
    """663 ms against 97 was seen, of two that take 17 and 14."""
    look = turns({"onnxruntime": 662.7, "openvino": 96.8}, waited=BUSY)
    assert standing(("onnxruntime", "openvino"), look) == Standing("openvino", ("onnxruntime",))


def test_what_is_faster_in_each_turn_wins_whatever_the_turns_were_like() -> None:
    """The machine gets slower and faster by half; the two that are compared had the same."""
    seen = turns(*({"fp32": 11.2 * slow, "bf16": 7.5 * slow * noise} for slow, noise in
                 ((1.0, 1.0), (1.6, 1.04), (1.2, 0.97), (2.0, 1.02), (1.1, 1.0))))  # fmt: skip
    assert standing(("fp32", "bf16"), seen) == Standing("bf16", ())
    assert is_settled(("fp32", "bf16"), seen)


def test_about_as_fast_is_not_worth_it_and_what_is_nearer_to_the_source_stays() -> None:
    """Less than a tenth."""
    seen = turns(*({"near": 10.0, "far": far} for far in (9.5, 9.45, 9.55, 9.5)))
    assert standing(("near", "far"), seen) == Standing("near", ())
    assert standing(("far", "near"), seen) == Standing("far", ())


def test_what_had_no_turn_yet_may_be_the_fastest() -> None:
    """It was left out by an earlier look."""
    assert standing(("a", "b"), turns({"a": 1.0})) == Standing("a", ("b",))
    assert standing(("a",), []) == Standing("a", ())


def test_who_was_out_early_is_compared_with_by_the_turns_that_both_had() -> None:
    """The leader goes, because it finds something else; the next is the faster of those that are left."""
    seen = turns({"a": 30.0, "b": 12.0, "c": 8.0}, {"b": 12.0, "c": 8.0}, {"b": 12.1, "c": 8.0})
    assert standing(("a", "b", "c"), seen) == Standing("c", ())
    assert standing(("a", "b"), seen) == Standing("b", ())


def test_turns_on_a_busy_machine_settle_nothing() -> None:
    """However clear they are; calm ones do."""
    clear = [{"a": 10.0, "b": 5.0}, {"a": 10.1, "b": 5.0}, {"a": 10.0, "b": 5.1}]
    assert not is_settled(("a", "b"), turns(*clear, waited=BUSY))
    assert is_settled(("a", "b"), [*turns(*clear, waited=BUSY), *turns(*clear)])


def test_where_there_is_no_choice_nothing_is_left_to_settle() -> None:
    """However busy the machine is."""
    assert is_settled(("a",), turns({"a": 1.0}, waited=BUSY))


def test_a_tie_is_settled_when_the_turns_are_used_up() -> None:
    """Either will do."""
    tie = [{"a": 10.0, "b": 9.0 + (0.3 if i % 2 else -0.3)} for i in range(MAX_TURNS)]
    assert not is_settled(("a", "b"), turns(*tie[:-1]))
    assert is_settled(("a", "b"), turns(*tie))


@pytest.mark.parametrize("quotient", [0.7, 0.8, 1.0, 1.3])
def test_the_wrong_one_is_hardly_ever_taken(quotient: float) -> None:
    """Times that are off by a tenth and more, in two hundred races: wrong in fewer than one of twenty."""
    dice = random.Random(quotient)
    wrong = 0
    for _ in range(200):
        seen: list[Turn] = []
        while not is_settled(("near", "far"), seen):
            load = dice.uniform(1.0, 2.0)
            near, far = (load * dice.lognormvariate(0.0, 0.1) for _ in range(2))
            seen += turns({"near": 10.0 * near, "far": 10.0 * quotient * far})
        right = "far" if quotient < 0.9 else "near"
        wrong += standing(("near", "far"), seen).leader != right
    assert wrong < 10, wrong
