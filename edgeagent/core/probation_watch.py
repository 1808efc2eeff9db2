# SPDX-License-Identifier: AGPL-3.0-or-later
"""The watch over a version that was swapped in: when it is over, and whether it has seen enough to say so."""

from __future__ import annotations

from dataclasses import replace

from edgeagent.core.events import PairsJudged, PastJudged, Step
from edgeagent.core.policy import Policy
from edgeagent.core.rollback import rollback_target
from edgeagent.core.state import State
from edgeagent.core.swap import end_probation


def lacks(state: State) -> str:
    """What the pairs of frames don't suffice for; "" when they do, or there is nothing to compare with."""
    watch = state.run.probation
    return watch.shortfall if watch and state.standby and not watch.breach else ""


def lacks_past(state: State) -> str:
    """What this line's past doesn't suffice for, where nothing else is held against the version that serves; "" when it
    does, and when no version has served well here before it."""
    watch = state.run.probation
    is_alone = watch is not None and state.standby is None and rollback_target(state) is not None
    return watch.past if watch and is_alone and not watch.breach else ""


def end_if_due(state: State, now: float, policy: Policy) -> Step:
    """The watch ends when its time is over; while too little was seen to tell it goes on once, up to a bound, and then
    ends with a word about that."""
    watch, until = state.run.probation, state.probation_until
    if watch is None or until is None or now < until:
        return state, []
    asked = watch.seconds > 0
    why, past = (lacks(state), lacks_past(state)) if asked else ("", "")
    longest = watch.since + watch.seconds * policy.probation_longest
    if past and watch.past_waits:  # it keeps no second version loaded
        longest = max(longest, watch.since + policy.past_s)
    if (why or (past and watch.past_waits)) and not watch.longer and now < longest:
        run = replace(state.run, probation=replace(watch, longer=True))
        return replace(state, run=run, probation_until=longest), []
    if watch.breach:
        what = "pairs speak" if watch.pairs and watch.pairs.frames else "what was seen speaks"
        return end_probation(state, policy, f"{what} against it: {watch.breach}")
    if past:
        why = f"the version before isn't loaded, and this line's past doesn't tell: {past}"
    return end_probation(state, policy, f"not judged by pairs: {why}" if why else "")


def pairs_judged(state: State, event: PairsJudged, policy: Policy) -> Step:
    """What both versions have seen until now. A watch that went on for want of them ends when they suffice."""
    watch = state.run.probation
    if watch is None or event.ref != state.active:
        return state, []
    watch = replace(watch, pairs=event.summary, shortfall=event.shortfall)
    state = replace(state, run=replace(state.run, probation=watch))
    return end_probation(state, policy) if watch.longer and not lacks(state) else (state, [])


def past_judged(state: State, event: PastJudged, policy: Policy) -> Step:
    """What this line's past says of it until now. A watch that went on for want of that ends when it suffices."""
    watch = state.run.probation
    if watch is None or event.ref != state.active:
        return state, []
    watch = replace(watch, past=event.shortfall, past_waits=event.waits)
    state = replace(state, run=replace(state.run, probation=watch))
    is_over = watch.longer and state.standby is None and not event.waits
    return end_probation(state, policy) if is_over else (state, [])
