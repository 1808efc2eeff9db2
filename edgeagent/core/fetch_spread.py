# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a node fetches a version that many nodes are asked for in the same instant."""

from __future__ import annotations

from edgeagent.core.directive import Directive

ROLLOUT = "/rollout@"
"""What tells the intent of a roll-out: a part of its id."""


def fetch_delay(directive: Directive, configured_s: float, chance: float) -> float:
    """Seconds until this node fetches: for a roll-out a moment within the spread, which chance alone decides, so that a
    wave's nodes don't ask the store together; 0.0 for any other intent.

    configured_s: the node's own spread, seconds, where the roll-out has none. chance: a number from 0 to 1, drawn for
    this fetch.
    """
    return (directive.spread_s or configured_s) * chance if ROLLOUT in directive.intent_id else 0.0
