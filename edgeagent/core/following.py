# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a roll-out in force means for one model on one node.

A roll-out writes one document, and each node works out for itself what follows from it. A node takes up the version
only when it knows that a coordinator watches over it (`WAITS`); from then on it stays with it, whatever becomes of the
config store and the coordinator, until the document or `current` says something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from edgeagent.core.directive import Directive
from edgeagent.core.rollout import BEGINS, FOLLOWED, GOES_BACK, Rollout, Status, is_in, rollout_intent
from edgeagent.core.text import MAX_BY, clean

ORPHANED_AFTER_S = 30.0
"""After so long without a coordinator it is said that a roll-out has none."""


class Part(StrEnum):
    """What the node does. OUT: nothing, `current` counts. HELD: it is in, and what was decided on this node counts.
    WAITS: it is in, and takes the version up as soon as it may. FOLLOWS: it has. RETURNS: it had, and goes back to
    `current`, or has done so."""

    OUT = "out"
    HELD = "held"
    WAITS = "waits"
    FOLLOWS = "follows"
    RETURNS = "returns"


@dataclass(frozen=True)
class SeenRollout:
    """A roll-out as it stands under its key, and the revision of that."""

    rollout: Rollout
    revision: str


@dataclass(frozen=True)
class Standing:
    """How a node stands to the roll-outs of a model.

    directive: that counts on the node, and survives a restart with it; None before the first. held: something else
    that was decided on the node counts. granted: the revision of the roll-out that may begin now, "" for none.
    """

    model: str = ""
    node: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    directive: Directive | None = None
    held: bool = False
    granted: str = ""


@dataclass(frozen=True)
class Followed:
    """What is known of a model's roll-out, and what it means here.

    seen: None while there is none. pin: that counts instead of it. leader: what tells the coordinator that leads, ""
    for none; None while that isn't known.
    """

    seen: SeenRollout | None
    part: Part = Part.OUT
    pin: Directive | None = None
    leader: str | None = None


def part_in(seen: SeenRollout | None, current: Directive | None, revision: str, me: Standing) -> Part:
    """What the node does about a roll-out. current: what that says of what should serve; revision: of its key.

    The roll-out builds on `current` as it was when it was planned; once somebody has written that, it counts.
    """
    if seen is None or revision != seen.rollout.plan.based_on:
        return Part.OUT
    rollout, taken_up = seen.rollout, me.directive
    begun = taken_up is not None and taken_up.intent_id == rollout_intent(me.model, rollout.id)
    if rollout.status in GOES_BACK:
        return Part.RETURNS if begun or _has_returned(taken_up, current) else Part.OUT
    if rollout.status not in FOLLOWED or not is_in(rollout, me.node, me.labels):
        return Part.OUT
    if begun:
        return Part.FOLLOWS
    if me.held:
        return Part.HELD
    may_begin = rollout.status in BEGINS and me.granted == seen.revision
    return Part.FOLLOWS if may_begin else Part.WAITS


def as_current(current: Directive, part: Part, seen: SeenRollout | None, me: Standing) -> Directive:
    """What `current` says, now that it counts: how a node came back to it stays a part of it."""
    if me.directive and _has_returned(me.directive, current):
        return me.directive
    if part is not Part.RETURNS or seen is None:
        return current
    rollout = seen.rollout
    why = f"it was aborted: {rollout.why}" if rollout.why else "it was aborted"
    return replace(current, returns=True, by=f"roll-out {rollout.id}", reason=clean(why, MAX_BY))


def is_preloaded(seen: SeenRollout, revision: str, part: Part) -> bool:
    """Whether the node makes the version ready ahead: all nodes do, before their wave opens, if the plan says so.
    revision: of `current`."""
    plan, status = seen.rollout.plan, seen.rollout.status
    is_open = revision == plan.based_on and (status in FOLLOWED or status is Status.PLANNED)
    return plan.preload and is_open and part in (Part.OUT, Part.WAITS)


def lacks_leader(followed: Followed) -> bool:
    """Whether the roll-out needs a coordinator, and there is none."""
    return followed.seen is not None and followed.seen.rollout.status in BEGINS and followed.leader == ""


def _has_returned(taken_up: Directive | None, current: Directive | None) -> bool:
    if taken_up is None or current is None:
        return False
    return taken_up.returns and taken_up.intent_id == current.intent_id
