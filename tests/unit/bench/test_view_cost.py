# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is made of the turns: which frames belong to which, and what the bound is held against."""

from __future__ import annotations

import pytest

from bench.view_cost import BOTH, NOTHING, Turns, _cost, ratio, show


def test_frames_belong_to_the_turn_in_which_they_had_their_result() -> None:
    """And the bound is held against the line alone."""
    records = [
        {"ts": float(second), "latency_ms": 20.0 if second >= 200 else 10.0} for second in range(100, 300)
    ]
    alone = _cost(NOTHING, Turns([(100.005, 149.5), (150.005, 199.5)], [0.5, 0.5], [1.0, 1.0]), records)
    both = _cost(BOTH, Turns([(200.0, 299.0)], [1.0], [2.0], 7), records)
    assert (alone.frames, alone.p99, alone.by_turn) == (100, 10.0, (10.0, 10.0))
    assert alone.node_ms == pytest.approx(10.0)
    assert ratio([alone, both], BOTH) == 2.0
    text = show([alone, both], 15.0, 0.5)
    assert "does not hold: 2.000" in text
    assert "15 frames a second, 50% of what the engine can do" in text
    assert "| both | 99 | 20.0 ms | 20.0 ms | 2.00 |" in text
