# SPDX-License-Identifier: AGPL-3.0-or-later
"""The least pace at which a store must give what is asked of it: one byte now and then keeps any time-out away."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """So many bytes a second, on average over so many seconds. 0 bytes a second: whatever comes."""

    bytes_per_s: float = 1000.0
    over_s: float = 60.0


DEFAULT_PACE = Pace()


class PaceMeter:
    """Looks whether one transfer keeps a pace. Times are monotonic, in seconds."""

    def __init__(self, pace: Pace, now: float, done: int = 0) -> None:
        """The transfer goes on from byte `done`."""
        self._pace = pace
        self._since, self._done = now, done

    def lag(self, done: int, now: float) -> str:
        """Why it is too slow, when `done` bytes are there by now; "" while it isn't, or can't be said yet."""
        seconds, came = now - self._since, done - self._done
        if seconds < self._pace.over_s:
            return ""
        self._since, self._done = now, done
        if came >= self._pace.bytes_per_s * seconds:
            return ""
        least = f"model_store.min_bytes_per_second is {self._pace.bytes_per_s:g}"
        return f"{came} bytes came within {seconds:.0f} s; {least}"
