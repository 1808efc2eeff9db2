# SPDX-License-Identifier: AGPL-3.0-or-later
"""The alarms of the system over time: what of a node's state holds for how long, and what is only its consequence."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from edgeagent.core.alarms.alarm import Condition, Figures, Key
from edgeagent.core.alarms.delay import Delayed
from edgeagent.core.alarms.rules import listed
from edgeagent.core.alarms.system import (
    FILES,
    SYSTEM_RULES,
    Finding,
    ModelFacts,
    PipelineFacts,
    SystemFacts,
    SystemLimits,
    camera,
    finding,
    model,
    rules,
    surroundings,
)

RESTART_S = 5.0
"""So long after a worker was started again, it counts as restarting."""
LEAST_FRAMES = 20
"""Of fewer no share is told."""
_MORE = {
    "busy": "the engine is too slow for the camera",
    "no_engine": "no model is ready",
    "stale": "they come too late",
    "unreadable": "they can't be decoded",
    "failed": "the model fails on them",
}
_TODO = {
    "busy": "give source.fps a rate that the engine holds, or use a smaller model or a faster machine",
    "no_engine": "see the status of the model: a version has to be fetched, or was refused",
}


@dataclass(frozen=True)
class Judgement:
    """active: what holds, delays included; inactive: what doesn't. What is in neither isn't known now. causes: what
    holds at this instant, without delays: what follows from it needs no alarm of its own."""

    active: Mapping[Key, Condition] = field(default_factory=dict)
    inactive: frozenset[Key] = frozenset()
    causes: frozenset[Key] = frozenset()


class SystemWatch:
    """`observe` the node's state about once a second. Pure but for its memory."""

    def __init__(self, limits: SystemLimits, active: Collection[Key] = ()) -> None:
        """active: alarms whose condition held when the node was stopped; those of other rules are left aside."""
        self.limits = limits
        self._delayed = {key: Delayed(True) for key in active if key.rule in SYSTEM_RULES}
        self._last: dict[Key, Condition] = {}  # as it was when it last held
        self._frames: dict[str, deque[tuple[float, int, Mapping[str, int]]]] = {}
        self._lost: dict[str, dict[str, int]] = {}  # records, by pipeline and sink
        self._restarts: dict[str, tuple[int, float]] = {}  # by model: how many, and when the last came

    def observe(self, facts: SystemFacts, now: float) -> Judgement:
        """now: monotonic seconds."""
        found = dict(self._find(facts, now))
        found |= {key: None for key in self._delayed if key not in found and not _is_there(key, facts)}
        active: dict[Key, Condition] = {}
        inactive: set[Key] = set()
        for key, said in found.items():
            rule = self.limits.rule(key.rule)
            if said:
                self._last[key] = said
            delayed = self._delayed.get(key, Delayed()).step(
                said is not None, now, rule.after_s, rule.clear_s
            )
            if rule.enabled and delayed != Delayed():
                self._delayed[key] = delayed
            else:
                self._delayed.pop(key, None)
            last = self._last.get(key)
            if rule.enabled and delayed.active and last:
                active[key] = last
            elif not (rule.enabled and delayed.active):
                inactive.add(key)
        causes = frozenset(k for k, said in found.items() if said and self.limits.rule(k.rule).enabled)
        return Judgement(active, frozenset(inactive), causes)

    def _find(self, facts: SystemFacts, now: float) -> Iterator[Finding]:
        models = {m.name: m for m in facts.models}
        for p in facts.pipelines:
            yield from camera(p, self.limits)
            yield from rules(p, self.limits)
            yield from self._dropped(p, models.get(p.model), now)
            yield self._sinks(p, bool(facts.disk_error))
        for m in facts.models:
            yield from model(m, self.limits)
            yield from self._engine(m, now)
        yield from surroundings(facts, self.limits)

    def _engine(self, m: ModelFacts, now: float) -> Iterator[Finding]:
        restarts, at = self._restarts.get(m.name, (m.restarts, -RESTART_S))
        at = now if m.restarts > restarts else at
        self._restarts[m.name] = m.restarts, at
        if m.serves is None:
            return
        holds = not m.ready or now - at < RESTART_S
        text = f"{m.name}: the process that runs {m.serves} ended, and is started again" if holds else ""
        todo = "see the log for why it ended (memory, driver); a version that keeps failing is taken back by itself"
        figures: Figures = {"restarts": m.restarts, "version": m.serves}
        yield finding("engine_restarting", self.limits, text, todo, of_model=m.name, figures=figures)

    def _dropped(self, p: PipelineFacts, m: ModelFacts | None, now: float) -> Iterator[Finding]:
        over = self.limits.dropped_over_s
        seen = self._frames.setdefault(p.name, deque())
        if seen and p.captured < seen[-1][1]:
            seen.clear()  # it was made anew
        seen.append((now, p.captured, dict(p.dropped)))
        while len(seen) > 1 and now - seen[1][0] >= over:
            seen.popleft()
        since, captured, dropped = seen[0]
        if now - since < over:
            return
        came = p.captured - captured
        lacks = {reason: n - dropped.get(reason, 0) for reason, n in p.dropped.items()}
        share = sum(lacks.values()) / came if came >= LEAST_FRAMES else 0.0
        reason = max(lacks, key=lambda r: lacks[r]) if lacks else ""
        if reason == "no_engine" and m and m.serves and m.ready:
            return  # it is over
        text = ""
        if share >= self.limits.dropped_share:
            # Without the share of now: words that change with each look would be told with each.
            least = f"{self.limits.dropped_share:.0%} or more of the frames of the last {over:g} s"
            text = f"{p.name}: {least} have no result: "
            text += _MORE.get(reason, reason)
        todo = _TODO.get(reason, "see docs/troubleshooting.md; the status says which frames, and why")
        figures: Figures = {"share": round(min(share, 1.0), 2), "reason": reason}
        yield finding(
            "frames_dropped",
            self.limits,
            text,
            todo,
            pipeline=p.name,
            of_model=p.model,
            figures=figures,
        )

    def _sinks(self, p: PipelineFacts, disk_is_full: bool) -> Finding:
        before, losing, lost = self._lost.get(p.name, {}), [], 0
        for sink in p.sinks:
            more = sink.lost - before.get(sink.name, 0)
            if more > 0 and not (disk_is_full and sink.type in FILES):
                losing.append(sink)
                lost += more
        self._lost[p.name] = {sink.name: sink.lost for sink in p.sinks}
        why = "; ".join(dict.fromkeys(s.error for s in losing if s.error))[:300]
        names = listed([s.name for s in losing])
        text = f"{p.name}: records are lost to {names}" + (f": {why}" if why else "") if losing else ""
        todo = "look at what takes them: a disk, a broker, a server; frames aren't held up by it"
        figures: Figures = {"lost": lost, "sinks": names, **({"why": why} if why else {})}
        return finding("sink", self.limits, text, todo, pipeline=p.name, figures=figures)


