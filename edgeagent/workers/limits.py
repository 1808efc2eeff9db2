# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a worker may take, and how long it may say nothing: looked at in one place, for every kind of worker."""

from __future__ import annotations

from dataclasses import dataclass

WATCH_S = 0.1
"""How often each worker is looked at: memory can grow by a gigabyte in a second."""

_PATIENCE = 4
"""So many times a limit, and no more, a worker may be silent in addition because it got no processor."""


@dataclass(frozen=True)
class WorkerUsage:
    """How a worker is doing. memory_bytes: resident; silent_s: since it was heard, or given its task; owing_s: since it
    owes an answer, 0 while it owes none; heard: whether it has said anything since it was given its task; starved_s:
    how long of its silence it waited for a processor."""

    memory_bytes: int
    silent_s: float
    owing_s: float
    heard: bool
    starved_s: float = 0.0


@dataclass(frozen=True)
class WorkerLimits:
    """When a worker is killed.

    memory_bytes: resident, None: whatever it takes. silence_s: seconds without a word, or without an answer that it
    owes. start_s: seconds until its first word. Time in which it waited for a processor isn't silence, up to four times
    the limit: a trial at the lowest priority, on a machine that is busy with other things, says nothing for long.
    answer_s: seconds within which an answer that it owes must come, where that is sooner than silence_s.
    """

    memory_bytes: int | None
    silence_s: float
    start_s: float
    answer_s: float | None = None

    def exceeded(self, usage: WorkerUsage) -> str:
        """Which limit it is over, in words; "" while it is within all."""
        limit = self.memory_bytes
        if limit is not None and usage.memory_bytes > limit:
            return f"it took {usage.memory_bytes >> 20} MB of memory, the limit is {limit >> 20} MB"
        answer_s = min(self.silence_s, self.answer_s or self.silence_s)
        start_s, silence_s, owing_s = (
            s + min(usage.starved_s, _PATIENCE * s) for s in (self.start_s, self.silence_s, answer_s)
        )
        if not usage.heard:
            return f"no sign of life within {self.start_s:g} s" if usage.silent_s > start_s else ""
        if usage.silent_s > silence_s:
            return f"no sign of life for {self.silence_s:g} s"
        return f"it hung: no answer for {answer_s:g} s" if usage.owing_s > owing_s else ""
