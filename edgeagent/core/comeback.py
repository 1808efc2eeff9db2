# SPDX-License-Identifier: AGPL-3.0-or-later
"""A version that the node went back from by itself, and that the same value asks for once more.

A job that writes its value again and again would have it swapped in and rolled back each time. It is tried again after
a while, which doubles from one time to the next; another value, or one that says `again`, is followed at once.
"""

from __future__ import annotations

from dataclasses import replace

from edgeagent.core.directive import Directive
from edgeagent.core.goal import goal
from edgeagent.core.policy import Policy
from edgeagent.core.state import Comeback, Goal, State

WAITS = "it was rolled back, and is asked for by the same value again; to have it tried now, promote it with --again"


def went_back(state: State, now: float, policy: Policy) -> State:
    """The node goes back, by itself, from what the intent asks for. To be asked before the intent is another."""
    wanted = goal(state)
    if wanted is None or state.active is None or wanted.version != state.active.version:
        return state
    c = state.comeback
    times = c.times + 1 if c and c.directive.asks_the_same_as(wanted.directive) else 1
    return replace(state, comeback=Comeback(wanted.directive, times, now + _delay(times, policy)))


def still_counts(state: State, directive: Directive) -> Comeback | None:
    """What of it still counts when this is said; None: it is forgotten."""
    c = state.comeback
    return c if c and c.directive.asks_the_same_as(directive) and not directive.again else None


def comeback_at(state: State, wanted: Goal, now: float, policy: Policy) -> tuple[State, float | None]:
    """When what should serve may be tried again (monotonic seconds); None: at once. Under the intent itself it is tried
    again only when the store holds other content, and that is another version."""
    c = still_counts(state, wanted.directive)
    if c is None or c.directive.intent_id == wanted.intent_id:
        return state, None
    if c.until is None:  # how much of it was over before a restart isn't known
        c = replace(c, until=now + _delay(c.times, policy))
    return replace(state, comeback=c), c.until if c.until and now < c.until else None


def _delay(times: int, policy: Policy) -> float:
    return min(policy.again_max_s, policy.again_min_s * 2.0 ** min(times - 1, 16))
