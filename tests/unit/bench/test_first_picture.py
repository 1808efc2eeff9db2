# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is made of the starts: the slowest decides."""

from __future__ import annotations

import pytest

from bench.first_picture import LEFT_OPEN, OPENED, Start, Starts, show


@pytest.mark.parametrize(("slowest", "said"), [(10.0, "≤ 10 s: holds"), (10.2, "≤ 10 s: does not hold")])
def test_the_slowest_start_decides(slowest: float, said: str) -> None:
    """Whatever the median."""
    fast, slow = Start(3.0, 4.0, 4.5), Start(4.0, slowest - 1, slowest)
    found = [
        Starts("best.onnx", OPENED, 10.0, (fast, slow, fast)),
        Starts("best.pt", LEFT_OPEN, 30.0, (slow,)),
    ]
    assert [starts.holds for starts in found] == [slowest <= 10.0, True]
    row, other = show(found).splitlines()[2:4]
    assert row == f"| best.onnx | {OPENED} | 3 | 3.0 s | 4.0 s | 4.5 s | 4.5–{slowest:.1f} s | {said} |"
    assert other.endswith("| ≤ 30 s: holds |")
