# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the machine can do for the demo's line, and who else uses it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeagent.demo import machine
from edgeagent.demo.machine import RATES, OtherLoad, choose_rate


def test_the_rate_leaves_half_of_the_engine_idle() -> None:
    """The highest that does; on a machine that holds none of them, the lowest."""
    for frame_s in (0.001, 0.016, 0.017, 0.03, 0.06, 0.1):
        rate = choose_rate(frame_s)
        assert rate * frame_s <= 0.5
        assert rate == RATES[0] or all(other * frame_s > 0.5 for other in RATES if other > rate)
    assert choose_rate(0.001) == 30
    assert choose_rate(3.0) == RATES[-1]


def test_others_are_what_was_used_and_not_by_us(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of all processors; what a hypervisor gave to another guest is used, what waits for a disk is not."""
    tick = os.sysconf("SC_CLK_TCK")
    stat = tmp_path / "stat"
    own = iter([10.0, 13.0])
    monkeypatch.setattr(machine, "_CPU_TIMES", stat)
    monkeypatch.setattr(machine, "_own_s", lambda: next(own))

    def used(user: int, idle: int, waiting: int, stolen: int) -> None:
        fields = [user, 0, 0, idle, waiting, 0, 0, stolen, 0, 0]
        stat.write_text("cpu  " + " ".join(str(tick * f) for f in fields) + "\ncpu0 1 2 3\n")

    used(100, 200, 50, 0)
    load = OtherLoad()
    used(107, 209, 52, 2)  # 20 s passed; 9 of them used, 3 by us
    assert load.share() == pytest.approx(0.3)


def test_where_it_cannot_be_known_nobody_else_is_blamed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Such as where there is no /proc/stat."""
    monkeypatch.setattr(machine, "_CPU_TIMES", tmp_path / "nothing")
    assert OtherLoad().share() == 0.0
