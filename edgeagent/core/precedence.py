# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which of several sources decides what a model should serve on this node.

First what was decided on this node (a hold, which the reconciler keeps), then a pin of this node, then the key for
all; within each the sources in the order of the configuration. What a source has said stands while it is away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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

    pin_ahead, current_ahead: the key says by now that a version is to be made ready only (`preload`): what it said
    before of what should serve stands. given_up: the source has said nothing at all since the start, for longer than
    the node waits for it.
    """

    pin: Known = UNREAD
    current: Known = UNREAD
    given_up: bool = False
    pin_ahead: Directive | None = None
    current_ahead: Directive | None = None


@dataclass(frozen=True)
class Decision:
    """The directive that counts, and the place of its source in the order."""

    source: int
    directive: Directive


def heard(said: Said, is_pin: bool, directive: Directive | None, before: Directive | None) -> Said:
    """What a source has said, once one of its keys says this. before: what that key said of what should serve before
    the start, as it was saved, if it did: a key that has only named a version to be made ready since leaves that as it
    was."""
    serves = said.pin if is_pin else said.current
    ahead = directive if directive and directive.preload else None
    if ahead is None:
        serves = directive
    elif serves is UNREAD:
        serves = before
    if is_pin:
        return replace(said, pin=serves, pin_ahead=ahead, given_up=False)
    return replace(said, current=serves, current_ahead=ahead, given_up=False)


def version_ahead(sources: Sequence[Said]) -> Directive | None:
    """Which version is to be made ready only: the first key that says so, unless one before it says what should serve,
    for then the others aren't followed. None: none, or it isn't known yet."""
    keys = [(s.pin, s.pin_ahead, s.given_up) for s in sources]
    keys += [(s.current, s.current_ahead, s.given_up) for s in sources]
    for known, ahead, given_up in keys:
        if ahead or isinstance(known, Directive) or (known is UNREAD and not given_up):
            return ahead
    return None


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
