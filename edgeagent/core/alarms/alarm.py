# SPDX-License-Identifier: AGPL-3.0-or-later
"""One alarm: what is wrong, since when, what to do, and who has taken notice of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""The mildest first."""
AlarmState = Literal["raised", "acknowledged", "shelved", "cleared"]
"""raised: nobody has taken notice, whether its condition holds still or no more; acknowledged: somebody has, and it
holds; shelved: somebody doesn't want to hear of it until then; cleared: it is over."""


Figures = Mapping[str, float | str]
"""Numbers and texts by name."""


class Key(NamedTuple):
    """What makes two alarms the same one: of each there is one at most that is open. "" where it doesn't apply."""

    rule: str
    pipeline: str = ""
    model: str = ""


@dataclass(frozen=True)
class Condition:
    """What is wrong, and what to do about it. Texts are without secrets, and cut.

    rule: its name; kind: of a rule `present`, `count` or `absent`, of those of the system the rule's name. figures:
    numbers and texts by name, of which the sentence can be made in another language; `why`: what a part of the node, or
    of another system, says. own_text, own_todo: these words are those of whoever wrote the rule.
    """

    rule: str
    kind: str
    severity: Severity
    text: str
    todo: str = ""
    pipeline: str | None = None
    model: str | None = None
    figures: Figures = field(default_factory=dict)
    own_text: bool = False
    own_todo: bool = False

    @property
    def key(self) -> Key:
        """What makes it the same as another."""
        return Key(self.rule, self.pipeline or "", self.model or "")


@dataclass(frozen=True)
class Acknowledgement:
    """Who has taken notice, and when (Unix seconds)."""

    by: str
    at: float


@dataclass(frozen=True)
class Shelf:
    """Who doesn't want to hear of it until then (Unix seconds), and why."""

    by: str
    until: float
    reason: str = ""


@dataclass(frozen=True)
class Alarm:
    """Times are Unix seconds.

    id: of this alarm, and of no other ever. active: its condition holds now, whatever the state; count: how often that
    came, as long as this is the same alarm. closed_at: since when it isn't open any more, closed_why: how that came.
    picture, clip: where they are to be had, relative to where the API begins. change: grows by one with each change, so
    that `id` and `change` tell what was heard before; changed_at: when the last one was.
    """

    id: str
    what: Condition
    state: AlarmState
    active: bool
    raised_at: float
    count: int = 1
    cleared_at: float | None = None
    acknowledged: Acknowledgement | None = None
    shelved: Shelf | None = None
    closed_at: float | None = None
    closed_why: str | None = None
    picture: str | None = None
    clip: str | None = None
    changed_at: float = 0.0
    change: int = 1

    @property
    def key(self) -> Key:
        """What makes it the same alarm as another."""
        return self.what.key

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return self.what.severity

    def as_dict(self) -> dict[str, Any]:
        """As `GET /api/alarms` shows it: plain values, without a level below but `figures`."""
        w, ack, shelf = self.what, self.acknowledged, self.shelved
        return {
            "id": self.id,
            "rule": w.rule,
            "pipeline": w.pipeline,
            "model": w.model,
            "kind": w.kind,
            "severity": w.severity,
            "state": self.state,
            "active": self.active,
            "count": self.count,
            "text": w.text,
            "todo": w.todo,
            "own_text": w.own_text,
            "own_todo": w.own_todo,
            "figures": dict(w.figures),
            "raised_at": self.raised_at,
            "cleared_at": self.cleared_at,
            "acknowledged_by": ack and ack.by,
            "acknowledged_at": ack and ack.at,
            "shelved_by": shelf and shelf.by,
            "shelved_until": shelf and shelf.until,
            "shelved_reason": shelf and shelf.reason,
            "closed_at": self.closed_at,
            "closed_why": self.closed_why,
            "picture": self.picture,
            "clip": self.clip,
            "changed_at": self.changed_at,
            "change": self.change,
        }
