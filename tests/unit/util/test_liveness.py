# SPDX-License-Identifier: AGPL-3.0-or-later
"""The clock that stands still while this process doesn't run."""

from __future__ import annotations

import asyncio

import pytest

from edgeagent.util.liveness import GAP_S, LivenessClock, liveness_clock


def test_a_pause_of_the_process_does_not_count() -> None:
    """Fourteen seconds in a freezer, twice: nobody was silent for longer than the gap that is let pass."""
    at = [1000.0]
    clock = LivenessClock(lambda: at[0])
    begin = clock.now()
    for _ in range(2):
        at[0] += 14.0
        read_first = clock.now()  # whoever looks before the first beat sees the same
        clock.beat()
        assert clock.now() == read_first
    assert clock.now() - begin == pytest.approx(2 * GAP_S)


def test_while_it_runs_it_is_a_clock_like_others() -> None:
    """Late beats included, as a busy machine gives them; it never goes back."""
    at = [1000.0]
    clock = LivenessClock(lambda: at[0])
    begin = last = clock.now()
    for late_s in (0.25, 0.9, 0.1, 0.25):
        at[0] += late_s
        assert clock.now() >= last
        last = clock.now()
        clock.beat()
    assert clock.now() - begin == pytest.approx(1.5)


def test_one_for_all_on_an_event_loop() -> None:
    """It beats by itself; another loop has another."""

    async def ask() -> LivenessClock:
        assert liveness_clock() is liveness_clock()
        return liveness_clock()

    assert asyncio.run(ask()) is not asyncio.run(ask())
