# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a signal from outside ends a worker that is at work on a version: whose fault that is, and what comes then."""

from __future__ import annotations

PAUSES_S = (2.0, 10.0)
"""Until the same is tried once more (seconds), after the first such end, and after the second. The kernel kills when
memory is short, an operator by mistake: neither says anything of the version. Whatever ends in the same place once more
has itself to blame: it may be what the machine has no memory for."""

MAX_ENDS = len(PAUSES_S) + 1
"""So many ends in the same place are its own."""


def pause_after(ends: int) -> float | None:
    """How long to wait before the same is tried again, after so many ends in the same place; None: not any more."""
    return PAUSES_S[ends - 1] if ends <= len(PAUSES_S) else None
