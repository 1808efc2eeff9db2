# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a version is to come in: what the operator's directive says of shadow, approval, moment and probation, else the
node's settings."""

from __future__ import annotations

from edgeagent.core.directive import Directive
from edgeagent.core.policy import EntryTerms, Policy


def entry_terms(directive: Directive, policy: Policy) -> EntryTerms:
    """As the operator asks for, else as the node is configured."""
    asked, own = directive.shadow, policy.entry
    seconds, frames = own.seconds, own.frames
    if asked and (asked.seconds is not None or asked.frames is not None):
        seconds, frames = asked.seconds or 0.0, asked.frames or 0
    return EntryTerms(seconds, frames, directive.approval or own.approval, directive.at or own.at)


def missing_setting(directive: Directive, policy: Policy) -> str:
    """What the directive asks for and the node isn't configured for; "" when nothing."""
    if entry_terms(directive, policy).at == "window" and not policy.has_windows:
        return 'it is to come in "at": "window", and update.switch.windows of this node names no time of day'
    return ""


def probation_seconds(directive: Directive, policy: Policy) -> float:
    """How long a version is watched after the swap: as the operator asks for, or as the node is configured."""
    return policy.probation_s if directive.probation is None else directive.probation.seconds
