# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a version is fetched that many nodes are asked for at once."""

from __future__ import annotations

import pytest

from edgeagent.core.directive import Directive
from edgeagent.core.fetch_spread import fetch_delay


@pytest.mark.parametrize(
    ("intent_id", "chance", "delay_s"),
    [
        ("/models/yolo/rollout@r7", 0.0, 0.0),
        ("/models/yolo/rollout@r7", 0.25, 15.0),
        ("/models/yolo/rollout@r7", 1.0, 60.0),
        ("/models/yolo/current@7", 0.5, 0.0),
        ("/models/yolo/pins/press-07@7", 0.5, 0.0),
        ("api@7", 0.5, 0.0),
    ],
)
def test_only_what_is_rolled_out_is_spread(intent_id: str, chance: float, delay_s: float) -> None:
    """Evenly over the spread; who asks one node for a version waits for nothing."""
    assert fetch_delay(Directive("v2", intent_id), 60.0, chance) == delay_s


def test_a_roll_out_s_own_spread_counts_before_the_node_s() -> None:
    """Who plans it knows how many nodes a wave has."""
    assert fetch_delay(Directive("v2", "/models/yolo/rollout@r7", spread_s=600.0), 60.0, 0.5) == 300.0
