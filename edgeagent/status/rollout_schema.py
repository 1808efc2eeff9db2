# SPDX-License-Identifier: AGPL-3.0-or-later
"""The form of what a node says of a roll-out; a part of schema.py."""

from __future__ import annotations

from pydantic import AliasChoices, Field

from edgeagent.status.part import StatusPart


class RolloutStatus(StatusPart):
    """The roll-out in force, as this node sees it."""

    id: str
    version: str
    """The version that it brings."""
    status: str
    """planned, rolling, baking, paused, aborting, aborted, done or superseded."""
    wave: int
    """The one that is open, from 0; -1: none is yet."""
    is_in: bool = Field(validation_alias=AliasChoices("in", "is_in"), serialization_alias="in")
    """Whether the node belongs to a wave that is open."""
    phase: str
    """What the node has done: waiting, begun, swapped, stable, refused, rolled_back or excused (a pin or a hold
    counts); "" while it has nothing to do."""
    why: str | None
    """Of the phase, else of the status."""
    leader: bool | None
    """Whether a coordinator leads it; null while that isn't known."""
    orphaned: bool
    """It should go on, and for 30 s nobody has led it."""
    cause: str = ""
    """Of the status, where that isn't how it goes by itself: see `core.rollout.Cause`."""
