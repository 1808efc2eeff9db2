# SPDX-License-Identifier: AGPL-3.0-or-later
"""Figures of the last minutes, second by second, in a ring that never grows."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FIELDS = ("fps", "p50_ms", "p95_ms", "dropped")
"""What is kept of a line and a second: frames with a result, their latency in milliseconds, frames without one."""
LENGTH_S = 600
_UNKNOWN = math.nan


@dataclass(frozen=True, slots=True)
class LineFigures:
    """What a line did in one second. None: not known, such as the latency where no frame had a result.

    fps: frames with a result a second; p50_ms, p95_ms: from capture to result; dropped: frames without one; results:
    all frames with a result since the start; version: that serves, None for none.
    """

    fps: float | None
    p50_ms: float | None
    p95_ms: float | None
    dropped: int | None
    results: int
    version: str | None


@dataclass(frozen=True)
class Window:
    """The seconds before `end` (the last that was added), one value each, oldest first; not-a-number: not known."""

    end: int
    seconds: int
    lines: Mapping[str, Mapping[str, Sequence[float]]]


class FigureSeries:
    """The last `length` seconds of each line. A second is a whole number that only grows, of whatever clock."""

    def __init__(self, length: int = LENGTH_S) -> None:
        self._length = length
        self._end: int | None = None
        self._rings: dict[str, tuple[array[float], ...]] = {}
        self._seen: dict[str, int] = {}

    def add(self, second: int, lines: Mapping[str, LineFigures]) -> None:
        """What each line did in this second; seconds that were left out become unknown. An earlier one counts as the
        last. A line that isn't there any more is forgotten once nothing of it is within the length."""
        end = second if self._end is None else max(second, self._end)
        skipped = self._length if self._end is None else min(self._length, end - self._end)
        self._end = end
        for name in lines:
            if name not in self._rings:
                self._rings[name] = tuple(array("d", [_UNKNOWN]) * self._length for _ in FIELDS)
            self._seen[name] = end
        for name, rings in list(self._rings.items()):
            if end - self._seen[name] >= self._length:
                del self._rings[name], self._seen[name]
                continue
            for field, ring in zip(FIELDS, rings, strict=True):
                for behind in range(skipped - 1, 0, -1):
                    ring[(end - behind) % self._length] = _UNKNOWN
                value = getattr(lines[name], field) if name in lines else None
                ring[end % self._length] = _UNKNOWN if value is None else value

    def window(self, seconds: int) -> Window:
        """The last `seconds`, as many as there may be."""
        seconds = max(1, min(seconds, self._length))
        end = self._end or 0
        return Window(
            end,
            seconds,
            {
                name: {f: self._last(ring, end, seconds) for f, ring in zip(FIELDS, rings, strict=True)}
                for name, rings in self._rings.items()
            },
        )

    def _last(self, ring: array[float], end: int, seconds: int) -> list[float]:
        newest = end % self._length + 1
        return (ring[newest:] + ring[:newest])[-seconds:].tolist()
