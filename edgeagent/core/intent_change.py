# SPDX-License-Identifier: AGPL-3.0-or-later
"""Another intent counts: what of the one before goes with it.

Somebody wrote a key, mostly: that ends holds and lifts refusals. A roll-out that begins here or is taken back writes no
key of `current`: then what was decided on this node stands.
"""

from __future__ import annotations

from dataclasses import replace

from edgeagent.core.comeback import still_counts
from edgeagent.core.directive import Directive
from edgeagent.core.events import PersistState, Step
from edgeagent.core.probation_count import asked_again
from edgeagent.core.rollback import rollback_target
from edgeagent.core.rollout import is_rollout_intent
from edgeagent.core.state import Goal, Override, State


def intent_changed(state: State, directive: Directive) -> Step:
    """The same intent again changes nothing."""
    run = replace(state.run, intent_synced=True)
    if directive == state.directive:
        # Seen again after a restart it is equal, since it was saved whole: holds and quarantines stand.
        return replace(state, run=run), []
    is_fleets = directive.returns or is_rollout_intent(state.model, directive.intent_id)
    hold = _kept_hold(state.override, directive)
    if is_fleets:  # what is refused under the intent to which it comes may just be tried under the other one
        run = replace(run, store_watch=None)
    state = replace(
        state,
        directive=directive,
        run=replace(run, stop_gap=None if hold else _way_back(state, directive)),
        override=hold,
        # Each is of an intent, to which the node may come back.
        rejections=state.rejections if is_fleets else (),
        last_error="",
        begun_probations=asked_again(state, state.directive, directive),
        comeback=still_counts(state, directive),
    )
    return state, [PersistState()]


def _kept_hold(override: Override | None, directive: Directive) -> Override | None:
    """A hold outlasts a roll-out that is taken back, unless it was against that: the node's own, or the same way
    back."""
    if override is None or not directive.returns or override.kind == "sentinel":
        return None
    return None if override.goal.version == directive.version else override


def _way_back(state: State, directive: Directive) -> Goal | None:
    """What is to serve in the place of a roll-out's version that is taken back, until the version before it can: that
    one has never served well here, and may be refused."""
    active, before = state.active, state.directive
    if not directive.returns or active is None or before is None or active.version != before.version:
        return None
    target = rollback_target(state)
    if target is None or any(r.version == directive.version for r in state.stable_versions):
        return None
    asked = replace(directive, version=target.version, intent_id=f"return@{state.epoch}")
    return Goal(asked, target.digest)
