# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which source decides: each row of the tables is what the sources have said, and what follows from it."""

from __future__ import annotations

import pytest

from edgeagent.core.directive import Directive
from edgeagent.core.precedence import UNREAD, Decision, Known, Said, decide

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
