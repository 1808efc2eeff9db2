# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose version may be prepared: each row is a queue, and who of it is under way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.state import PrepareMode, State, VersionRef
from edgeagent.core.update_queue import Precedence, QueueEntry, precedence_of, under_way, waits_for

SERVES = State("yolo", active=VersionRef("v2", "sha256:v2"), stable_versions=(VersionRef("v1", "sha256:v1"),))
KINDS = {"r": Precedence.BESIDE, "b": Precedence.AT_ONCE, "u": Precedence.UPDATE, "p": Precedence.PRELOAD}


def entries(text: str) -> list[QueueEntry]:
    """Such as `u* u p/1`: an update that has begun, one that waits, a preload for the model of the first one."""
    found: list[QueueEntry] = []
    for number, word in enumerate(text.split(), start=1):
        kind, _, of = word.replace("*", "").partition("/")
        found.append(QueueEntry(number, f"m{of or number}", KINDS[kind], "*" in word))
    return found


@pytest.mark.parametrize(
    ("queue", "most", "may"),
    [
        ("u", 1, {1}),
        ("u u u", 1, {1}),
        ("u u u", 2, {1, 2}),
        ("u* u u", 1, {1}),  # whoever has begun goes on
        ("u u* u", 1, {2}),
        ("u* u* u", 1, {1, 2}),  # as before the configuration was changed
        ("u* b", 1, {1, 2}),  # a start doesn't wait,
        ("b* u", 1, {1}),  # and is waited for
        ("b u u", 2, {1, 2}),
        ("b b b", 1, {1, 2, 3}),
        ("r* u", 1, {1, 2}),  # a rebuild neither waits nor is waited for
        ("u* r", 1, {1, 2}),
        ("p", 1, {1}),
        ("p p", 1, {1}),
        ("p p*", 1, {2}),
        ("p p*", 2, {1, 2}),
        ("p* u", 1, {2}),  # gives way at once
        ("p* u", 2, {1, 2}),
        ("p* u* u", 2, {2, 3}),
        ("p* u*/1", 4, {2}),  # beside an update of its own model there is nothing to make ready
        ("p* b/1", 4, {2}),
        ("p* u* u u", 2, {2, 3}),
        ("", 1, set()),
    ],
)
def test_who_is_under_way(queue: str, most: int, may: set[int]) -> None:
    """So many updates, in the order of their arrival; preloads only where no update needs the place."""
    assert under_way(entries(queue), most) == may


ENTRIES = st.lists(
    st.tuples(st.sampled_from(list(Precedence)), st.sampled_from(["a", "b", "c"]), st.booleans()), max_size=8
).map(lambda rows: [QueueEntry(n, model, kind, begun) for n, (kind, model, begun) in enumerate(rows)])


@given(ENTRIES, st.integers(1, 4))
def test_whatever_waits_nobody_is_forgotten_and_no_limit_is_passed(
    queue: list[QueueEntry], most: int
) -> None:
    """Nobody waits while there is a place; nothing that has begun is stopped but a preload; preloads fill no place
    that an update could have."""
    may = under_way(queue, most)
    updates = [e for e in queue if e.precedence in (Precedence.AT_ONCE, Precedence.UPDATE)]
    preloads = [e for e in queue if e.precedence is Precedence.PRELOAD and e.number in may]
    assert all(e.number in may for e in queue if e.begun and e.precedence is not Precedence.PRELOAD)
    assert all(e.number in may for e in queue if e.precedence <= Precedence.AT_ONCE)
    running = [e for e in updates if e.number in may]
    waits = [e for e in updates if e.number not in may]
    assert not waits or len(running) >= most
    assert not preloads or len(updates) + len(preloads) <= most
    began = [e for e in running if e.precedence is Precedence.UPDATE and not e.begun]
    assert all(e.number < w.number for e in began for w in waits)


def test_what_waits_says_for_what_and_how_long_its_line_is() -> None:
    """A preload is no part of an update's line."""
    queue = entries("u* p u u b*")
    assert (
        waits_for(queue, queue[3]) == "for its turn: m1 is being updated, m5 is being updated; place 2 of 2"
    )
    assert waits_for(queue, queue[1]).endswith("; place 3 of 3")
    queue = entries("p* r* p")
    assert waits_for(queue, queue[2]) == "for its turn: m1 is being preloaded; place 1 of 1"


@pytest.mark.parametrize(
    ("mode", "version", "state", "precedence"),
    [
        (PrepareMode.UPDATE, "v3", SERVES, Precedence.UPDATE),
        (PrepareMode.UPDATE, "v1", SERVES, Precedence.AT_ONCE),  # it has served well here
        (PrepareMode.UPDATE, "v3", State("yolo"), Precedence.AT_ONCE),  # a line waits
        (PrepareMode.BOOT, "v1", SERVES, Precedence.AT_ONCE),
        (PrepareMode.REBUILD, "v2", SERVES, Precedence.BESIDE),
        (PrepareMode.PRELOAD, "v1", SERVES, Precedence.PRELOAD),
        (PrepareMode.PRELOAD, "v3", State("yolo"), Precedence.PRELOAD),
    ],
)
def test_what_a_preparation_is_worth(
    mode: PrepareMode, version: str, state: State, precedence: Precedence
) -> None:
    """A start, a line without a model and the way back don't wait for anybody's update."""
    assert precedence_of(mode, version, state) is precedence
