# SPDX-License-Identifier: AGPL-3.0-or-later
"""The alarms of a node: listens to its results and looks at itself once a second; raises, clears and remembers.

What is decided stands in `core.alarms`; here it is performed. Everything happens on the event loop's thread, and
nothing waits for a disk but who has acknowledged or shelved something.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from edgeagent.alarms.clips import ClipNeeds, ClipRecorder
from edgeagent.alarms.facts import NodeFacts, free_bytes
from edgeagent.alarms.keeper import AlarmKeeper
from edgeagent.alarms.rule_set import PipelineRules, RuleSet, WatchedRule
from edgeagent.config.alarms import AlarmsConfig
from edgeagent.config.schema import PipelineConfig
from edgeagent.core.alarms import Alarm, Condition, Key
from edgeagent.core.alarms.alarm import Shelf
from edgeagent.core.alarms.book import (
    AlarmBook,
    Step,
    acknowledge,
    clear_alarm,
    close_alarm,
    find,
    raise_alarm,
    shelve,
    show,
    tick,
    unshelve,
)
from edgeagent.core.alarms.rules import Clip
from edgeagent.core.alarms.system import SYSTEM_RULES
from edgeagent.core.alarms.system_watch import FOLD_S, SystemWatch, cause_of
from edgeagent.core.alarms.views import RuleView, rule_view, system_view
from edgeagent.core.events import AppendAudit
from edgeagent.core.text import MAX_BY, clean
from edgeagent.errors import NotFoundError, NotKeptError, UsageError
from edgeagent.observe.alarm_metrics import AlarmMetrics
from edgeagent.observe.bus import AlarmChanged, Bus, Swapped
from edgeagent.serving.tap import Tap
from edgeagent.sinks.port import Record
from edgeagent.workers.tasks.clips import What

TICK_S = 1.0
FREE_S = 10.0
"""How often the disk is asked how much is free."""
FRESH_S = 5.0
"""How long ago the frame may be by which an alarm is raised."""
SWEEP_S = 60.0
"""How often clips that are too old or too much are looked for."""
FILE, CLIPS = "alarms.json", "alarms"
GONE = "its rule is gone"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Clocks:
    """mono: seconds in which the node runs, for delays; unix: what is shown to people."""

    mono: Callable[[], float] = time.monotonic
    unix: Callable[[], float] = time.time


class Alarms:
    """Of one node."""

    def __init__(
        self,
        state_dir: Path,
        config: AlarmsConfig,
        facts: NodeFacts,
        bus: Bus,
        registry: CollectorRegistry,
        record: Callable[[str, AppendAudit], None],
        clocks: Clocks | None = None,
    ) -> None:
        """Remembers the alarms of before: reads the disk. record: into the audit log, of a model."""
        self._facts, self._bus, self._record = facts, bus, record
        self._clocks = clocks or Clocks()
        self._metrics = AlarmMetrics(registry)
        self._config = config
        self._state_dir = state_dir
        self._keeper = AlarmKeeper(state_dir / FILE, config.keep)
        self.book: AlarmBook = self._keeper.load()
        self._rules = RuleSet(self._rule_changed)
        self._system = SystemWatch(config.limits(), self._active())
        self._causes: frozenset[Key] = frozenset()
        self._told: set[Key] = set()  # a consequence of something that has an alarm; until it holds no more
        self._taps: dict[str, tuple[Tap, Callable[[], None]]] = {}  # by model, and what ends listening
        self.clips = ClipRecorder(state_dir / CLIPS, self._show)
        self._free: int | None = None
        self._free_at = self._swept_at = -SWEEP_S
        self._asking: asyncio.Task[None] | None = None
        bus.subscribe(Swapped, lambda event: self._rules.check(event.model, facts.classes(event.model)))

    # -- what runs -----------------------------------------------------------------------------------

    def configure(
        self, config: AlarmsConfig, pipelines: list[PipelineConfig], taps: Mapping[str, Tap]
    ) -> None:
        """These rules and thresholds from now on, while frames flow. A rule that is as it was goes on with what it has
        seen, and the alarm of one that was changed stays; those of rules that are gone are over. taps: by model."""
        active = self._active()
        wanted = {p.name: PipelineRules(p.model, tuple(r.rule() for r in p.alarms)) for p in pipelines}
        self._rules.set(wanted, active)
        if config != self._config:
            self._system = SystemWatch(config.limits(), active)
        self._config = config
        known = {rule.key for rule in self._rules}
        for key in [k for k in self.book.open if k not in known and k.rule not in SYSTEM_RULES]:
            self._step(close_alarm(self.book, key, GONE, self._clocks.unix()))
        self._listen(taps)
        self._record_clips(config, taps)
        for model in self._rules.models:
            self._rules.check(model, self._facts.classes(model))

    async def run(self) -> None:
        """Look at the node once a second, for ever."""
        while True:
            self.look()
            self._keeper.look(self.book)
            self._ask_disk()
            await asyncio.sleep(TICK_S)

    async def close(self) -> None:
        """Listen no more, and save what is to be remembered."""
        self._listen({})
        if self._asking:
            self._asking.cancel()
        await self.clips.close()
        await self._keeper.close(self.book)

    def look(self) -> None:
        """A second has passed."""
        now = self._clocks.unix()
        facts = self._facts.look(self._rules.unusable, self._free)
        for pipeline in {rule.pipeline for rule in self._rules}:
            if not self._facts.serves(pipeline):
                for rule in self._rules.of(pipeline):
                    rule.watch.pause()
        judged = self._system.observe(facts, self._clocks.mono())
        self._fold(judged.active, judged.causes)
        for what in judged.active.values():
            self._hold(what, self._config.cool_down_seconds)
        for key in judged.inactive:
            self._clear(key)
        for rule in self._rules:
            self._rule_changed(rule)
        self._step(tick(self.book, now))
        self._metrics.show(self.book.open.values())

    def _record_clips(self, config: AlarmsConfig, taps: Mapping[str, Tap]) -> None:
        wanted: dict[str, list[Clip]] = {}
        models = set()
        for rule in self._rules:
            if rule.rule.clip:
                wanted.setdefault(rule.pipeline, []).append(rule.rule.clip)
                models.add(rule.model)
        needs = {pipeline: ClipNeeds.of(clips) for pipeline, clips in wanted.items()}
        self.clips.configure(config.clips, needs, {taps[model] for model in models if model in taps})

    # -- what is asked -------------------------------------------------------------------------------

    def alarms(self) -> list[Alarm]:
        """Those that are not over and the last of those that are, the newest first."""
        both = (*self.book.open.values(), *self.book.past)
        return sorted(both, key=lambda alarm: alarm.raised_at, reverse=True)

    def rules(self) -> list[RuleView]:
        """What may raise one."""
        limits = self._config.limits()
        system = [system_view(name, limits) for name in SYSTEM_RULES if limits.rule(name).enabled]
        return [rule_view(r.rule, r.pipeline, r.error) for r in self._rules] + system

    async def acknowledge(self, id: str, by: str) -> Alarm:
        """Somebody has taken notice. Raises NotFoundError, ConflictError, NotKeptError."""
        return await self._act("acknowledged", by, acknowledge(self.book, id, by, self._clocks.unix()))

    async def shelve(self, id: str, by: str, minutes: int, reason: str) -> Alarm:
        """Nobody is to hear of it for so long. Raises UsageError, NotFoundError, ConflictError, NotKeptError."""
        most = self._config.shelve_max_minutes
        if not 1 <= minutes <= most:
            raise UsageError(
                f"shelve alarm {id[:64]}", f"{minutes} minutes are not allowed", f"use 1 to {most} minutes"
            )
        now, reason = self._clocks.unix(), clean(" ".join(reason.split()), MAX_BY)
        step = shelve(self.book, id, Shelf(by, now + 60 * minutes, reason), now)
        return await self._act(
            "shelved", by, step, f"for {minutes} minutes" + (f": {reason}" if reason else "")
        )

    async def unshelve(self, id: str, by: str) -> Alarm:
        """It is to be heard again. Raises NotFoundError, ConflictError, NotKeptError."""
        return await self._act("unshelved", by, unshelve(self.book, id, self._clocks.unix()))

    async def file(self, id: str, what: What) -> tuple[Path, str]:
        """Where an alarm's picture or clip is, and its media type. Raises NotFoundError."""
        if find(self.book, id) is None:
            raise NotFoundError(f"alarm {id[:64]}", "there is none of this id", "see GET /api/alarms")
        return await self.clips.file(id, what)

    async def _act(self, result: str, by: str, step: Step, more: str = "") -> Alarm:
        self._step(step)
        (alarm,) = step[1]
        what = alarm.what
        why = "; ".join(filter(None, (f"{what.rule}: {what.text}", more)))
        self._record(what.model or "", AppendAudit("alarm", result, by, why=why))
        self._metrics.show(self.book.open.values())
        try:
            await self._keeper.saved(self.book)
        except OSError as e:
            why = str(e) or "the disk does not answer"
            raise NotKeptError(
                f"alarm {alarm.id}",
                f"it is {result}, but that isn't on disk ({why}): a restart may undo it",
                "look at the disk of node.state_dir; it is kept as soon as the disk takes it",
            ) from e
        return alarm

    def _active(self) -> dict[Key, Condition]:
        return {key: alarm.what for key, alarm in self.book.open.items() if alarm.active}

    # -- what changes --------------------------------------------------------------------------------

    def _step(self, step: Step) -> None:
        self.book, changed = step
        for alarm in changed:
            self._bus.publish(AlarmChanged(alarm))

    def _hold(self, what: Condition, cool_down_s: float) -> bool:
        """This is wrong, if it isn't only a consequence of something else that is known to be. Returns whether that is
        new."""
        before = self.book.open.get(what.key)
        if what.key in self._told or cause_of(what, self._causes):
            return False
        new_id = secrets.token_hex(8)
        self._step(raise_alarm(self.book, what, self._clocks.unix(), new_id, cool_down_s))
        is_new = before is None or not before.active
        if is_new:
            self._metrics.raised(self.book.open[what.key])
        return is_new

    def _clear(self, key: Key) -> None:
        self._told.discard(key)
        if key in self.book.open:
            self._step(clear_alarm(self.book, key, self._clocks.unix()))

    def _fold(self, active: Mapping[Key, Condition], causes: frozenset[Key]) -> None:
        """What was raised just before its cause was has no alarm of its own any more."""
        new, self._causes = causes - self._causes, causes
        now = self._clocks.unix()
        for what in (*active.values(), *(a.what for a in self.book.open.values() if a.active)):
            cause, alarm = cause_of(what, new, was_raised=True), self.book.open.get(what.key)
            if cause is None or (alarm and not 0 <= now - alarm.raised_at <= FOLD_S):
                continue
            if cause_of(what, causes) is None:
                self._told.add(what.key)
            self._step(close_alarm(self.book, what.key, f"a consequence of {cause.rule}", now))

    def _rule_changed(self, rule: WatchedRule) -> None:
        if rule.watch.active and rule.said:
            is_new, clip = self._hold(rule.said, rule.rule.cool_down_s), rule.rule.clip
            if is_new and clip:
                self._begin_clip(rule, clip)
        elif not rule.watch.active:
            self._clear(rule.key)

    def _begin_clip(self, rule: WatchedRule, clip: Clip) -> None:
        """In the place of what shows the time before, if it comes again."""
        id, now = self.book.open[rule.key].id, self._clocks.unix()
        # It may have begun to hold long ago, as a consequence of something else.
        at = rule.at if now - rule.at < FRESH_S else now
        if self.clips.begin(id, rule.pipeline, at, clip):
            self._step(show(self.book, id, None, None, now))

    # -- what it listens to --------------------------------------------------------------------------

    def _listen(self, taps: Mapping[str, Tap]) -> None:
        """To the results of the models that have rules, and of no other."""
        wanted = {model: tap for model, tap in taps.items() if model in self._rules.models}
        for model, (tap, end) in list(self._taps.items()):
            if wanted.get(model) is not tap:
                end()
                del self._taps[model]
        for model, tap in wanted.items():
            if model not in self._taps:
                self._taps[model] = tap, tap.listen(self._heard)

    def _show(self, id: str, what: What) -> None:
        """There is a picture of it now, or a clip."""
        alarm = find(self.book, id)
        if alarm:
            url = f"api/alarms/{id}/" + ("picture.jpg" if what == "picture" else "clip.mp4")
            if alarm.count > 1:  # else a browser shows what it has of the time before
                url += f"?{alarm.count}"
            picture, clip = (url, alarm.clip) if what == "picture" else (alarm.picture, url)
            self._step(show(self.book, id, picture, clip, self._clocks.unix()))

    def _heard(self, record: Record) -> None:
        self._rules.observe(record, self._clocks.mono() - record.latency_ms / 1000)

    def _ask_disk(self) -> None:
        """In a thread: a disk may hang."""
        now = self._clocks.mono()
        if self._asking or now - self._free_at < FREE_S:
            return
        self._free_at = now
        sweeps = now - self._swept_at >= SWEEP_S
        self._swept_at = now if sweeps else self._swept_at

        async def ask() -> None:
            try:
                for id in await asyncio.to_thread(self.clips.sweep) if sweeps else ():
                    self._step(show(self.book, id, None, None, self._clocks.unix()))
                self._free = await asyncio.to_thread(free_bytes, self._state_dir)
            except OSError as e:
                _log.warning("clips.not_removed", why=str(e))
            finally:
                self._asking = None

        self._asking = asyncio.create_task(ask())
