# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules of all pipelines, over their records: which of them hold now, and which can't be judged, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgeagent.core.alarms.alarm import Condition, Key
from edgeagent.core.alarms.in_view import ObjectsInView, Seen
from edgeagent.core.alarms.rules import FrameSeen, Rule, condition, missing_classes, unusable
from edgeagent.core.alarms.watch import RuleWatch
from edgeagent.sinks.port import Record

Classes = tuple[str, tuple[str, ...]]
"""The version that serves, and the names of its classes."""


@dataclass(frozen=True)
class PipelineRules:
    """What is to be watched on a pipeline, and the model that looks at it."""

    model: str
    rules: tuple[Rule, ...]


@dataclass(eq=False)
class WatchedRule:
    """One rule of one pipeline. error: why it can't be judged by what serves, or not by all of its classes; judged:
    whether it is judged all the same; said: what was said when it began to hold, at: by the frame of then, Unix
    seconds."""

    pipeline: str
    model: str
    watch: RuleWatch
    error: str = ""
    judged: bool = True
    said: Condition | None = None
    at: float = 0.0

    @property
    def rule(self) -> Rule:
        """As it was configured."""
        return self.watch.rule

    @property
    def key(self) -> Key:
        """Of its alarm."""
        return Key(self.rule.name, self.pipeline, self.model)

    def check(self, serving: Classes | None) -> None:
        """Another version may serve by now, None: none."""
        if serving is None:
            return
        version, names = serving
        self.error = unusable(self.rule, names, version)
        missing = missing_classes(self.rule, names)
        # Of an absence, one class that can't be seen any more is enough to know nothing.
        self.judged = not missing or (self.rule.when != "absent" and len(missing) < len(self.rule.classes))
        if not self.judged:
            self.watch.pause()

    def says(self) -> Condition:
        """What is wrong, now that it holds."""
        return condition(self.rule, self.pipeline, self.model, self.watch.names, dict(self.watch.figures))


@dataclass(eq=False)
class RuleSet:
    """All rules. on_change: called with a rule that begins to hold, or ceases to."""

    on_change: Callable[[WatchedRule], None]
    _rules: dict[str, list[WatchedRule]] = field(default_factory=dict)  # by pipeline
    _in_view: dict[str, ObjectsInView] = field(default_factory=dict)  # likewise, where rules count

    def __iter__(self) -> Iterator[WatchedRule]:
        return (rule for rules in self._rules.values() for rule in rules)

    @property
    def models(self) -> set[str]:
        """Models with whose results something is to be compared."""
        return {rule.model for rule in self}

    def of(self, pipeline: str) -> Sequence[WatchedRule]:
        """The rules of a pipeline."""
        return self._rules.get(pipeline, ())

    def unusable(self, pipeline: str) -> dict[str, str]:
        """Why rules of a pipeline can't be judged, or not by all of their classes, by their names."""
        return {rule.rule.name: rule.error for rule in self.of(pipeline) if rule.error}

    def check(self, model: str, serving: Classes | None) -> None:
        """Another version of a model serves, or there are other rules: what can be judged now?"""
        for rule in self:
            if rule.model == model:
                rule.check(serving)

    def set(self, wanted: Mapping[str, PipelineRules], active: Mapping[Key, Condition]) -> None:
        """These rules from now on. One that is as it was goes on with what it has seen; one that was changed begins
        anew, in the state in which its alarm is. active: of the alarms whose condition holds, what was said."""
        before = {(rule.key, rule.rule): rule for rule in self}
        self._rules = {}
        self._in_view = {
            pipeline: self._in_view.get(pipeline) or ObjectsInView()
            for pipeline, p in wanted.items()
            if any(rule.when == "count" for rule in p.rules)
        }
        for pipeline, p in wanted.items():
            for rule in p.rules:
                key = Key(rule.name, pipeline, p.model)
                stays = before.get((key, rule))
                if stays is None:
                    said = _said_by(rule, active.get(key))
                    stays = WatchedRule(pipeline, p.model, RuleWatch(rule, said is not None), said=said)
                self._rules.setdefault(pipeline, []).append(stays)

    def observe(self, record: Record, mono: float) -> None:
        """The record of a frame that was captured at `mono`, monotonic seconds."""
        rules = self._rules.get(record.pipeline)
        if not rules:
            return
        frame = FrameSeen(record.boxes, record.names, record.width, record.height, mono, record.version)
        objects = self._objects(frame, [rule for rule in rules if rule.judged and rule.rule.when == "count"])
        for rule in rules:
            if rule.judged and rule.watch.observe(frame, objects):
                rule.at = record.ts
                rule.said = rule.says() if rule.watch.active else None
                self.on_change(rule)

    def _objects(self, frame: FrameSeen, counting: list[WatchedRule]) -> Sequence[Seen]:
        """What is in view, for those rules of a pipeline that count."""
        if not counting:
            return ()
        in_view = self._in_view[counting[0].pipeline]
        return in_view.observe(frame, [rule.watch for rule in counting])


def _said_by(rule: Rule, before: Condition | None) -> Condition | None:
    """What an alarm says whose rule was changed while it holds."""
    if before is None:
        return None
    return replace(
        before,
        kind=rule.when,
        severity=rule.severity,
        text=rule.text or before.text,
        todo=rule.todo or before.todo,
        own_text=bool(rule.text) or before.own_text,
        own_todo=bool(rule.todo) or before.own_todo,
    )
