# SPDX-License-Identifier: AGPL-3.0-or-later
"""A node among others: its presence, the roll-outs that it follows and its reports, through one connection; and those
that it leads, if it may, through another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from edgeagent.config import Config
from edgeagent.core.fleet_phase import RolloutView, pairs_of, report_of, view_of
from edgeagent.core.fleet_report import Report
from edgeagent.core.pairs import PairSummary
from edgeagent.core.state import VersionRef
from edgeagent.fleet.coordinator import Coordinator, open_coordinator
from edgeagent.fleet.figures import LineFigures
from edgeagent.fleet.follower import Follower
from edgeagent.fleet.overview import FleetOverview, OverviewReader
from edgeagent.fleet.presence import Announcer, Summary
from edgeagent.fleet.reports import Reports
from edgeagent.intent.port import KeyValueStore
from edgeagent.intent.watcher import IntentWatcher
from edgeagent.observe.bus import Bus, Swapped
from edgeagent.serving.pipeline import Pipeline
from edgeagent.update.updater import Updater

LOOK_S = 1.0


@dataclass(frozen=True)
class Lines:
    """What the node says something of."""

    updaters: Mapping[str, Updater]
    pipelines: Mapping[str, Pipeline]


class Membership:
    """Everything happens on the event loop's thread, but for the calls of the store, which is closed with it."""

    def __init__(
        self,
        store: KeyValueStore,
        config: Config,
        lines: Lines,
        describe: Callable[[], Summary],
        bus: Bus,
        *,
        instance: str,
    ) -> None:
        """describe: the value of the presence key, with the `instance`, of this process, in it. To be built before
        anything serves, so that no swap is missed."""
        node, updaters = config.node, lines.updaters
        self.follower = Follower(node.id, node.labels, lambda model: updaters[model].state, store)
        self.coordinator: Coordinator | None = None
        if config.fleet.coordinate:
            settings = config.config_store
            self.coordinator = open_coordinator(settings.url, settings.access(), node.id)
        self.overview = FleetOverview(OverviewReader(store, updaters), self._leads)
        self._announcer = Announcer(store, node.id, describe, bus, instance=instance)
        self._reports = Reports(store, node.id, updaters, self._report)
        self.follower.is_seen = self._reports.are_told
        self._labels = node.labels
        self._lines = lines
        self._figures: dict[str, LineFigures] = {}
        self._pairs: dict[str, dict[VersionRef, PairSummary]] = {}
        for model in updaters:
            self.add(model)
        bus.subscribe(Swapped, self._swapped)

    def add(self, model: str) -> None:
        """The node has this model, too; its updater is among the lines."""

        def pipelines() -> list[Pipeline]:
            return [p for p in self._lines.pipelines.values() if p.config.model == model]

        self._figures[model] = LineFigures(self._lines.updaters[model], pipelines)

    async def remove(self, model: str) -> None:
        """The node has it no more; its updater leaves the lines next."""
        self._figures.pop(model, None)
        self._pairs.pop(model, None)
        await self.follower.forget(model)

    def _swapped(self, event: Swapped) -> None:
        if event.model in self._figures:
            self._figures[event.model].swapped()

    def tasks(self, watcher: IntentWatcher) -> list[Callable[[], Awaitable[None]]]:
        """What is to run for ever."""

        def connected() -> bool:
            return watcher.connection.connected

        return [
            partial(self._look, connected),
            lambda: self._announcer.run(connected),
            lambda: self._reports.run(lambda: connected() and self._announcer.is_there),
            *(self.coordinator.tasks if self.coordinator else ()),
        ]

    def _leads(self) -> bool:
        return self.coordinator is not None and self.coordinator.state.leads

    @property
    def conflict(self) -> str:
        """What is wrong with this node's id; "" for nothing."""
        return self._announcer.conflict

    def rollout(self, model: str) -> RolloutView | None:
        """The roll-out of a model, as the status shows it; None while there is none."""
        followed = self.follower.followed.get(model)
        if followed is None or model not in self._lines.updaters:
            return None
        state, waits = self._lines.updaters[model].state, self.follower.waits(model)
        view = view_of(state, followed, self.follower.standing(model), waits)
        return view and replace(view, orphaned=self.follower.is_orphaned(model))

    async def _look(self, connected: Callable[[], bool]) -> None:
        while True:
            self.follower.look(time.monotonic(), connected())
            await asyncio.sleep(LOOK_S)

    async def close(self) -> None:
        """Nothing is written any more; the presence vanishes with its lease."""
        stopping = asyncio.create_task(self.coordinator.stop()) if self.coordinator else None
        await self.follower.close()
        await asyncio.to_thread(self._announcer.close)
        if stopping:
            await stopping

    def _report(self, model: str) -> Report | None:
        followed, state = self.follower.followed.get(model), self._lines.updaters[model].state
        self._pairs[model] = pairs = pairs_of(state, self._pairs.get(model, {}))
        if followed is None:
            return None
        figures, waits = self._figures[model].now(), self.follower.waits(model)
        ahead = self._lines.updaters[model].preload_state
        return replace(report_of(state, followed, figures, pairs, ahead, waits), labels=self._labels)
