# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is asked of a running node from outside: status, history, and the operator's verbs (`web.port.NodeApi`)."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import closing
from dataclasses import dataclass

from edgeagent.config import Config
from edgeagent.core.directive import Directive, current_key, encode_directive
from edgeagent.core.events import (
    ApproveRequested,
    Event,
    PromoteRequested,
    RefuseRequested,
    RollbackRequested,
)
from edgeagent.core.model import check_name
from edgeagent.core.state import VersionRef
from edgeagent.core.text import redact
from edgeagent.errors import ConflictError, NotFoundError, NotKeptError
from edgeagent.fleet.membership import Membership
from edgeagent.intent.url import open_writer
from edgeagent.intent.watcher import IntentWatcher
from edgeagent.live_config import LiveConfig
from edgeagent.status.fleet_status import fleet_status
from edgeagent.status.history_check import anchors_of, history_check
from edgeagent.status.intent_status import config_store_status, source_statuses
from edgeagent.status.model_status import model_status
from edgeagent.status.node_status import NodeStatus
from edgeagent.status.schema import HistoryCheck, ModelStoreStatus, Outcome, Status
from edgeagent.update.journal import Journal
from edgeagent.update.updater import Updater
from edgeagent.update.version_list import VersionLists, read_by_worker


@dataclass(frozen=True)
class Parts:
    """What answers. membership: None where the config store has no leases."""

    updaters: dict[str, Updater]
    node_status: NodeStatus
    journal: Journal
    watcher: IntentWatcher
    membership: Membership | None
    live_config: LiveConfig


class Operations:
    """Everything happens on the event loop's thread and doesn't block it."""

    def __init__(self, config: Config, instance: str, parts: Parts) -> None:
        """instance: of this process, another after each start."""
        self.config = config
        self.updaters = parts.updaters
        self._parts = parts
        self._instance = instance
        self._started = time.time()
        self.version_lists = VersionLists(self.updaters, read_by_worker(config))

    def status(self) -> Status:
        """What runs, since when and why."""
        parts = self._parts
        conflict = parts.membership.conflict if parts.membership else ""
        coordinator = parts.membership.coordinator if parts.membership else None
        return Status(
            node=self.config.node.id,
            instance=self._instance,
            labels=self.config.node.labels,
            pid=os.getpid(),
            started=self._started,
            config_store=config_store_status(
                self.config.config_store.url, parts.watcher.connection, conflict
            ),
            intent_sources=source_statuses(parts.watcher.sources),
            model_store=ModelStoreStatus(url=redact(self.config.model_store.url)),
            models=parts.node_status.models(),
            pipelines=parts.node_status.pipelines(),
            workers=parts.node_status.workers(),
            notify=parts.node_status.receivers(),
            id_conflict=conflict or None,
            disk_error=parts.journal.error or None,
            fleet=fleet_status(coordinator.state) if coordinator else None,
            audit_head=parts.journal.audit_head or None,
            config=parts.live_config.status(),
        )

    def history(self, limit: int) -> str:
        """The last audit records, oldest first. They are kept as JSON: a thousand cost nothing to speak of."""
        records = self._parts.journal.history(limit)
        return f'{{"history":[{",".join(records)}]}}\n'

    async def check_history(self, anchor: str = "") -> HistoryCheck:
        """What became of the audit log since it was written. Raises UsageError for an anchor that is none."""
        return history_check(await self._parts.journal.check(anchors_of(anchor)))

    def ready(self) -> tuple[bool, str]:
        """Whether each pipeline gives results, or has come to its source's end; and if not, why."""
        return self._parts.node_status.ready()

    async def rollback(self, model: str | None, by: str, if_epoch: int | None = None) -> Outcome:
        """Back to the version before, held until the intent itself changes. if_epoch: only while this epoch serves."""
        if model is None:
            if len(self.updaters) != 1:
                raise ConflictError(
                    "roll-back",
                    f"this node has {len(self.updaters)} models ({', '.join(self.updaters)})",
                    "POST /api/models/<model>/rollback",
                )
            model = next(iter(self.updaters))
        return await self._perform(model, RollbackRequested(by, if_epoch=if_epoch))

    async def write_intent(self, model: str, version: str, by: str, reason: str) -> None:
        """This version on every node that follows the key. Raises UsageError where the source can't be written."""
        value = encode_directive(Directive(version, by=by, reason=reason))
        settings = self.config.config_store

        def write() -> None:
            with closing(open_writer(settings.url, settings.access())) as writer:
                writer.put(current_key(model), value)

        await asyncio.to_thread(write)

    async def promote(self, model: str, version: str, by: str, reason: str) -> Outcome:
        """This version on this node, until the intent itself changes."""
        self._updater(model)  # a model that isn't here is said before a version that can't be
        check_name("version", version)
        wanted = Directive(version, f"api@{time.time_ns()}", by, reason)
        return await self._perform(model, PromoteRequested(wanted))

    async def decide(self, model: str, event: ApproveRequested | RefuseRequested) -> Outcome:
        """Let the version that waits in SHADOW come in, or refuse it. Raises ConflictError when it doesn't wait."""
        return await self._perform(model, event)

    async def _perform(self, model: str, event: Event) -> Outcome:
        """What came of it, once that is on disk."""
        updater = self._updater(model)
        before = updater.state.active
        updater.handle(event)
        await self._kept(model)
        return self._outcome(model, before)

    async def _kept(self, model: str) -> None:
        """Return when what was decided for a model is on disk. Raises NotKeptError."""
        try:
            await self._parts.journal.saved(model)
        except OSError as e:
            override = self.updaters[model].state.override
            raise NotKeptError(
                f"{override.kind} of {model} to {override.goal.version}" if override else model,
                f"it acts, but it isn't on disk ({str(e) or 'the disk does not answer'}): a restart may undo it",
                "look at the disk of node.state_dir; it is kept as soon as the disk takes it",
            ) from e

    def _updater(self, model: str) -> Updater:
        if model not in self.updaters:
            raise NotFoundError(
                f"model {model}", "no pipeline on this node uses it", f"use one of {', '.join(self.updaters)}"
            )
        return self.updaters[model]

    def _outcome(self, model: str, before: VersionRef | None) -> Outcome:
        status = model_status(self.updaters[model])
        return Outcome(
            model=model,
            from_version=before.version if before else None,
            to=status.aspired,
            state=status.state,
            active=status.active.version if status.active else None,
            held=status.held,
        )
