# SPDX-License-Identifier: AGPL-3.0-or-later
"""The lines of a node, its models and its pipelines: as they are built at the start, and as they come and go later."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import structlog

from edgeagent.config import Config, PipelineConfig
from edgeagent.config.changes import Changes
from edgeagent.config.policy import policy_of
from edgeagent.core.detection_settings import DetectionSettings
from edgeagent.core.events import Tick
from edgeagent.core.policy import Policy
from edgeagent.core.probation_count import ended_in_order
from edgeagent.core.state import State
from edgeagent.observe.bus import Bus
from edgeagent.observe.metrics import Metrics
from edgeagent.runtimes.variants import stream_count
from edgeagent.serving.engine_process import EngineSettings
from edgeagent.serving.pipeline import Pipeline
from edgeagent.sinks.port import SinkPlace
from edgeagent.sinks.queue import SinkHost
from edgeagent.sinks.registry import open_sink
from edgeagent.update.background import for_ever
from edgeagent.update.journal import Journal
from edgeagent.update.judge import JudgeSettings, judge_settings
from edgeagent.update.kept_pictures import KeptPictures
from edgeagent.update.sentinel import GoldenSentinel, sentinel_of
from edgeagent.update.snapshots import Snapshots
from edgeagent.update.state_dir import StateDir
from edgeagent.update.state_file import load_state
from edgeagent.update.trial_runner import PrepareSettings, prepare_settings
from edgeagent.update.update_queue import UpdateQueue
from edgeagent.update.updater import Updater, UpdaterSettings
from edgeagent.workers.limits import WorkerLimits

_log = structlog.get_logger(__name__)
_MB = 1 << 20


@dataclass(frozen=True)
class Shared:
    """What the lines of a node have in common."""

    metrics: Metrics
    bus: Bus
    pictures: KeptPictures
    state_dir: StateDir


@dataclass(frozen=True)
class ModelUser:
    """Who has something to do with each model. add: it came, and has an updater; remove: its last pipeline is gone."""

    add: Callable[[str], None]
    remove: Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class _Settings:
    """Of one updater."""

    policy: Policy
    prepare: PrepareSettings
    judge: JudgeSettings
    detections: DetectionSettings


class NodeLines:
    """One updater a model, one pipeline a camera. On the event loop's thread.

    updaters, pipelines, sentinels: what there is now, by name; whoever holds one of these mappings sees it change.
    """

    def __init__(self, config: Config, shared: Shared) -> None:
        self.config = config
        self.updaters: dict[str, Updater] = {}
        self.pipelines: dict[str, Pipeline] = {}
        self.sentinels: dict[str, GoldenSentinel] = {}
        self.queue = UpdateQueue(config.update.max_concurrent)
        self._shared = shared
        self._host = SinkHost(config.node.id, shared.state_dir.path / "sinks")
        self._settings: dict[str, _Settings] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}  # of the sentinels
        self._users: list[ModelUser] = []
        self.snapshots = Snapshots(self.pipelines)
        self._journal: Journal | None = None

    @property
    def classes(self) -> dict[str, list[str]]:
        """Of the versions that serve, by model."""
        serving = {model: updater.slot.engine for model, updater in self.updaters.items()}
        return {m: list(engine.artifact.contract.names) for m, engine in serving.items() if engine}

    def follow(self, user: ModelUser) -> None:
        """Tell of the models that come and go from now on."""
        self._users.append(user)

    # -- start and stop ------------------------------------------------------------------------------

    def build(self, journal: Journal) -> None:
        """All that the configuration names; nothing runs yet. Raises EdgeAgentError."""
        self._journal = journal
        for model in sorted({p.model for p in self.config.pipelines}):
            self._add_updater(self._load_state(model))
        for pipeline in self.config.pipelines:
            self._add_pipeline(pipeline)
        self._follow_for_snapshots()

    async def start(self) -> None:
        """Serve what was known to be good, and look through the cameras."""
        await self._reserve_epochs(u.state for u in self.updaters.values())
        for updater in self.updaters.values():
            updater.handle(Tick())
        for pipeline in self.pipelines.values():
            pipeline.start()

    def watch(self) -> None:
        """Have the sentinels look from now on."""
        for model in self.updaters:
            self._have_sentinel(model)

    async def stop_cameras(self) -> None:
        """Stop the cameras, give back their frames, write out the sinks. Idempotent."""
        for task in self._watches.values():
            task.cancel()
        await asyncio.gather(*(p.stop() for p in self.pipelines.values()))

    async def stop(self) -> list[State]:
        """End everything. Returns the states of the models, to be saved."""
        await self.stop_cameras()
        pictures = (self._shared.pictures.close(), self.snapshots.close())
        await asyncio.gather(*pictures, *(u.close() for u in self.updaters.values()))
        return [ended_in_order(u.state) for u in self.updaters.values()]

    # -- changes -------------------------------------------------------------------------------------

    def check(self, changes: Changes) -> None:
        """Raises EdgeAgentError when something is missing on this machine that the changes need."""
        kept = [sink for p in self.pipelines.values() for sink in p.config.sinks]
        for pipeline in changes.config.pipelines:
            for sink in pipeline.sinks:
                if sink not in kept:
                    place = SinkPlace(self._host.node, pipeline.name, "", self._host.folder / pipeline.name)
                    open_sink(sink, place).close()

    async def carry_out(self, changes: Changes) -> None:
        """Bring the changes about. What stays as it is isn't touched: its frames flow on. To be called once at a time,
        after `check`."""
        states = [await asyncio.to_thread(self._load_state, model) for model in changes.models_added]
        self.config = changes.config
        going = [self.pipelines.pop(p.name) for p in changes.removed]
        changed = [(self.pipelines[c.now.name], c.now) for c in changes.changed]
        # Of what is written to one file, the next sink waits until the one before has let go of it.
        leaving = [queue for p, now in changed for queue in p.sinks.leave(now.sinks)]
        leaving += [queue for p in going for queue in p.sinks.queues]
        for pipeline, now in changed:
            pipeline.sinks.begin(now.sinks, leaving)
        await asyncio.gather(*(p.end() for p in going), *(p.change(now) for p, now in changed))
        await asyncio.gather(*(p.sinks.left() for p, _ in changed))
        for pipeline in going:
            self._shared.metrics.forget_pipeline(pipeline.config.name)
        for model in changes.models_removed:
            await self._remove_model(model)
        for state in states:
            await self._add_model(state)
        for config in changes.added:
            self._add_pipeline(config).start()
        for model in self.updaters:
            self._configure(model)
        self._follow_for_snapshots()

    def _follow_for_snapshots(self) -> None:
        self.snapshots.follow({model: updater.router.tap for model, updater in self.updaters.items()})

    async def _add_model(self, state: State) -> None:
        updater = self._add_updater(state, beside_others=True)
        await self._reserve_epochs([state])
        updater.handle(Tick())
        self._have_sentinel(state.model)
        for user in self._users:
            user.add(state.model)

    async def _remove_model(self, model: str) -> None:
        """Its memory is given back; its state on disk stays, for when it is used again."""
        for user in reversed(self._users):
            await user.remove(model)
        updater = self.updaters.pop(model)
        self._settings.pop(model)
        if watch := self._watches.pop(model, None):
            watch.cancel()
        self.sentinels.pop(model, None)
        await updater.close()
        self._shared.metrics.forget_model(model)
        assert self._journal is not None
        self._journal.save(ended_in_order(updater.state))
        with suppress(OSError):  # it is tried again until the disk takes it
            await self._journal.saved(model)
        _log.info("model.removed", model=model)

    def _configure(self, model: str) -> None:
        before, now = self._settings[model], self._settings_of(model)
        # The share of the processors that a model has is what its versions were tuned with.
        now = replace(now, prepare=replace(now.prepare, threads=before.prepare.threads))
        if now != before:
            self._settings[model] = now
            self.updaters[model].router.settings = now.detections
            self.updaters[model].configure(now.policy, now.prepare, now.judge)
        self._have_sentinel(model)

    # -- parts ---------------------------------------------------------------------------------------

    @property
    def _threads(self) -> int:
        """Of an engine worker. One core stays for the cameras and the node; the models share the others."""
        models = len({p.model for p in self.config.pipelines})
        return self.config.engine.threads or max(1, ((os.cpu_count() or 2) - 1) // models)

    def _load_state(self, model: str) -> State:
        assert self._journal is not None
        return load_state(self._shared.state_dir.models, model, partial(self._journal.known_good, model))

    async def _reserve_epochs(self, states: Iterable[State]) -> None:
        assert self._journal is not None
        await self._journal.reserve_epochs(states)

    def _settings_of(self, model: str) -> _Settings:
        c, shared = self.config, self._shared
        pipelines = [p for p in c.pipelines if p.model == model]
        replay = shared.pictures.replay_folders([p.name for p in pipelines])
        prepare = prepare_settings(c, model, self._threads, shared.state_dir.cache, replay)
        detections = c.detections(model)
        judge = judge_settings(c.update, pipelines, shared.state_dir.path, detections)
        return _Settings(policy_of(c), prepare, judge, detections)

    def _add_updater(self, state: State, beside_others: bool = False) -> Updater:
        c, shared = self.config, self._shared
        assert self._journal is not None
        of = self._settings[state.model] = self._settings_of(state.model)
        times = {"silence_s": c.engine.hang_seconds, "start_s": c.update.load_seconds}
        engine = EngineSettings(
            loading=WorkerLimits(c.update.candidate_memory_mb * _MB, **times),
            serving=WorkerLimits(c.engine.memory_limit_mb * _MB, **times),
        )
        settings = UpdaterSettings(c.update.spare_worker, of.judge, self.queue, beside_others)
        updater = Updater(state, of.policy, of.prepare, engine, self._journal, shared.bus, settings)
        updater.router.settings = of.detections
        self.updaters[state.model] = updater
        shared.pictures.follow(updater.router.tap)
        shared.pictures.follow_pairs(updater)
        return updater

    def _add_pipeline(self, config: PipelineConfig) -> Pipeline:
        updater, shared = self.updaters[config.model], self._shared
        on_gpu = self.config.engine.device.startswith("cuda")
        streams = 1 if on_gpu else stream_count(self._settings[config.model].prepare.threads)
        pipeline = Pipeline(
            config, updater.router, shared.metrics, shared.bus, updater.forget_ring, self._host, streams
        )
        self.pipelines[config.name] = pipeline
        return pipeline

    def _have_sentinel(self, model: str) -> None:
        """One that watches as the configuration says, or none."""
        assert self._journal is not None
        found = self.sentinels.get(model)
        told = self._shared.metrics.sentinel_replayed
        wanted = sentinel_of(self.config, self.updaters[model], self._journal.record, told)
        if found and wanted and found.settings == wanted.settings:
            return
        if watch := self._watches.pop(model, None):
            watch.cancel()
        self.sentinels.pop(model, None)
        if wanted:
            self.sentinels[model] = wanted
            self._watches[model] = asyncio.create_task(for_ever(wanted.run))
