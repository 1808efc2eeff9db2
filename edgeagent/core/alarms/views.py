# SPDX-License-Identifier: AGPL-3.0-or-later
"""What may raise an alarm, in words for whoever looks at the list of rules."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeagent.core.alarms.alarm import Figures, Severity
from edgeagent.core.alarms.rules import Rule, figures_of, listed
from edgeagent.core.alarms.system import SystemLimits


@dataclass(frozen=True)
class RuleView:
    """A rule as the API shows it. pipeline: None for one of the system; error: why it can't be judged now; figures: of
    which its sentence can be made in another language; own_text: `text` is that of whoever wrote it."""

    name: str
    pipeline: str | None
    kind: str
    severity: Severity
    text: str
    error: str | None = None
    figures: Figures = field(default_factory=dict)
    own_text: bool = False


_SYSTEM = {
    "camera_lost": "a camera gives no frames",
    "camera_frozen": "a camera always gives the same picture",
    "frames_dropped": "too many frames of a pipeline get no result",
    "engine_restarting": "the process that runs a model ended, and is started again",
    "version_refused": "a version that was asked for was refused",
    "version_rolled_back": "a version that served was taken back by the node itself",
    "disk": "the disk of the state folder takes nothing, or has little room left",
    "config_store": "the config store can't be reached",
    "api": "the API can't be offered",
    "sink": "records are lost to a sink",
    "rollout_orphaned": "a roll-out should go on, and nobody leads it",
    "rule_unusable": "a rule is about classes that the version that serves doesn't have",
}


def rule_view(rule: Rule, pipeline: str, error: str) -> RuleView:
    """One of a pipeline."""
    what = listed(rule.classes) or "anything"
    match rule.when:
        case "present":
            least = f"{rule.objects} or more of " if rule.objects > 1 else ""
            c = rule.confirmed
            on = f" on {c.at_least} of {c.of} frames" if c.of > 1 else ""
            text = f"{least}{what} seen{on}"
        case "count":
            text = f"{rule.objects} or more of {what} within {rule.within_s:g} s"
        case _:
            text = f"no {what} for {rule.absent_s:g} s"
    if rule.region:
        text += ", in its region"
    own = bool(rule.text)
    return RuleView(
        rule.name,
        pipeline,
        rule.when,
        rule.severity,
        rule.text or text,
        error or None,
        figures_of(rule),
        own,
    )


def system_view(name: str, limits: SystemLimits) -> RuleView:
    """One of the system."""
    rule = limits.rule(name)
    after = f" for {rule.after_s:g} s" if rule.after_s else ""
    figures: Figures = {"seconds": rule.after_s} if rule.after_s else {}
    return RuleView(name, None, name, rule.severity, _SYSTEM[name] + after, figures=figures)
