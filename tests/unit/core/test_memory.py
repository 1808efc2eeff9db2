# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a version has room beside the one that serves, or in its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.memory import Fit, Place, Room, needs_of

MB = 1 << 20


def fit(needs: int, free: int, frees: int = 0, reserve_mb: float = 64.0, margin: float = 1.2) -> Fit:
    """Of a machine without a GPU; megabytes."""
    return Fit((Room("memory", needs * MB, free * MB, frees * MB),), reserve_mb, margin, 1.5)


@pytest.mark.parametrize(
    ("found", "place"),
    [
        (fit(100, 1000), Place.BESIDE),
        (fit(100, 184), Place.BESIDE),  # 120 and 64
        (fit(100, 183), Place.NOWHERE),
        (fit(100, 183, frees=10), Place.INSTEAD),
        (fit(100, 0, frees=184), Place.INSTEAD),
        (fit(100, 0, frees=100), Place.NOWHERE),
        (fit(0, 64), Place.BESIDE),
        (fit(0, 63), Place.NOWHERE),
    ],
)
def test_where_a_version_has_room(found: Fit, place: Place) -> None:
    """Of what was measured with a margin, beside a reserve."""
    assert found.place is place


def test_the_scarcest_memory_decides() -> None:
    """The GPU's, where there is one."""
    plenty, little = Room("memory", MB, 1000 * MB), Room("GPU memory", 500 * MB, 100 * MB, 900 * MB)
    found = Fit((plenty, little), 64.0, 1.2)
    assert found.place is Place.INSTEAD
    (reason,) = found.reasons(may_stop=False)
    assert reason.startswith("GPU memory: it needs 500 MB")
    assert found.figures["gpu_needs_mb"] == 500


def test_it_is_refused_unless_stopping_what_serves_makes_room() -> None:
    """And the reason says that this would."""
    (reason,) = fit(100, 100, frees=200).reasons(may_stop=False)
    assert "update.mode: stop-start" in reason
    assert fit(100, 100, frees=200).reasons(may_stop=True) == []
    (reason,) = fit(100, 50, frees=20).reasons(may_stop=True)
    assert "20 MB more once what serves is stopped" in reason
    assert "stop-start" not in reason
    assert fit(100, 1000).reasons(may_stop=False) == []


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.floats(0, 1e9), st.floats(1, 10))
def test_what_may_be_needed_and_what_has_room_agree(
    needs: int, free: int, reserve: float, margin: float
) -> None:
    """What more memory never makes worse."""
    room = Room("memory", needs, free)
    assert (room.place(reserve, margin) is Place.BESIDE) == (needs <= room.most(reserve, margin))
    assert room.most(reserve, margin) <= Room("memory", needs, free + 1).most(reserve, margin)


def test_what_was_measured_is_read_again() -> None:
    """From the figures of the gate, rounded up; what isn't there, or is something else, is none."""
    found = Fit((Room("memory", 100 * MB + 1, 1000 * MB),), 64.0, 1.2, 1.5)
    assert needs_of(found.figures) == (101 * MB, 0, 1.5)
    assert needs_of({"needs_mb": "many"}) == (0, 0, 0.0)
