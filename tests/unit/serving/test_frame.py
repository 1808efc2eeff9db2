# SPDX-License-Identifier: AGPL-3.0-or-later
"""Frames are counted by user, and give their slot back once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edgeagent.serving.frame import Frame
from edgeagent.workers.ring import Ring


@pytest.fixture
def ring() -> Iterator[Ring]:
    """One slot."""
    ring = Ring(1, 1, 12)
    yield ring
    ring.close()


def _frame(ring: Ring, freed: list[Ring]) -> Frame:
    slot = ring.acquire()
    assert slot is not None
    return Frame("line", 5, ring, slot, 2, 2, 0.0, 0.0, freed.append)


def test_the_slot_is_free_when_the_last_user_released_it(ring: Ring) -> None:
    """Engine and preview hold a frame; the slot returns with the second release."""
    freed: list[Ring] = []
    frame = _frame(ring, freed)
    assert frame.retain() is frame
    frame.release()
    assert (freed, ring.free) == ([], 0)
    frame.release()
    assert (freed, ring.free) == ([ring], 1)


def test_a_release_too_many_does_not_hit_the_next_frame(ring: Ring) -> None:
    """The slot has a new frame already; the old one can't take it away."""
    frame = _frame(ring, [])
    frame.release()
    _frame(ring, [])
    with pytest.raises(ValueError, match="frame 5 of line"):
        frame.release()
    with pytest.raises(ValueError, match="released already"):
        frame.retain()
    assert ring.free == 0


def test_what_is_lent_is_counted_apart(ring: Ring) -> None:
    """Its users come and go; the last of them gives it back, and the slot is free when nobody has it any more."""
    freed: list[Ring] = []
    returned: list[Ring] = []
    frame = _frame(ring, freed)
    lent = frame.lend(returned.append)
    assert (lent.slot, lent.seq, lent.users) == (frame.slot, 5, 1)
    frame.release()
    lent.retain().release()
    assert (returned, freed, ring.free) == ([], [], 0)
    lent.release()
    assert (returned, freed, ring.free) == ([ring], [ring], 1)
    with pytest.raises(ValueError, match="released already"):
        lent.release()
    with pytest.raises(ValueError, match="released already"):
        frame.lend(returned.append)
