# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this node says to the fleet of each of its models: one key each, which stays when the node is gone."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import structlog

from edgeagent.core.fleet_phase import carried_on, is_news
from edgeagent.core.fleet_report import Report, decode_report, encode_report, report_key
from edgeagent.core.write_pace import WritePace
from edgeagent.errors import EdgeAgentError, RolloutError
from edgeagent.intent.port import KeyValueStore, Outcome
from edgeagent.util.backoff import Backoff

_log = structlog.get_logger(__name__)

LOOK_S = 1.0
SPREAD_S = 5.0
"""Within so long a node begins to write once it may: the nodes of a plant come back together."""
READ_EVERY_S = (15.0, 30.0)
"""Limits of the time between two looks at what stands there: somebody may have deleted it, or the store lost it."""
AGAIN_S = (1.0, 60.0)
"""Limits of the delay after the first and after many failures (seconds)."""


@dataclass
class _Told:
    """What this node has said of a model.

    written: what stands in the store, None while that isn't known; read_due: when that is looked at again; said: what
    was written since the store was there; earlier: what the run before said, None before that was read; is_told:
    whether the store says what there was to say at the last look; failure: why it doesn't; due: when that is tried
    again. All times are monotonic seconds.
    """

    pace: WritePace
    written: Report | None = None
    read_due: float = 0.0
    said: Report | None = None
    earlier: Report | None = None
    is_told: bool = False
    failure: str = ""
    due: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(*AGAIN_S))


class Reports:
    """Writes what has changed: a phase and another version at once, the rest so that it doesn't fill the store
    (core/write_pace.py). What it said of a model that the node has no more it takes back: nobody is to wait for what
    the node does with it.

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
        self._told: dict[str, _Told] = {}

    def are_told(self, model: str) -> bool:
        """Whether what the node does with a model could be written, when that was tried last."""
        return model in self._told and self._told[model].is_told

    async def run(self, may_write: Callable[[], bool]) -> None:
        """For ever, on the event loop. may_write: whether the store is there, and this node's presence in it: a report
        without that is taken for one of a node that is gone."""
        comes_back = True
        while True:
            if not may_write():
                comes_back = True
                for told in self._told.values():  # the store may be restored meanwhile
                    told.written, told.said, told.is_told, told.due = None, None, False, 0.0
            elif comes_back:
                await asyncio.sleep(random.uniform(0, SPREAD_S))
                comes_back = False
                continue
            else:
                await self._look()
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        """Say what is new of each model. One of which that fails holds up no other."""
        now = time.monotonic()
        for model in list(dict.fromkeys((*self._models, *self._told))):
            told = self._told.setdefault(model, _Told(WritePace(now)))
            if now < told.due:
                continue
            key = report_key(self._node, model)
            try:
                if model in self._models:
                    await self._tell(model, key, told)
                elif await asyncio.to_thread(self._store.compare_and_set, (), {key: None}) is Outcome.WRITTEN:
                    del self._told[model]
            except EdgeAgentError as e:
                told.is_told, told.due = False, now + told.backoff.next_s()
                if told.failure != str(e):
                    _log.warning("report.failed", key=key, why=str(e))
                told.failure = str(e)
            else:
                told.failure = ""
                told.backoff.reset()

    async def _tell(self, model: str, key: str, told: _Told) -> None:
        """Raises UnavailableError, UsageError."""
        report = self._describe(model)
        if report is None:
            return
        if told.written is None or time.monotonic() >= told.read_due:
            told.written = await asyncio.to_thread(self._read, key)
            told.read_due = time.monotonic() + random.uniform(*READ_EVERY_S)
        if told.earlier is None:
            told.earlier = told.written
        if report.version and report.version != told.earlier.version:
            told.earlier = Report()
        report, now = carried_on(report, told.earlier), time.monotonic()
        # Not with what stands there by now: another process of the same name may write it, as often as it is read.
        at_once = _matters_now(told.said or told.written) != _matters_now(report)
        if at_once or (is_news(told.written, report) and told.pace.is_due(True, now)):
            await asyncio.to_thread(self._store.put, key, encode_report(report))
            told.written = told.said = report
            told.pace = told.pace.after_writing(now)
        told.is_told = True

    def _read(self, key: str) -> Report:
        """What stands there; nothing in particular if it can't be understood. Raises UnavailableError, UsageError."""
        value = self._store.get(key).value
        try:
            return decode_report(key, value) if value else Report()
        except RolloutError:
            return Report()


def _matters_now(report: Report) -> tuple[str, ...]:
    """What roll-outs wait for."""
    ahead = report.preloaded, report.preload_refused
    return report.rollout, report.phase, report.version, report.digest, *ahead
