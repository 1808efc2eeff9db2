# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much of its time a process had to wait for a processor, as the kernel's scheduler counts it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

_TASKS = Path("/proc/self/task")
_LOOK_AFTER_S = 1.0


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
        return _counted(self._tasks)


class OwnTime:
    """Times what a process does, without the waits for a processor: beside a line that is at work at a higher priority,
    a clock on the wall measures the line.

    From what the clock says goes the longest wait of any of its threads, for those that work on one thing wait for each
    other; what a thread sleeps, or waits for a device, counts. tasks: as the kernel shows them.
    """

    def __init__(self, tasks: Path = _TASKS) -> None:
        self._tasks = tasks

    def of(self, work: Callable[[], object]) -> float:
        """Seconds that `work` takes of its own."""
        before = _waits(self._tasks)
        begun = perf_counter()
        work()
        took = perf_counter() - begun
        after = _waits(self._tasks)
        waited = max((after[task] - before.get(task, 0) for task in after), default=0) / 1e9
        return max(took - waited, 0.0)


class Starvation:
    """How long a process that says nothing has waited for a processor meanwhile. Asked again and again."""

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        self._tasks = proc / str(pid) / "task"
        self._before: int | None = None

    def since(self, silent_s: float) -> float:
        """Of so many seconds of silence, those in which one of its threads at least waited; 0 where nobody tells.

        What was before the first second is not counted: most are never silent for as long, and cost nothing.
        """
        if silent_s < _LOOK_AFTER_S:
            self._before = None
            return 0.0
        _, waited = _counted(self._tasks)
        if self._before is None:
            self._before = waited
        return min(max(waited - self._before, 0) / 1e9, silent_s)


def _waits(tasks: Path) -> dict[str, int]:
    """Nanoseconds that each thread waited for a processor, by its number."""
    waits = {}
    for stat in tasks.glob("*/schedstat"):
        try:
            waits[stat.parent.name] = int(stat.read_text().split()[1])
        except (OSError, ValueError, IndexError):
            continue  # the thread has just ended
    return waits


def _counted(tasks: Path) -> tuple[int, int]:
    """Nanoseconds that all threads ran, and waited for a processor."""
    ran = waited = 0
    for stat in tasks.glob("*/schedstat"):
        try:
            on, off, _ = map(int, stat.read_text().split())
        except (OSError, ValueError):
            continue  # the thread has just ended
        ran, waited = ran + on, waited + off
    return ran, waited
