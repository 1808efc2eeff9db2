# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which of several sources decides what a model should serve on this node.

First what was decided on this node (a hold, which the reconciler keeps), then a pin of this node, then a roll-out of
the first source, if the node is in it, then the key for all; within each the sources in the order of the
configuration. What a source has said stands while it is away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from edgeagent.core.directive import Directive
from edgeagent.core.following import Part, SeenRollout, Standing, as_current, is_preloaded, part_in
from edgeagent.core.rollout import is_rollout_intent, rollout_directive


class Unread(Enum):
    """What is known of a key before its first value that could be read and decoded. BROKEN: it could be read."""

    UNREAD = "unread"
    BROKEN = "broken"


UNREAD, BROKEN = Unread.UNREAD, Unread.BROKEN
Known = Directive | None | Unread
_NOBODY = Standing()


@dataclass(frozen=True)
class Said:
    """What one source has said of one model. None: there is no such key, or it isn't asked for.

    pin_ahead, current_ahead: the key says by now that a version is to be made ready only (`preload`): what it said
    before of what should serve stands. given_up: the source has said nothing at all since the start, for longer than
    the node waits for it. revision: of `current`, as it was understood last.
    """

    pin: Known = UNREAD
    current: Known = UNREAD
    given_up: bool = False
    pin_ahead: Directive | None = None
    current_ahead: Directive | None = None
    rollout: SeenRollout | Unread | None = None
    revision: str = ""

    @property
    def seen(self) -> SeenRollout | None:
        """Its roll-out, as far as that is known."""
        return self.rollout if isinstance(self.rollout, SeenRollout) else None

    def part(self, me: Standing) -> Part:
        """What its roll-out means for the node."""
        current = self.current if isinstance(self.current, Directive) else None
        return Part.OUT if self.current is UNREAD else part_in(self.seen, current, self.revision, me)


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


def version_ahead(sources: Sequence[Said], me: Standing = _NOBODY) -> Directive | None:
    """Which version is to be made ready only: the first key that says so, unless one before it says what should serve,
    for then the others aren't followed. None: none, or it isn't known yet. me: how the node stands to the first
    source's roll-outs."""
    for said in sources:
        if said.pin_ahead or isinstance(said.pin, Directive) or (said.pin is UNREAD and not said.given_up):
            return said.pin_ahead
    first = sources[0] if sources else Said()
    if first.seen and is_preloaded(first.seen, first.revision, first.part(me)):
        return rollout_directive(me.model, first.seen.rollout)
    if first.part(me) is Part.FOLLOWS or (first.rollout is UNREAD and not first.given_up):
        return None
    for said in sources:
        is_silent = said.current is UNREAD and not said.given_up
        if said.current_ahead or isinstance(said.current, Directive) or is_silent:
            return said.current_ahead
    return None


def decide(sources: Sequence[Said], me: Standing = _NOBODY) -> Decision | None:
    """The first key that exists, in the order of precedence. None: nothing that is known counts, or nothing exists.

    A key that isn't known yet may outweigh all that come after it, so that these don't count, unless its source was
    given up. me: how the node stands to the first source's roll-outs.
    """
    for number, said in enumerate(sources):
        if isinstance(said.pin, Directive):
            return Decision(number, said.pin)
        if said.pin is UNREAD and not said.given_up:
            return None
    first = sources[0] if sources else Said()
    if first.rollout is UNREAD and not first.given_up:
        return None
    if first.rollout is BROKEN and me.directive and is_rollout_intent(me.model, me.directive.intent_id):
        return None  # whether it still counts on this node, nobody can tell: what was begun stays
    part, seen = first.part(me), first.seen
    if seen and part is Part.FOLLOWS:
        return Decision(0, rollout_directive(me.model, seen.rollout))
    for number, said in enumerate(sources):
        if isinstance(said.current, Directive):
            counts = said.current if number else as_current(said.current, part, seen, me)
            return Decision(number, counts)
        if said.current is UNREAD and not said.given_up:
            return None
    return None
