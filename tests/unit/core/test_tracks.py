# SPDX-License-Identifier: AGPL-3.0-or-later
"""Objects that are followed from frame to frame."""

from __future__ import annotations

from math import hypot

import pytest

from edgeagent.core import tracks
from edgeagent.core.tracks import Follower, Sighting


def _crowd(shift: float) -> list[Sighting]:
    places = [(60.0 + 18 * n, 40.0 + 97 * n % 1000) for n in range(100)]
    return [Sighting(0, (x + shift, y, x + shift + 12, y + 12, 0.9, 0), 0.9, 0.9) for x, y in places]


def test_each_object_of_a_crowded_picture_stays_the_one_that_it_is() -> None:
    """A hundred parts that move alike are a hundred objects."""
    follower = Follower()
    for n in range(10):
        assert follower.observe(_crowd(4.0 * n), n / 8, 1920, 1080) == []
    assert [track.frames for track in follower.tracks] == [10] * 100


def test_in_a_crowded_picture_only_what_is_near_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison runs on the thread of the frames: all objects with all others would hold these up."""
    asked = []
    monkeypatch.setattr(tracks, "hypot", lambda x, y: asked.append(0) or hypot(x, y))
    follower = Follower()
    for n in range(3):
        asked.clear()
        follower.observe(_crowd(4.0 * n), n / 8, 1920, 1080)
    assert len(asked) < 100 * 100 / 4
