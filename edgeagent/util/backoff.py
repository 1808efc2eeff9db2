# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long to wait before trying again."""

from __future__ import annotations

import random


class Backoff:
    """Exponential back-off: a limit that doubles from one failure to the next, up to a cap.

    first_s, cap_s: the limit after the first failure, and after many (seconds).
    jitter: which part of the delay is left to chance. 1.0, anything between 0 and the limit, is for what many nodes ask
    of one server, so that a plant doesn't come back in the same instant; 0.0, the limit itself, for this node's own.
    """

    def __init__(self, first_s: float, cap_s: float, jitter: float = 1.0) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._jitter = jitter
        self._limit_s = first_s

    def next_s(self) -> float:
        """The delay after one more failure."""
        limit = min(self._limit_s, self._cap_s)
        self._limit_s = min(2 * limit, self._cap_s)
        return limit if self._jitter == 0 else random.uniform(limit * (1 - self._jitter), limit)

    def reset(self) -> None:
        """It worked: the next failure is a first one."""
        self._limit_s = self._first_s
