# SPDX-License-Identifier: AGPL-3.0-or-later
"""Back-off with full jitter."""

from __future__ import annotations

import pytest

from edgeagent.util.backoff import Backoff


def test_limit_doubles_up_to_the_cap_and_reset_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest possible delays are 0.1, 0.2, ... 30, 30, and 0.1 after a reset."""
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    backoff = Backoff(0.1, 30)
    delays = [backoff.next_s() for _ in range(12)]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-2:] == [30, 30]
    backoff.reset()
    assert backoff.next_s() == 0.1


def test_jitter_is_full() -> None:
    """Delays are spread over the whole range from nought to the limit."""
    delays = []
    for _ in range(2000):
        backoff = Backoff(8, 8)
        delays.append(backoff.next_s())
    assert all(0 <= d <= 8 for d in delays)
    assert min(delays) < 0.5
    assert max(delays) > 7.5
    assert 3.5 < sum(delays) / len(delays) < 4.5


def test_without_jitter_the_limit_itself() -> None:
    """For what is this node's own: it doubles from try to try, and is a first one again after a success."""
    backoff = Backoff(0.5, 3, jitter=0.0)
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1, 2, 3, 3]
    backoff.reset()
    assert backoff.next_s() == 0.5


def test_a_little_jitter() -> None:
    """The part that is left to chance, and no more."""
    delays = [Backoff(8, 8, jitter=0.25).next_s() for _ in range(500)]
    assert 6 <= min(delays) < 6.5
    assert 7.5 < max(delays) <= 8
