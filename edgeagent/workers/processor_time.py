# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much of its time this process had to wait for a processor, as the kernel's scheduler counts it."""

from __future__ import annotations

from pathlib import Path

_TASKS = Path("/proc/self/task")


class ProcessorTime:
    """Counts from when it is made, over all threads that there are then and later."""

    def __init__(self, tasks: Path = _TASKS) -> None:
        self._tasks = tasks
        self._ran, self._waited = self._now()

    def waited(self) -> float:
        """The share (0..1) of the time in which the threads wanted to run that they spent waiting for a processor;
        0 where the kernel doesn't tell."""
        ran, waited = self._now()
        ran, waited = max(ran - self._ran, 0), max(waited - self._waited, 0)
        return waited / (ran + waited) if waited else 0.0

    def _now(self) -> tuple[int, int]:
        ran = waited = 0
        for stat in self._tasks.glob("*/schedstat"):
            try:
                on, off, _ = map(int, stat.read_text().split())
            except (OSError, ValueError):
                continue  # the thread has just ended
            ran, waited = ran + on, waited + off
        return ran, waited
