# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which source decides: each row of the tables is what the sources have said, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeagent.core.directive import Directive
from edgeagent.core.following import SeenRollout, Standing
from edgeagent.core.precedence import (
    UNREAD,
    Decision,
    Known,
    Said,
    Unread,
    decide,
    heard,
    version_ahead,
)
from edgeagent.core.rollout import Status, rollout_directive
from tests.support.rollout_seen import CURRENT, a_rollout, seen

P1, C1, P2, C2 = (Directive(v, f"id-{v}") for v in ("p1", "c1", "p2", "c2"))
NO, WHO = None, UNREAD


@pytest.mark.parametrize(
    ("pin", "current", "decides"),
    [
        (P1, C1, P1),
        (P1, NO, P1),
        (P1, WHO, P1),
        (NO, C1, C1),
        (NO, NO, NO),
        (NO, WHO, NO),
        (WHO, C1, NO),  # there may be a pin
        (WHO, WHO, NO),
    ],
)
def test_one_source(pin: Known, current: Known, decides: Directive | None) -> None:
    """The pin before the key for all, which counts only once it is known that there is no pin."""
    found = decide([Said(pin, current)])
    assert (found and found.directive) == decides


@pytest.mark.parametrize(
    ("first", "second", "decides"),
    [
        (Said(P1, C1), Said(P2, C2), (0, P1)),
        (Said(NO, C1), Said(P2, C2), (1, P2)),  # a pin of any source before each key for all
        (Said(NO, C1), Said(NO, C2), (0, C1)),
        (Said(NO, NO), Said(NO, C2), (1, C2)),
        (Said(NO, NO), Said(NO, NO), NO),
        (Said(NO, C1), Said(WHO, WHO), NO),  # the second may have a pin
        (Said(NO, C1), Said(NO, WHO), (0, C1)),
        (Said(WHO, WHO), Said(P2, C2), NO),  # the first may have one
        (Said(NO, WHO), Said(NO, C2), NO),
        (Said(NO, WHO), Said(P2, C2), (1, P2)),
        (Said(WHO, WHO, True), Said(P2, C2), (1, P2)),
        (Said(WHO, WHO, True), Said(NO, C2), (1, C2)),
        (Said(NO, C1), Said(WHO, WHO, True), (0, C1)),
        (Said(WHO, WHO, True), Said(WHO, WHO, True), NO),
        (Said(WHO, WHO, True), Said(WHO, C2), NO),
        (Said(P1, C1, True), Said(P2, C2), (0, P1)),  # given up, and come back
    ],
)
def test_two_sources(first: Said, second: Said, decides: tuple[int, Directive] | None) -> None:
    """In the order of the configuration; one that has said nothing yet holds up those after it until it is given up."""
    assert decide([first, second]) == (decides and Decision(*decides))


def test_no_source() -> None:
    """Nothing is decided."""
    assert decide([]) is None


A = Directive("a", "id-a", preload=True)


@pytest.mark.parametrize(
    ("sources", "ahead"),
    [
        ([Said(NO, C1, current_ahead=A)], A),
        ([Said(NO, NO, current_ahead=A)], A),
        ([Said(NO, C1)], NO),
        ([Said(WHO, C1, current_ahead=A)], NO),  # there may be a pin
        ([Said(P1, C1, current_ahead=A)], NO),  # this node doesn't follow `current`
        ([Said(P1, C1, pin_ahead=A)], A),
        ([Said(NO, C1), Said(NO, C2, current_ahead=A)], NO),
        ([Said(NO, NO), Said(NO, C2, current_ahead=A)], A),
        ([Said(NO, C1), Said(P2, C2, pin_ahead=A)], A),
        ([Said(WHO, WHO, True), Said(NO, NO, current_ahead=A)], A),
        ([], NO),
    ],
)
def test_what_is_to_be_made_ready_only(sources: list[Said], ahead: Directive | None) -> None:
    """The first key that says so, as long as none before it says what should serve."""
    assert version_ahead(sources) == ahead


@pytest.mark.parametrize("is_pin", [True, False])
def test_what_a_key_said_of_serving_stands_until_it_says_so_anew(is_pin: bool) -> None:
    """Or is deleted; before the first word of it, what was saved of it counts."""
    said = heard(Said(given_up=True), is_pin, A, P1)
    assert said == (Said(pin=P1, pin_ahead=A) if is_pin else Said(current=P1, current_ahead=A))
    assert heard(Said(), is_pin, A, NO) == (
        Said(pin=NO, pin_ahead=A) if is_pin else Said(current=NO, current_ahead=A)
    )
    assert heard(said, is_pin, A, C1) == said
    assert heard(said, is_pin, C1, NO) == (Said(pin=C1) if is_pin else Said(current=C1))
    assert heard(said, is_pin, NO, NO) == (Said(pin=NO) if is_pin else Said(current=NO))


