# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a worker is over its limits, and what is said of it."""

from __future__ import annotations

import pytest

from edgeagent.workers.limits import WorkerLimits, WorkerUsage

LIMITS = WorkerLimits(memory_bytes=400 << 20, silence_s=5.0, start_s=60.0)


@pytest.mark.parametrize(
    ("usage", "why"),
    [
        (WorkerUsage(400 << 20, 5.0, 5.0, True), ""),
        (WorkerUsage(1, 60.0, 0.0, False), ""),
        (WorkerUsage(500 << 20, 0.0, 0.0, True), "it took 500 MB of memory, the limit is 400 MB"),
        (WorkerUsage(500 << 20, 0.0, 0.0, False), "it took 500 MB of memory, the limit is 400 MB"),
        (WorkerUsage(1, 61.0, 0.0, False), "no sign of life within 60 s"),
        (WorkerUsage(1, 6.0, 0.0, True), "no sign of life for 5 s"),
        (WorkerUsage(1, 0.1, 6.0, True), "it hung: no answer for 5 s"),
        (WorkerUsage(1, 14.0, 14.0, True, starved_s=10.0), ""),
        (WorkerUsage(1, 16.0, 0.0, True, starved_s=10.0), "no sign of life for 5 s"),
        (WorkerUsage(1, 26.0, 0.0, True, starved_s=26.0), "no sign of life for 5 s"),
        (WorkerUsage(1, 100.0, 0.0, False, starved_s=50.0), ""),
    ],
)
def test_a_limit_that_is_exceeded_is_named(usage: WorkerUsage, why: str) -> None:
    """Memory, silence, an answer that it owes; from its start it has more time to speak, and more, up to a limit, when
    it gets no processor."""
    assert LIMITS.exceeded(usage) == why


def test_memory_may_be_without_a_limit() -> None:
    """As for cameras: a frame is as large as it is."""
    assert WorkerLimits(None, 5.0, 60.0).exceeded(WorkerUsage(1 << 50, 0.0, 0.0, True)) == ""
