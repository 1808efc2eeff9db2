# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node: the one place where adapters are chosen and built; what starts and stops in which order."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from edgeagent.alarms.facts import NodeFacts, Surroundings
from edgeagent.alarms.service import Alarms
from edgeagent.config import Config, read_secret
from edgeagent.core.directive import Directive
from edgeagent.core.events import (
    AppendAudit,
    IntentChanged,
    IntentInvalid,
    PreloadWanted,
)
from edgeagent.errors import EdgeAgentError
from edgeagent.fleet.coordination_metrics import CoordinationCollector
from edgeagent.fleet.membership import Lines, Membership
from edgeagent.fleet.overview import NoFleet
from edgeagent.fleet.presence import Summary
from edgeagent.intent.url import find_adapter, open_source, open_store
from edgeagent.intent.watcher import Callbacks, IntentWatcher
from edgeagent.lines import ModelUser, NodeLines, Shared
from edgeagent.live_config import LiveConfig
from edgeagent.notify.service import Notifier
from edgeagent.observe.bus import Bus
from edgeagent.observe.event_log import log_events
from edgeagent.observe.metrics import Metrics
from edgeagent.observe.state_metrics import DiskCollector
from edgeagent.observe.systemd import SystemdNotifier, watchdog_interval
from edgeagent.operations import Operations, Parts
from edgeagent.serving.pipeline import Pipeline
from edgeagent.serving.preview import Previews
from edgeagent.serving.tap import Tap
from edgeagent.status.disagreements import KeptDisagreements
from edgeagent.status.intent_status import source_statuses
from edgeagent.status.line_sampler import LineSampler
from edgeagent.status.node_status import NodeStatus
from edgeagent.status.summary import status_url, summarize
from edgeagent.update.background import for_ever
from edgeagent.update.journal import Journal
from edgeagent.update.kept_pictures import KeptPictures
from edgeagent.update.state_dir import StateDir
from edgeagent.update.updater import Updater
from edgeagent.update.withdrawal_watch import WithdrawalWatch
from edgeagent.web.access import cookie_name
from edgeagent.web.alarms_routes import add_alarms
from edgeagent.web.app import create_app
from edgeagent.web.config_routes import add_config
from edgeagent.web.disagreement_routes import add_disagreements
from edgeagent.web.fleet_routes import add_fleet
from edgeagent.web.hooks import Hooks
from edgeagent.web.listen import listen
from edgeagent.web.live import Live
from edgeagent.web.live_routes import add_live
from edgeagent.web.preview_routes import add_previews
from edgeagent.web.server import ApiServer
from edgeagent.web.service import ApiService
from edgeagent.web.tls import ServerTls
from edgeagent.web.version_routes import add_versions

_log = structlog.get_logger(__name__)

_HOUSEKEEPING_S = 1.0
_CLOSE_S = 3.0
_MB = 1 << 20


