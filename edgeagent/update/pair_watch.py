# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two versions on the same frames, judged as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edgeagent.core.pairs import FramePair, PairSummary, PairTally

REPORT_S = 1.0
"""How often it is told what was seen, at most (seconds)."""


class PairWatch:
    """Tells what the pairs of a run say, a moment after they came; and at once, and only once, that they speak against
    the candidate; whoever is told closes the watch, or has it go on. On the event loop's thread.

    on_end: called when it is closed.
    """

    def __init__(
        self,
        tally: PairTally,
        judged: Callable[[PairSummary, str], None],
        breached: Callable[[str, PairSummary], None],
    ) -> None:
        """judged: is told what was seen, and what that doesn't suffice for; breached: the reason, and what was seen."""
        self._tally = tally
        self._judged = judged
        self._breached = breached
        self._timer: asyncio.TimerHandle | None = None
        self._closed = self._told = False
        self.on_end: Callable[[], None] = lambda: None

    def observe(self, pair: FramePair) -> None:
        """One more frame that both have had."""
        if self._closed:
            return
        self._tally.observe(pair)
        why = self._tally.breach()
        if why and not self._told:
            self._told = True
            self._breached(why, self._tally.summary())
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REPORT_S, self._report)

    def close(self) -> None:
        """Watch no more. Idempotent."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
        self.on_end()

    def _report(self) -> None:
        self._timer = None
        self._judged(self._tally.summary(), self._tally.shortfall())
