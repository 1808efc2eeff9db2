# SPDX-License-Identifier: AGPL-3.0-or-later
"""The frame ring: who has which slot, and one memory seen from two sides."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.workers.ring import Ring, RingView


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Three slots of one page."""
    ring = Ring(7, 3, 100)
    yield ring
    ring.close()


def test_slots_are_lent_once_until_none_is_left(ring: Ring) -> None:
    """Each slot goes to one user; then there is none."""
    assert {ring.acquire(), ring.acquire(), ring.acquire()} == {0, 1, 2}
    assert ring.acquire() is None
    assert ring.free == 0


def test_a_slot_given_back_twice_is_refused(ring: Ring) -> None:
    """A release too many is an error, not a slot that two may write."""
    slot = ring.acquire()
    assert slot is not None
    ring.release(slot)
    with pytest.raises(ValueError, match="free already"):
        ring.release(slot)


@given(st.lists(st.booleans(), max_size=60))
def test_no_slot_is_ever_free_and_used(steps: list[bool]) -> None:
    """Whatever the order of taking and giving back, free and used slots add up, and no slot is lent twice."""
    ring = Ring(1, 4, 10)
    used: list[int] = []
    try:
        for take in steps:
            if take and (slot := ring.acquire()) is not None:
                assert slot not in used
                used.append(slot)
            elif not take and used:
                ring.release(used.pop(0))
            assert ring.free + len(used) == 4
    finally:
        ring.close()


def test_slots_begin_at_pages(ring: Ring) -> None:
    """The size of a slot is rounded up to a page, and the memory is as large as promised."""
    assert ring.slot_bytes == mmap.PAGESIZE
    assert os.fstat(ring.fd).st_size == 3 * mmap.PAGESIZE


def test_what_one_side_writes_the_other_reads(ring: Ring) -> None:
    """Two views of the ring show the same picture, and neighbours stay clear of each other."""
    camera = RingView(os.dup(ring.fd), ring.slots, ring.slot_bytes)
    engine = RingView(os.dup(ring.fd), ring.slots, ring.slot_bytes)
    camera.image(1, 4, 5)[:] = 200
    assert (engine.image(1, 4, 5) == 200).all()
    assert (engine.image(0, 4, 5) == 0).all()
    assert (engine.image(2, 4, 5) == 0).all()


@pytest.mark.parametrize(("slot", "height", "width"), [(3, 1, 1), (-1, 1, 1), (0, 1000, 1000), (0, 0, 5)])
def test_an_image_outside_its_slot_is_refused(ring: Ring, slot: int, height: int, width: int) -> None:
    """No slot that there is not, no frame that reaches into the next one, none without pixels."""
    view = RingView(os.dup(ring.fd), ring.slots, ring.slot_bytes)
    with pytest.raises(ValueError, match="frame in slot"):
        view.image(slot, height, width)


def test_closing_is_safe_while_an_image_is_in_use(ring: Ring) -> None:
    """The picture stays readable; the memory goes with it."""
    view = RingView(os.dup(ring.fd), ring.slots, ring.slot_bytes)
    image = view.image(0, 2, 2)
    image[:] = 9
    view.close()
    assert (image == 9).all()


def test_a_ring_closes_once() -> None:
    """Closing again does nothing, and never another's descriptor."""
    ring = Ring(1, 1, 1)
    ring.close()
    fd = os.open(os.devnull, os.O_RDONLY)
    ring.close()
    os.fstat(fd)
    os.close(fd)