ROLLED = rollout_directive("yolo", a_rollout())
ME = Standing("yolo", "n1", directive=ROLLED)
NEW = Standing("yolo", "n1", directive=CURRENT)


def fleet(
    rollout: SeenRollout | Unread | None, pin: Known = NO, current: Known = CURRENT, revision: str = "5"
) -> Said:
    """What a source has said that has roll-outs."""
    return Said(pin, current, rollout=rollout, revision=revision)


@pytest.mark.parametrize(
    ("said", "decides"),
    [
        (fleet(seen()), ROLLED),
        (fleet(seen(), pin=P1), P1),
        (fleet(seen(), pin=WHO), NO),
        (fleet(WHO), NO),  # there may be a roll-out that the node is in
        (fleet(seen(), current=WHO, revision=""), NO),  # it may have been written meanwhile
        (fleet(seen(), current=C1, revision="6"), C1),  # it was
        (fleet(seen(), current=NO, revision="absent"), NO),
        (fleet(seen(), current=NO), ROLLED),  # it only names a version to be made ready
        (fleet(NO), CURRENT),
        (fleet(seen(Status.DONE)), CURRENT),
        (fleet(WHO, pin=P1, current=WHO), P1),
    ],
)
def test_a_roll_out_between_pin_and_current(said: Said, decides: Directive | None) -> None:
    """Both that it builds on and itself have to be known."""
    found = decide([said], ME)
    assert (found and found.directive) == decides


def test_a_roll_out_comes_before_each_key_for_all() -> None:
    """It is the first source's; a pin of any source comes before it."""
    first = fleet(seen())
    assert decide([first, Said(NO, C2)], ME) == Decision(0, ROLLED)
    assert decide([first, Said(P2, C2)], ME) == Decision(1, P2)
    assert decide([first, Said(WHO, C2)], ME) is None


def test_a_source_that_was_given_up_has_no_roll_outs() -> None:
    """The node waits no longer for what it may say."""
    assert decide([Said(WHO, WHO, True, rollout=WHO), Said(NO, C2)], ME) == Decision(1, C2)


def test_what_comes_back_says_so() -> None:
    """Only the first source's `current` is what a roll-out builds on."""
    aborted = seen(Status.ABORTED)
    found = decide([fleet(aborted)], ME)
    assert found
    assert found.directive.returns
    assert decide([fleet(aborted, current=NO, revision="absent"), Said(NO, C2)], ME) == Decision(1, C2)


def ahead(status: Status = Status.PLANNED, **fields: Any) -> SeenRollout:
    """A roll-out of which all nodes prepare the version before their wave opens."""
    return seen(status, plan=replace(a_rollout().plan, preload=True), **fields)


@pytest.mark.parametrize(
    ("said", "me", "expected"),
    [
        (fleet(ahead(wave=-1)), NEW, ROLLED),
        (fleet(ahead(Status.ROLLING, open_below=0)), NEW, ROLLED),
        (fleet(ahead(Status.PAUSED, wave=-1)), NEW, ROLLED),
        (fleet(ahead(Status.ROLLING)), NEW, ROLLED),  # it waits to begin
        (fleet(ahead(Status.ROLLING)), ME, NO),  # it has begun
        (fleet(ahead(Status.ROLLING)), replace(NEW, held=True), NO),
        (fleet(ahead(), pin=P1), NEW, NO),
        (fleet(ahead(), revision="6"), NEW, NO),
        (fleet(ahead(Status.ABORTED)), NEW, NO),
        (fleet(ahead(Status.DONE)), NEW, NO),
        (fleet(seen()), NEW, NO),
        (fleet(WHO), NEW, NO),
    ],
)
def test_what_a_roll_out_has_made_ready(said: Said, me: Standing, expected: Directive | None) -> None:
    """From when it is planned until the node begins; before what the key for all has made ready."""
    assert version_ahead([said], me) == expected
    both = replace(said, current_ahead=A)
    follows_no_key = isinstance(said.pin, Directive) or said.rollout is WHO or me is ME
    assert version_ahead([both], me) == (expected if expected or follows_no_key else A)
