# SPDX-License-Identifier: AGPL-3.0-or-later
"""The watch over a version that was swapped in: when it is over, and whether it has seen enough to say so."""

from __future__ import annotations

from dataclasses import replace

from edgeagent.core.events import PairsJudged, Step
from edgeagent.core.policy import Policy
from edgeagent.core.state import State
from edgeagent.core.swap import end_probation


def lacks(state: State) -> str:
    """What the pairs of frames don't suffice for; "" when they do, or there is nothing to compare with."""
    watch = state.run.probation
    return watch.shortfall if watch and state.standby else ""


def end_if_due(state: State, now: float, policy: Policy) -> Step:
    """The watch ends when its time is over; while too little was seen to tell it goes on once, up to a bound, and then
    ends with a word about that."""
    watch, until = state.run.probation, state.probation_until
    if watch is None or until is None or now < until:
        return state, []
    why = lacks(state) if watch.seconds else ""  # none was asked for
    longest = watch.since + watch.seconds * policy.probation_longest
    if why and not watch.longer and now < longest:
        run = replace(state.run, probation=replace(watch, longer=True))
        return replace(state, run=run, probation_until=longest), []
    return end_probation(state, policy, f"not judged by pairs: {why}" if why else "")


def pairs_judged(state: State, event: PairsJudged, policy: Policy) -> Step:
    """What both versions have seen until now. A watch that went on for want of them ends when they suffice."""
    watch = state.run.probation
    if watch is None or event.ref != state.active:
        return state, []
    watch = replace(watch, pairs=event.summary, shortfall=event.shortfall)
    state = replace(state, run=replace(state.run, probation=watch))
    return end_probation(state, policy) if watch.longer and not lacks(state) else (state, [])
