# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which of several sources decides what a model should serve on this node.

First what was decided on this node (a hold, which the reconciler keeps), then a pin of this node, then the key for
all; within each the sources in the order of the configuration. What a source has said stands while it is away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from edgeagent.core.directive import Directive


class Unread(Enum):
    """What is known of a key before its first value that could be read and decoded."""

    UNREAD = "unread"


UNREAD = Unread.UNREAD
Known = Directive | None | Unread


@dataclass(frozen=True)
class Said:
    """What one source has said of one model. None: there is no such key.

    given_up: the source has said nothing at all since the start, for longer than the node waits for it.
    """

    pin: Known = UNREAD
    current: Known = UNREAD
    given_up: bool = False


@dataclass(frozen=True)
class Decision:
    """The directive that counts, and the place of its source in the order."""

    source: int
    directive: Directive


def decide(sources: Sequence[Said]) -> Decision | None:
    """The first key that exists, in the order of precedence. None: nothing that is known counts, or nothing exists.

    A key that isn't known yet may outweigh all that come after it, so that these don't count, unless its source was
    given up.
    """
    keys = [(n, s.pin, s.given_up) for n, s in enumerate(sources)]
    keys += [(n, s.current, s.given_up) for n, s in enumerate(sources)]
    for number, known, given_up in keys:
        if isinstance(known, Directive):
            return Decision(number, known)
        if known is UNREAD and not given_up:
            return None
    return None
