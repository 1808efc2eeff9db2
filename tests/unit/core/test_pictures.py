# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures on a node's disk: their names, which go first, and which are worth a place."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.pictures import (
    Picture,
    PictureQuota,
    has_room,
    least_score,
    outdone_by,
    over_quota,
    picture_stem,
    read_picture,
    spread,
)

NOW = 1_800_000_000.0
QUOTA = PictureQuota(max_bytes=1000, max_age_s=100.0, max_pictures=10, min_free_bytes=500)


def taken(age_s: float, size: int = 10, seq: int = 0) -> Picture:
    """A picture of so many seconds ago."""
    return Picture(f"line-1/{age_s:g}.jpg", size, NOW - age_s, seq)


def differing(score: int, at_s: float, pipeline: str = "line-1") -> Picture:
    """A picture on which two versions differ by so much."""
    return Picture(f"{pipeline}-{at_s:g}", 1, NOW + at_s, 0, pipeline, score)


@given(
    st.integers(0, 4_000_000_000_000),
    st.integers(0, 10**12 - 1),
    st.sampled_from(["", "line-1", "a.b_c-d3", "9"]),
    st.integers(0, 999_999),
)
def test_a_name_tells_all(ms: int, seq: int, pipeline: str, score: int) -> None:
    """And comes back as it was, to the millisecond."""
    found = read_picture(f"x/{picture_stem(ms / 1000, seq, pipeline, score)}.jpg", 7)
    assert found is not None
    assert (found.seq, found.pipeline, found.size) == (seq, pipeline, 7)
    assert found.score == (score if pipeline else 0)
    assert abs(found.ts - ms / 1000) < 0.0011


@pytest.mark.parametrize(
    "name", ["", "a.jpg", "20261128T233405.123Z-42.png", "20261399T233405.123Z-42.jpg", "data.yaml", ".x.tmp"]
)
def test_what_has_no_such_name_is_no_picture(name: str) -> None:
    """It is left alone."""
    assert read_picture(name, 1) is None


def test_names_sort_by_time() -> None:
    """Also for who lists them with ls."""
    assert picture_stem(NOW, 100) < picture_stem(NOW + 0.001, 1) < picture_stem(NOW + 3600, 0)
    assert picture_stem(NOW + 0.25, 42, "line-1", 3) == "20270115T080000.250Z-42-line-1-d3"


def test_within_the_quota_nothing_goes() -> None:
    """Ten pictures of a hundred bytes, of a hundred seconds at most, are just within."""
    assert over_quota([taken(age, 100) for age in range(10, 101, 10)], QUOTA, NOW, 500) == []


@pytest.mark.parametrize(
    ("pictures", "free", "gone"),
    [
        ([taken(101), taken(99)], 500, [101]),  # too old
        ([taken(age, 300) for age in (1, 2, 3, 4)], 500, [4]),  # too much
        ([taken(age, 1) for age in range(12)], 500, [11, 10]),  # too many
        ([taken(age, 100) for age in (1, 2, 3)], 350, [3, 2]),  # the disk is short
        ([taken(age, 100) for age in (1, 2, 3)], 0, [3, 2, 1]),
        ([taken(-3600), taken(50)], 500, [-3600]),  # dated by a clock that was wrong
        ([taken(-1), taken(50)], 500, []),
        ([taken(200, 300), taken(1, 10)], 200, [200]),  # what is too old makes room
    ],
)
def test_the_oldest_go_first(pictures: list[Picture], free: int, gone: list[float]) -> None:
    """Until the others are within the quota, and the disk has as much free as it must."""
    assert [p.path for p in over_quota(pictures, QUOTA, NOW, free)] == [f"line-1/{age:g}.jpg" for age in gone]


@given(st.lists(st.tuples(st.floats(-200, 200), st.integers(0, 900)), max_size=30), st.integers(0, 2000))
def test_what_stays_is_within_the_quota(rows: list[tuple[float, int]], free: int) -> None:
    """Whatever was there; and where all goes there was no other way."""
    pictures = [taken(age, size, seq) for seq, (age, size) in enumerate(rows)]
    gone = over_quota(pictures, QUOTA, NOW, free)
    stay = [p for p in pictures if p not in gone]
    assert sum(p.size for p in stay) <= QUOTA.max_bytes
    assert len(stay) <= QUOTA.max_pictures
    assert all(NOW - p.ts <= QUOTA.max_age_s for p in stay)
    assert not stay or free + sum(p.size for p in gone) >= QUOTA.min_free_bytes


def test_where_none_is_kept_all_go() -> None:
    """What a configuration before has left."""
    pictures = [taken(age) for age in (1, 2, 3)]
    assert len(over_quota(pictures, replace(QUOTA, max_pictures=0), NOW, 10**9)) == 3


def test_no_picture_is_written_on_a_disk_that_is_short() -> None:
    """Nor one that is larger than all that may be kept."""
    assert has_room(100, QUOTA, 600)
    assert not has_room(100, QUOTA, 599)
    assert not has_room(1001, QUOTA, 10**9)


def test_the_worst_are_kept() -> None:
    """The least of them makes way for a worse one; for one that is no worse none does."""
    kept = [differing(5, 0), differing(2, 10), differing(9, 20)]
    assert outdone_by(differing(1, 99), kept, 4, 2.0) == []
    assert outdone_by(differing(3, 99), kept, 3, 2.0) == [kept[1]]
    assert outdone_by(differing(2, 99), kept, 3, 2.0) is None
    assert (least_score(kept, 3), least_score(kept, 4)) == (3, 1)
    assert outdone_by(differing(9, 99), [], 0, 2.0) is None


def test_of_one_part_there_is_one_picture() -> None:
    """The one on which they differ most, of what a pipeline shows within the time that it is in view."""
    kept = [differing(5, 0), differing(2, 10)]
    assert outdone_by(differing(5, 1.9), kept, 9, 2.0) is None
    assert outdone_by(differing(6, 1.9), kept, 9, 2.0) == [kept[0]]
    assert outdone_by(differing(6, 1.9), kept, 2, 2.0) == [kept[0]]
    assert outdone_by(differing(5, 1.9, "line-2"), kept, 9, 2.0) == []


def test_frames_are_spread_over_folders_and_time() -> None:
    """A camera that has few leaves its places to the others; the newest is always among them."""
    busy = [Picture(f"a/{n}.jpg", 1, float(n)) for n in range(100)]
    quiet = [Picture(f"b/{n}.jpg", 1, float(n)) for n in range(3)]
    chosen = spread(busy + quiet, 13)
    assert [p.ts for p in chosen if p.path.startswith("b/")] == [0, 1, 2]
    assert [p.ts for p in chosen if p.path.startswith("a/")] == [9, 19, 29, 39, 49, 59, 69, 79, 89, 99]
    assert spread(busy, 1000) == busy
    assert spread([], 10) == []
