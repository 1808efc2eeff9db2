# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which two frames show what a swap has changed."""

from __future__ import annotations

from edgeagent.demo.charts import find_pair
from edgeagent.scenes.conveyor import Truth
from tests.support.demo import TINY, good_run, record


def test_the_pair_is_the_surest_of_one_defect_across_a_swap() -> None:
    """The last frame of v1 that misses it, and the frame of v2 that is surest."""
    pair = find_pair(good_run(), lambda index: [TINY], 640)
    assert pair is not None
    before, after = pair
    assert (before.record["seq"], before.found) == (9, False)
    assert (after.record["seq"], after.found, after.confidence) == (19, True, 0.69)


def test_no_pair_without_one_defect_in_both() -> None:
    """Another carton, a defect at the edge, or one that v1 finds as well makes no pair."""
    run = good_run()[:20]
    other = Truth(1, TINY.xyxy, True, 6)
    edge = Truth(1, (2, 100, 14, 112), True, 5)
    assert find_pair(run, lambda index: [TINY if index < 10 else other], 640) is None
    assert find_pair(run, lambda index: [edge], 640) is None
    assert find_pair([record(9, "v1", 1, 0.9), *run[10:]], lambda index: [TINY], 640) is None
    assert find_pair([], lambda index: [TINY], 640) is None
