# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a machine has no room for two versions: what serves is stopped, and nothing serves until the next has loaded.

The operator has to have said so (`update.mode: stop-start`). From then on everything is as at a start, so what follows
is the same too: if the version that comes fails, the last known good one is loaded at once.
"""

from __future__ import annotations

from dataclasses import replace

from edgeagent.core.events import Command, RetireEngine, Step, StopServing
from edgeagent.core.lifecycle import Stage, advance
from edgeagent.core.state import Candidate, Gap, State
from edgeagent.core.swap import retire


def stop_for(state: State, c: Candidate, now: float) -> Step:
    """The candidate is to be loaded, and has room only in the place of what serves, and of the standby."""
    active, standby = state.active, state.standby
    if active is None:
        return state, []
    advance(state.stage, Stage.DRAINING)
    commands: list[Command] = [StopServing(active)]
    state = retire(state, active)
    if standby:
        advance(Stage.READY, Stage.DRAINING)
        commands.append(RetireEngine(standby))
        state = retire(state, standby)
    run = replace(state.run, gap=Gap(c.id, active, now), failures=None, probation=None)
    return replace(state, active=None, standby=None, probation_until=None, run=run), commands