_WHILE: Mapping[str, tuple[tuple[str, str], ...]] = {
    "absent": (("camera_lost", "pipeline"), ("camera_frozen", "pipeline"), ("engine_restarting", "model")),
    "frames_dropped": (
        ("camera_lost", "pipeline"),
        ("camera_frozen", "pipeline"),
        ("engine_restarting", "model"),
    ),
    "rollout_orphaned": (("config_store", ""),),
}
"""By kind of alarm: the rules that are its cause while they hold, on the same pipeline, for the same model, or at
all."""
_ONCE: Mapping[str, tuple[tuple[str, str], ...]] = {
    **_WHILE,
    "engine_restarting": (("version_rolled_back", "model"),),
}
"""The same, for an alarm that was raised just before its cause was."""
FOLD_S = 120.0
"""An alarm that is so young when its cause is raised was a consequence of that already."""


def _is_there(key: Key, facts: SystemFacts) -> bool:
    """Whether there still is what it is about."""
    models = {p.name: p.model for p in facts.pipelines}
    if key.pipeline:
        return key.pipeline in models and key.model in ("", models[key.pipeline])
    return not key.model or key.model in {m.name for m in facts.models}


def cause_of(what: Condition, causes: Collection[Key], was_raised: bool = False) -> Key | None:
    """Of what that holds now this is a consequence, so that it needs no alarm of its own. was_raised: it has one, from
    just before."""
    for rule, scope in (_ONCE if was_raised else _WHILE).get(what.kind, ()):
        pipeline = what.pipeline or "" if scope == "pipeline" else ""
        key = Key(rule, pipeline, what.model or "" if scope == "model" else "")
        if key in causes:
            return key
    return None
