# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this node says to the fleet of each of its models: one key each, which stays when the node is gone."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection

import structlog

from edgeagent.core.fleet_phase import carried_on, is_news
from edgeagent.core.fleet_report import Report, decode_report, encode_report, report_key
from edgeagent.core.write_pace import WritePace
from edgeagent.errors import EdgeAgentError, RolloutError
from edgeagent.intent.port import KeyValueStore
from edgeagent.util.backoff import Backoff

_log = structlog.get_logger(__name__)

LOOK_S = 1.0
SPREAD_S = 5.0
"""Within so long a node begins to write once it may: the nodes of a plant come back together."""
AGAIN_S = (1.0, 60.0)
"""Limits of the delay after the first and after many failures (seconds)."""


class Reports:
    """Writes what has changed; a phase at once, the rest so that it doesn't fill the store (core/write_pace.py).

    models: of the node, which may change. describe: what there is to say of a model, None while that isn't known.
    """

    def __init__(
        self,
        store: KeyValueStore,
        node: str,
        models: Collection[str],
        describe: Callable[[str], Report | None],
    ) -> None:
        self._store = store
        self._node, self._models = node, models
        self._describe = describe
        self._written: dict[str, Report] = {}  # what stands in the store, as far as that is known
        self._earlier: dict[str, Report] = {}  # of the run before
        self._paces: dict[str, WritePace] = {}
        self._failures: dict[str, str] = {}
        self._gone: set[str] = set()  # models that the node has no more
        self._told: set[str] = set()  # models of which the store says what there was to say at the last look

    def are_told(self, model: str) -> bool:
        """Whether what the node does with a model could be written, when that was tried last."""
        return model in self._told

    async def run(self, may_write: Callable[[], bool]) -> None:
        """For ever, on the event loop. may_write: whether the store is there, and this node's presence in it: a report
        without that is taken for one of a node that is gone."""
        backoff = Backoff(*AGAIN_S)
        comes_back = True
        while True:
            if not may_write():
                comes_back = True
                self._written.clear()  # the store may be restored meanwhile
                self._told.clear()
            elif comes_back:
                await asyncio.sleep(random.uniform(0, SPREAD_S))
                comes_back = False
                continue
            elif not await self._tell():
                await asyncio.sleep(backoff.next_s())
                continue
            else:
                backoff.reset()
            await asyncio.sleep(LOOK_S)

    def withdraw(self, model: str) -> None:
        """The node has this model no more: nobody is to wait for what it does with it."""
        for known in (self._written, self._earlier, self._paces, self._failures):
            known.pop(model, None)
        self._told.discard(model)
        self._gone.add(model)

    async def _tell(self) -> bool:
        """Say what is new; whether all could be written."""
        failures = await self._withdraw()
        for model in list(self._models):
            key = report_key(self._node, model)
            report = self._describe(model) if model in self._models else None
            if report is None:
                continue
            try:
                await self._tell_of(model, key, report)
                self._told.add(model)
            except EdgeAgentError as e:
                self._told.discard(model)
                failures[model] = str(e)
                if self._failures.get(model) != str(e):
                    _log.warning("report.failed", key=key, why=str(e))
        self._failures = failures
        return not failures

    async def _withdraw(self) -> dict[str, str]:
        """Remove what stands in the store of models that are gone; returns why that failed, by model."""
        self._gone.difference_update(self._models)
        for model in list(self._gone):
            key = report_key(self._node, model)
            try:
                await asyncio.to_thread(self._store.compare_and_set, (), {key: None})
            except EdgeAgentError as e:
                if self._failures.get(model) != str(e):
                    _log.warning("report.not_withdrawn", key=key, why=str(e))
                return {model: str(e)}
            self._gone.discard(model)
        return {}

    async def _tell_of(self, model: str, key: str, report: Report) -> None:
        """Raises UnavailableError, UsageError."""
        if model not in self._written:
            stored = await asyncio.to_thread(self._read, key)
            self._written[model] = stored
            self._earlier.setdefault(model, stored)
        earlier, written = self._earlier[model], self._written[model]
        if report.version and report.version != earlier.version:
            self._earlier[model] = earlier = Report()
        report, now = carried_on(report, earlier), time.monotonic()
        pace = self._paces.setdefault(model, WritePace(now))
        at_once = (written.rollout, written.phase) != (report.rollout, report.phase)
        if at_once or (is_news(written, report) and pace.is_due(True, now)):
            await asyncio.to_thread(self._store.put, key, encode_report(report))
            self._written[model] = report
            self._paces[model] = pace.after_writing(now)

    def _read(self, key: str) -> Report:
        """What stands there; nothing in particular if it can't be understood. Raises UnavailableError, UsageError."""
        value = self._store.get(key).value
        try:
            return decode_report(key, value) if value else Report()
        except RolloutError:
            return Report()
