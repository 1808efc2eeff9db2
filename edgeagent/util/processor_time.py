# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long a process ran, and how long it had to wait for a processor, as the kernel's scheduler counts it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter, thread_time

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

    def ran_s(self) -> float:
        """Seconds that they ran, all threads together; 0 where the kernel doesn't tell."""
        return max(self._now()[0] - self._ran, 0) / 1e9

    def _now(self) -> tuple[int, int]:
        return _counted(self._tasks)


class OwnTime:
    """Times what a process does, without the waits for a processor: beside a line that is at work at a higher priority,
    a clock on the wall measures the line.

    From what the clock says goes the longest wait of any of its threads, for those that work on one thing wait for each
    other; what a thread sleeps, or waits for a device, counts. It is no less than what the busiest thread ran: a thread
    may wait beside the work, too. tasks: as the kernel shows them.
    """

    def __init__(self, tasks: Path = _TASKS) -> None:
        self._tasks = tasks

    def of(self, work: Callable[[], object]) -> float:
        """Seconds that `work` takes of its own."""
        before = _by_thread(self._tasks)
        begun, ran_by_then = perf_counter(), thread_time()
        work()
        took, ran = perf_counter() - begun, thread_time() - ran_by_then  # of this thread, which runs just now
        after = _by_thread(self._tasks)
        threads = [(after[task], before.get(task, (0, 0))) for task in after]
        waited = max((now[1] - then[1] for now, then in threads), default=0) / 1e9
        busiest = max((now[0] - then[0] for now, then in threads), default=0) / 1e9
        return min(took, max(took - waited, busiest, ran))


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


def _counted(tasks: Path) -> tuple[int, int]:
    """Nanoseconds that all threads ran, and waited for a processor."""
    threads = _by_thread(tasks).values()
    return sum(ran for ran, _ in threads), sum(waited for _, waited in threads)


def _by_thread(tasks: Path) -> dict[str, tuple[int, int]]:
    """The same of each thread, by its number."""
    found = {}
    for stat in tasks.glob("*/schedstat"):
        try:
            ran, waited, _ = map(int, stat.read_text().split())
        except (OSError, ValueError):
            continue  # the thread has just ended
        found[stat.parent.name] = ran, waited
    return found
