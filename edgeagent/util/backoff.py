# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long to wait before trying again."""

from __future__ import annotations

import random


class Backoff:
    """Exponential back-off with full jitter, so that a whole plant doesn't come back in the same instant.

    first_s, cap_s: the longest delay after the first failure, and after many (seconds).
    """

    def __init__(self, first_s: float, cap_s: float) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._limit_s = first_s

    def next_s(self) -> float:
        """The delay after one more failure: anything between 0 and a limit that doubles up to the cap."""
        limit = min(self._limit_s, self._cap_s)
        self._limit_s = min(2 * limit, self._cap_s)
        return random.uniform(0, limit)

    def reset(self) -> None:
        """It worked: the next failure is a first one."""
        self._limit_s = self._first_s
