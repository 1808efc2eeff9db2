# SPDX-License-Identifier: AGPL-3.0-or-later
"""How often a version was swapped in to be watched and didn't come to the end of that: for a node that dies of it.

It is counted, and on disk, before the version serves; what comes to an end in order counts no more.
"""

from __future__ import annotations

from dataclasses import replace

from edgeagent.core.directive import Directive
from edgeagent.core.lifecycle import Stage
from edgeagent.core.state import BegunProbations, Candidate, State

MAX_BEGUN = 3
"""Power cuts and kills come at any time, too; so often in a row, each time while the same version was watched, they
hardly come by chance."""


def is_trusted(state: State, c: Candidate) -> bool:
    """Whether the candidate needs no probation. The first version on a node has passed its gates, and there is none to
    go back to: nothing to watch it for."""
    return c.goal.known_good or not state.stable_versions


def count(state: State, c: Candidate) -> State:
    """The candidate is about to be swapped in."""
    begun = BegunProbations(c.digest, c.goal.intent_id, _times(state, c) + 1)
    return state if is_trusted(state, c) else replace(state, begun_probations=begun)


def uncount(state: State, c: Candidate) -> State:
    """The candidate isn't swapped in after all, or the node ends in order before that: no more is it counted, if it
    was."""
    counts = c.stage in (Stage.WARMING, Stage.READY) or (c.shadow is not None and c.shadow.counted)
    return _less(state) if counts and _times(state, c) else state


def uncount_active(state: State) -> State:
    """The same for the version that serves, if it is on probation."""
    begun, active = state.begun_probations, state.active
    if begun and active and state.stage is Stage.PROBATION and begun.digest == active.digest:
        return _less(state)
    return state


def asked_again(state: State, before: Directive | None, directive: Directive) -> BegunProbations | None:
    """What of it still counts when this is said after `before`: whoever writes the same value once more hasn't mended
    the version. One that says `again`, or something else, begins anew."""
    begun = state.begun_probations
    if begun is None or before is None or begun.intent_id != before.intent_id:
        return None
    same = before.asks_the_same_as(directive) and not directive.again
    return replace(begun, intent_id=directive.intent_id) if same else None


def rejection_reason(state: State, c: Candidate) -> str:
    """Why the candidate isn't tried any more under its intent; "" if it may be."""
    if _times(state, c) < MAX_BEGUN:
        return ""
    return (
        f"the node ended {MAX_BEGUN} times while it served this version on probation;"
        " to have it tried all the same, promote it with --again"
    )


def ended_in_order(state: State) -> State:
    """What to save when the node is told to end."""
    state = uncount_active(state)
    return uncount(state, state.candidate) if state.candidate else state


def _less(state: State) -> State:
    begun = state.begun_probations
    if begun is None or begun.times == 1:
        return replace(state, begun_probations=None)
    return replace(state, begun_probations=replace(begun, times=begun.times - 1))


def _times(state: State, c: Candidate) -> int:
    b = state.begun_probations
    return b.times if b and (b.digest, b.intent_id) == (c.digest, c.goal.intent_id) else 0