class Node:
    """A running node: one updater a model, one pipeline a camera, one config store, one API."""

    def __init__(self, config: Config, config_path: Path | None = None) -> None:
        """config_path: where it was read, for when it is to be read again."""
        self.config = config
        self.bus = Bus()
        self.metrics = Metrics()
        self.metrics.follow(self.bus)
        log_events(self.bus)
        self.api = ApiService(self._build_api)
        self._instance = secrets.token_hex(4)
        self._state_dir = StateDir(config.node.state_dir)
        self.pictures = KeptPictures(config.update, self._state_dir.path)
        self.lines = NodeLines(config, Shared(self.metrics, self.bus, self.pictures, self._state_dir))
        self._node_status = NodeStatus(self.updaters, self.pipelines, self.metrics, self.pictures.writer)
        self.previews = self._node_status.previews = Previews(config.api.preview, self.pipelines)
        self._node_status.sentinels = self.lines.sentinels
        self._node_status.snapshots = self.lines.snapshots
        self._node_status.notify = Notifier(
            config.notify,
            config.node.id,
            config.node.state_dir / "notify",
            self.bus,
            self._node_status.models_now,
        )
        self._watcher: IntentWatcher | None = None
        self._membership: Membership | None = None
        self._journal: Journal | None = None
        self._operations: Operations | None = None
        self._live: Live | None = None
        self.alarms: Alarms | None = None
        self._live_config = LiveConfig(config_path, self.lines, self._record, self.bus)
        self._notifier = SystemdNotifier()
        self._background_tasks: list[asyncio.Task[None]] = []

    @property
    def updaters(self) -> dict[str, Updater]:
        """Of the models that there are now."""
        return self.lines.updaters

    @property
    def pipelines(self) -> dict[str, Pipeline]:
        """Those that there are now."""
        return self.lines.pipelines

    # -- start and stop ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Serve the last known good version first; then connect to whatever else there is.

        Raises UsageError or UnavailableError when the node can't run at all: its state folder can't be used.
        """
        self._state_dir.open()
        journal = self._journal = Journal(
            self._state_dir.path,
            self.config.model_store.url,
            self.config.update.keep_versions,
            self.updaters,
            self.bus,
        )
        self.lines.build(journal)
        settings = self.config.config_store
        sources = [open_source(s.url, s.access()) for s in (settings, *self.config.intent_sources)]
        membership = None
        if find_adapter(settings.url).leases:
            store, lines = open_store(settings.url, settings.access()), Lines(self.updaters, self.pipelines)
            membership = self._membership = Membership(
                store, self.config, lines, self._presence, self.bus, instance=self._instance
            )
            self._node_status.rollout_of = membership.rollout
            if membership.coordinator:
                self.metrics.registry.register(CoordinationCollector(membership.coordinator))
        watcher = self._watcher = IntentWatcher(
            sources,
            self.config.node.id,
            {model: updater.state.directive for model, updater in self.updaters.items()},
            Callbacks(
                self._intent_changed,
                lambda model, directive: self.updaters[model].handle(PreloadWanted(directive)),
                self._intent_invalid,
            ),
            rollouts=membership.follower if membership else None,
        )
        if membership:
            self.lines.follow(ModelUser(membership.add, membership.remove))
        self.lines.follow(ModelUser(self._watch_model, watcher.remove))
        parts = Parts(self.updaters, self._node_status, journal, watcher, membership, self._live_config)
        self.metrics.registry.register(DiskCollector(self._state_dir.path, lambda: journal.error))
        operations = self._operations = Operations(self.config, self._instance, parts)
        self._live = Live(operations.status, LineSampler(self.pipelines, self.updaters, self.bus), self.bus)
        alarms = self._start_alarms(journal, watcher)
        if notify := self._node_status.notify:
            notify.start(alarms.alarms())
        await self.lines.start()
        watcher.start()
        self.pictures.start()
        await self.api.start()
        tasks: list[Callable[[], Awaitable[None]]] = [
            partial(self._housekeeping, watcher, journal),
            self.api.keep_trying,
            self._live.sampler.run,
            alarms.run,
        ]
        self.lines.watch()
        withdrawals = self._node_status.withdrawals = WithdrawalWatch(self.config, self.updaters)
        tasks.append(withdrawals.run)
        if membership:
            tasks += membership.tasks(watcher)
        self._background_tasks = [asyncio.create_task(for_ever(task)) for task in tasks]
        self._live_config.start()
        self._notifier.ready("starting")
        _log.info("node.started", node=self.config.node.id, api=self.api.url, pid=os.getpid())

    async def stop(self) -> None:
        """Stop everything, in the order in which it depends on each other. Idempotent."""
        self._notifier.stopping()
        for task in self._background_tasks:
            task.cancel()
        self.previews.end_viewers()
        if self._live:
            self._live.end("the node stops")
        ends: list[Awaitable[None]] = [self.api.stop(), self._live_config.close(_CLOSE_S)]
        if self._watcher:
            ends.append(self._watcher.stop())
        if self._membership:
            ends.append(self._membership.close())
        with suppress(TimeoutError):  # a server that hangs holds up neither the sinks nor the state
            await asyncio.wait_for(asyncio.gather(*ends), _CLOSE_S)
        notify = self._node_status.notify
        await asyncio.gather(self.lines.stop_cameras(), *([notify.close()] if notify else []))
        await self.previews.close()
        states = await self.lines.stop()
        if self._operations:
            await self._operations.version_lists.close()
        if self.alarms:
            await self.alarms.close()
        if self._journal:
            self._journal.close(states)
        self._state_dir.close()
        _log.info("node.stopped", node=self.config.node.id)

    def _start_alarms(self, journal: Journal, watcher: IntentWatcher) -> Alarms:
        around = Surroundings(
            disk_error=lambda: journal.error,
            config_store=lambda: "" if watcher.connection.connected else watcher.connection.why or "away",
            api=lambda: self.api.error,
            rollout_of=self._node_status.rollout_of,
        )
        facts = NodeFacts(self.pipelines, self.updaters, around, self.bus)
        state_dir, registry = self._state_dir.path, self.metrics.registry
        alarms = self.alarms = Alarms(
            state_dir, self.config.alarms, facts, self.bus, registry, journal.record
        )
        alarms.configure(self.config.alarms, self.config.pipelines, self._taps())
        self._live_config.follow(lambda c: alarms.configure(c.alarms, c.pipelines, self._taps()))
        self._node_status.clips = alarms.clips
        return alarms

    def _taps(self) -> dict[str, Tap]:
        return {model: updater.router.tap for model, updater in self.updaters.items()}

    def _build_api(self) -> ApiServer:
        """Reads the token anew: whoever puts it right need restart nothing. What may be in the way comes first."""
        api = self.config.api
        token = read_secret(api.token_file) if api.token_file else None
        tls = ServerTls(api.tls) if api.tls else None
        listening = listen(api.host, api.port)
        operations, live, hooks = self._operations, self._live, None
        assert operations is not None
        assert live is not None
        if api.hooks:
            hooks = Hooks(
                api.hooks, operations, self._state_dir.path / "hooks.json", self.metrics.hook_delivery
            )
        cookie = cookie_name(self.config.node.id, listening.getsockname()[1])
        app = create_app(
            operations, self.metrics, token=token, hooks=hooks, prefix=api.path_prefix, cookie=cookie
        )
        add_previews(app, self.previews)
        add_disagreements(app, KeptDisagreements(self.pictures.disagreements_root, self.updaters))
        if self.alarms:
            add_alarms(app, self.alarms)
        membership = self._membership
        add_fleet(app, membership.overview if membership else NoFleet(self.config.config_store.url))
        add_live(app, live)
        add_versions(app, operations.version_lists)
        add_config(app, self._live_config)
        return ApiServer(app, api.host, api.port, tls=tls, listening=listening)

    async def reload(self, by: str = "SIGHUP") -> None:
        """Take over what the configuration file says now, as far as that goes without a restart."""
        self._notifier.reloading()
        why = ""
        try:
            await self._live_config.reload(by)
        except EdgeAgentError:
            why = "configuration has mistakes, the old one stays"
        self._notifier.ready(why)

    # -- intent --------------------------------------------------------------------------------------

    def _watch_model(self, model: str) -> None:
        assert self._watcher is not None
        self._watcher.add(model, self.updaters[model].state.directive)

    def _intent_changed(self, model: str, directive: Directive) -> None:
        self.updaters[model].handle(IntentChanged(directive))

    def _intent_invalid(self, model: str, key: str, why: str) -> None:
        _log.error("intent.invalid", key=key, why=why)
        self.updaters[model].handle(IntentInvalid(why))
        self._record(model, AppendAudit("intent", "invalid", "config store", why=why))

    def _record(self, model: str, record: AppendAudit) -> None:
        if self._journal:
            self._journal.record(model, record)

    def _presence(self) -> Summary:
        assert self._operations is not None  # nobody asks before the end of `start`
        return partial(summarize, self._operations.status(), status_url(self.api.url))

    # -- housekeeping --------------------------------------------------------------------------------

    async def _housekeeping(self, watcher: IntentWatcher, journal: Journal) -> None:
        """Once a second: what only polling shows, the status line, the watchdog."""
        interval = watchdog_interval()
        fed = 0.0
        while True:
            await asyncio.sleep(_HOUSEKEEPING_S)
            journal.retry(time.monotonic())
            self._node_status.update_metrics()
            self.metrics.updates_waiting(self.lines.queue.waiting)
            watcher.log_connections(time.monotonic())
            self.metrics.config_store_connected(watcher.connection.connected)
            for source in source_statuses(watcher.sources):
                self.metrics.intent_source_connected(source.url, source.connected)
            away = "" if watcher.connection.connected else "; config store away"
            away += f"; no API: {self.api.error}" if self.api.error else ""
            self._notifier.status(self._node_status.summary() + away)
            now = time.monotonic()
            if interval is not None and now - fed >= interval / 3 and self._node_status.frames_progress():
                fed = now
                self._notifier.watchdog()
