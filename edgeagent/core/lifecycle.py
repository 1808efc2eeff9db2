# SPDX-License-Identifier: AGPL-3.0-or-later
"""The life of one version on one node: every stage, and every step allowed between two, as data."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Stage(StrEnum):
    """Where a version stands on this node."""

    ASPIRED = "ASPIRED"  # should serve; nothing done yet, or waiting to try again
    FETCHING = "FETCHING"  # its files come from the model store
    VERIFYING = "VERIFYING"  # hash of every file
    PREPARING = "PREPARING"  # converting for this node's hardware
    GATING = "GATING"  # contract, smoke, …, in the preparing worker
    WARMING = "WARMING"  # its serving worker loads and infers once
    READY = "READY"  # could serve the next frame: a candidate about to be swapped in, or the standby
    SHADOW = "SHADOW"  # infers beside the active version, its results unused, until it may take its place
    PROBATION = "PROBATION"  # serves, watched; the version before stays warm
    STABLE = "STABLE"  # has earned its place
    DRAINING = "DRAINING"  # takes no more frames, finishes those it has
    RETIRED = "RETIRED"  # its worker is gone
    REJECTED = "REJECTED"  # refused; remembered by digest


_S = Stage

TRANSITIONS: Mapping[Stage, frozenset[Stage]] = {
    # Superseded (RETIRED) while it waits, but not refused: nothing is found out about it meanwhile.
    _S.ASPIRED: frozenset({_S.FETCHING, _S.RETIRED}),
    # Back to ASPIRED: no fault of its own (the store can't be reached, the disk fails); it is tried again later.
    _S.FETCHING: frozenset({_S.VERIFYING, _S.ASPIRED, _S.RETIRED, _S.REJECTED}),
    _S.VERIFYING: frozenset({_S.PREPARING, _S.ASPIRED, _S.RETIRED, _S.REJECTED}),
    # A version known to be good skips the gates that it has passed before.
    _S.PREPARING: frozenset({_S.GATING, _S.WARMING, _S.ASPIRED, _S.RETIRED, _S.REJECTED}),
    _S.GATING: frozenset({_S.WARMING, _S.ASPIRED, _S.RETIRED, _S.REJECTED}),
    _S.WARMING: frozenset({_S.READY, _S.ASPIRED, _S.RETIRED, _S.REJECTED}),
    # A standby drains when the version after it is stable.
    _S.READY: frozenset({_S.SHADOW, _S.PROBATION, _S.STABLE, _S.DRAINING, _S.REJECTED}),
    # Back to ASPIRED: somebody else's signal ended its worker.
    _S.SHADOW: frozenset({_S.PROBATION, _S.ASPIRED, _S.RETIRED, _S.REJECTED}),
    # Back to READY: it stays warm as the standby of a version on probation. On probation itself it can only be the last
    # known good, which failed at the start of the node and was brought in by its gates.
    _S.PROBATION: frozenset({_S.STABLE, _S.READY, _S.DRAINING, _S.REJECTED}),
    _S.STABLE: frozenset({_S.READY, _S.DRAINING}),
    _S.DRAINING: frozenset({_S.RETIRED}),
    _S.RETIRED: frozenset(),
    _S.REJECTED: frozenset(),
}


class IllegalTransitionError(Exception):
    """A step that the lifecycle doesn't know: a fault of the program, never of its input."""


def advance(stage: Stage, to: Stage) -> Stage:
    """Return `to` if a version may go there from `stage`; raises IllegalTransitionError otherwise."""
    if to not in TRANSITIONS[stage]:
        raise IllegalTransitionError(f"{stage} -> {to}")
    return to
