# SPDX-License-Identifier: AGPL-3.0-or-later
"""One of many nodes in a process: the real updater with its reconciler, intent watcher, follower, presence and reports;
only its engine pretends (bench/fleet_engine.py), and nothing lies on a disk."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, cast

from bench.fleet_engine import FAILS, Pretence, Times, fate
from edgeagent.config import Config
from edgeagent.config.policy import policy_of
from edgeagent.core.events import AppendAudit, IntentChanged, IntentInvalid, PreloadWanted, WorkerFailed
from edgeagent.core.state import State
from edgeagent.fleet.membership import Lines, Membership
from edgeagent.fleet.presence import Summary
from edgeagent.intent.port import KeyValueStore
from edgeagent.intent.watcher import Callbacks, IntentWatcher
from edgeagent.observe.audit_record import AuditRecord
from edgeagent.observe.bus import AuditAppended, Bus, Swapped
from edgeagent.status.model_status import model_status
from edgeagent.status.schema import ConfigStoreStatus, ModelStoreStatus, Status
from edgeagent.status.summary import summarize
from edgeagent.update.background import for_ever
from edgeagent.update.trial_runner import PrepareSettings, prepare_settings
from edgeagent.update.updater import Updater, UpdaterSettings

MODEL = "yolo"
LOOK_S = 2.0
Told = Callable[[str, str, str], None]
"""Is told of a node what happened there, and to which version: `serves`, and what the audit log calls it (`stable`,
`rejected`, ...); or of its connection: `connected`, `lost`."""


class PaperJournal:
    """Stands for Journal: keeps nothing, and says on the bus what it was told."""

    def __init__(self, bus: Bus, told: Callable[[str, str], None]) -> None:
        self._bus = bus
        self._told = told

    def save(self, state: State) -> None:
        """Nowhere."""

    async def saved(self, model: str) -> None:
        """At once."""

    def epoch_floor(self, state: State) -> int:
        """No number was given away before."""
        return 0

    def record(self, model: str, record: AppendAudit) -> None:
        """To who listens."""
        self._told(record.result, record.to_version)
        entry = AuditRecord(record.event, model, to_version=record.to_version, result=record.result)
        self._bus.publish(AuditAppended(entry))


class PretendedNode:
    """A node on one model. On the event loop's thread.

    watched: the store that its watch is on; written: the one that it writes to. It closes both.
    """

    def __init__(
        self, config: Config, watched: KeyValueStore, written: KeyValueStore, times: Times, told: Told
    ) -> None:
        self.name = config.node.id
        self._config = config
        self._told = told
        self._written = written
        self._times = times
        self._bus = Bus()
        self._bus.subscribe(Swapped, self._swapped)
        pretence = _pretence(config, times)
        self._updater = Updater(
            State(MODEL),
            policy_of(config),
            pretence,
            cast("Any", None),
            PaperJournal(self._bus, partial(told, self.name)),
            self._bus,
            UpdaterSettings(keep_spare=False),
        )
        lines = Lines({MODEL: self._updater}, {})
        self._instance = secrets.token_hex(4)
        self._membership = Membership(
            written, config, lines, self._presence, self._bus, instance=self._instance
        )
        callbacks = Callbacks(
            lambda _, directive: self._updater.handle(IntentChanged(directive)),
            lambda _, directive: self._updater.handle(PreloadWanted(directive)),
            lambda _, key, why: self._updater.handle(IntentInvalid(why)),
        )
        self._watcher = IntentWatcher(
            [watched], self.name, {MODEL: None}, callbacks, rollouts=self._membership.follower
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._is_connected = False
        self._started = time.time()

    def start(self) -> None:
        """As a node does, but for its cameras."""
        self._watcher.start()
        tasks = [self._say_connection, *self._membership.tasks(self._watcher)]
        self._tasks = [asyncio.create_task(for_ever(task)) for task in tasks]

    async def vanish(self) -> None:
        """As when its power goes: nothing is said, and its presence stays until its lease has ended."""
        for task in self._tasks:
            task.cancel()
        await self._membership.follower.close()
        await self._watcher.stop()
        await self._updater.close()
        await asyncio.to_thread(self._written.close)

    async def _say_connection(self) -> None:
        while True:
            connected = self._watcher.connection.connected
            if connected != self._is_connected:
                self._is_connected = connected
                self._told(self.name, "connected" if connected else "lost", "")
            await asyncio.sleep(LOOK_S)

    def _swapped(self, event: Swapped) -> None:
        self._told(self.name, "serves", event.version)
        if fate(event.version, self.name) == FAILS:
            asyncio.get_running_loop().call_later(self._times.probation / 2, self._fail, event)

    def _fail(self, event: Swapped) -> None:
        engine = self._updater.slot.engine
        if engine and engine.ref.version == event.version:
            self._updater.handle(WorkerFailed(engine.ref, "pretended: it finds nothing any more"))

    def _presence(self) -> Summary:
        connection = self._watcher.connection
        status = Status(
            node=self.name,
            instance=self._instance,
            labels=self._config.node.labels,
            pid=1,
            started=self._started,
            config_store=ConfigStoreStatus(url="", connected=connection.connected, why=None),
            model_store=ModelStoreStatus(url=""),
            models={MODEL: model_status(self._updater, rollout=self._membership.rollout(MODEL))},
            pipelines={},
            workers=[],
            disk_error=None,
        )
        return partial(summarize, status, f"http://{self.name}:8080/api/status")


def node_config(name: str, labels: dict[str, str], url: str, probation_s: float) -> Config:
    """What a node of that name would be configured with."""
    return Config.model_validate(
        {
            "node": {"id": name, "labels": labels, "state_dir": "/nowhere"},
            "config_store": {"url": url},
            "model_store": {"url": "/nowhere/store"},
            "pipelines": [{"name": "line-1", "model": MODEL, "source": {"url": "synthetic://conveyor"}}],
            "update": {"probation": {"seconds": probation_s}},
        }
    )


def _pretence(config: Config, times: Times) -> Pretence:
    usual = prepare_settings(config, MODEL, 1, Path("/nowhere/cache"), ())
    return Pretence(
        **{f.name: getattr(usual, f.name) for f in fields(PrepareSettings)},
        node=config.node.id,
        times=times,
    )
