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
from edgeagent.observe.bus import Bus
from edgeagent.observe.event_log import log_events
from edgeagent.observe.metrics import Metrics
from edgeagent.observe.systemd import SystemdNotifier, watchdog_interval
from edgeagent.operations import Operations, Parts
from edgeagent.status.intent_status import source_statuses
from edgeagent.status.node_status import NodeStatus
from edgeagent.status.summary import status_url, summarize
from edgeagent.update.background import for_ever
from edgeagent.update.journal import Journal
from edgeagent.update.kept_pictures import KeptPictures
from edgeagent.update.state_dir import StateDir
from edgeagent.update.withdrawal_watch import WithdrawalWatch
from edgeagent.web.app import create_app
from edgeagent.web.fleet_routes import add_fleet
from edgeagent.web.hooks import Hooks
from edgeagent.web.server import ApiServer, listen
from edgeagent.web.service import ApiService
from edgeagent.web.tls import ServerTls

_log = structlog.get_logger(__name__)

_HOUSEKEEPING_S = 1.0
_CLOSE_S = 3.0
_MB = 1 << 20


class Node:
    """A running node: one updater a model, one pipeline a camera, one config store, one API."""

    def __init__(self, config: Config, config_path: Path | None = None) -> None:
        """config_path: where it was read, for when it is to be read again."""
        self.config = config
        self._config_path = config_path
        self.bus = Bus()
        self.metrics = Metrics()
        self.metrics.follow(self.bus)
        log_events(self.bus)
        self.api = ApiService(self._build_api)
        self._instance = secrets.token_hex(4)
        self._state_dir = StateDir(config.node.state_dir)
        self.pictures = KeptPictures(config.update, self._state_dir.path)
        self.lines = NodeLines(config, Shared(self.metrics, self.bus, self.pictures, self._state_dir))
        self.updaters, self.pipelines = self.lines.updaters, self.lines.pipelines
        self._node_status = NodeStatus(self.updaters, self.pipelines, self.metrics, self.pictures.writer)
        self._node_status.sentinels = self.lines.sentinels
        self._watcher: IntentWatcher | None = None
        self._membership: Membership | None = None
        self._journal: Journal | None = None
        self._operations: Operations | None = None
        self._live_config: LiveConfig | None = None
        self._notifier = SystemdNotifier()
        self._background_tasks: list[asyncio.Task[None]] = []

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
        live_config = self._live_config = LiveConfig(self._config_path, self.lines, journal.record, self.bus)
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
        parts = Parts(self.updaters, self._node_status, journal, watcher, membership, live_config)
        self._operations = Operations(self.config, self._instance, parts)
        await self.lines.start()
        watcher.start()
        self.pictures.start()
        await self.api.start()
        tasks: list[Callable[[], Awaitable[None]]] = [
            partial(self._housekeeping, watcher, journal),
            self.api.keep_trying,
        ]
        self.lines.watch()
        withdrawals = self._node_status.withdrawals = WithdrawalWatch(self.config, self.updaters)
        tasks.append(withdrawals.run)
        if membership:
            tasks += membership.tasks(watcher)
        self._background_tasks = [asyncio.create_task(for_ever(task)) for task in tasks]
        self._notifier.ready("starting")
        _log.info("node.started", node=self.config.node.id, api=self.api.url, pid=os.getpid())

    async def stop(self) -> None:
        """Stop everything, in the order in which it depends on each other. Idempotent."""
        self._notifier.stopping()
        for task in self._background_tasks:
            task.cancel()
        ends: list[Awaitable[None]] = [self.api.stop()]
        if self._live_config:
            ends.append(self._live_config.close(_CLOSE_S))
        if self._watcher:
            ends.append(self._watcher.stop())
        if self._membership:
            ends.append(self._membership.close())
        with suppress(TimeoutError):  # a server that hangs holds up neither the sinks nor the state
            await asyncio.wait_for(asyncio.gather(*ends), _CLOSE_S)
        states = await self.lines.stop()
        if self._journal:
            self._journal.close(states)
        self._state_dir.close()
        _log.info("node.stopped", node=self.config.node.id)

    def _build_api(self) -> ApiServer:
        """Reads the token anew: whoever puts it right need restart nothing. What may be in the way comes first."""
        operations = self._operations
        assert operations is not None
        api = self.config.api
        token = read_secret(api.token_file) if api.token_file else None
        tls = ServerTls(api.tls) if api.tls else None
        listening = listen(api.host, api.port)
        hooks = None
        if api.hooks:
            hooks = Hooks(
                api.hooks, operations, self._state_dir.path / "hooks.json", self.metrics.hook_delivery
            )
        app = create_app(operations, self.metrics, token=token, hooks=hooks)
        membership = self._membership
        add_fleet(app, membership.overview if membership else NoFleet(self.config.config_store.url))
        return ApiServer(app, api.host, api.port, tls=tls, listening=listening)

    async def reload(self, by: str = "SIGHUP") -> None:
        """Take over what the configuration file says now, as far as that goes without a restart."""
        if self._live_config is None:
            return  # it has hardly begun to start
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
        if self._journal:
            self._journal.record(model, AppendAudit("intent", "invalid", "config store", why=why))

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
