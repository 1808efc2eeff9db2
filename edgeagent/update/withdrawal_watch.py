# SPDX-License-Identifier: AGPL-3.0-or-later
"""Asks the model store now and then whether what serves here was withdrawn since: such a version goes on, and it is
said. What comes in is asked for when it is fetched."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

import structlog

from edgeagent.config import Config
from edgeagent.core.state import VersionRef
from edgeagent.update.trial_runner import find_withdrawn, store_access
from edgeagent.update.updater import Updater
from edgeagent.workers.limits import WorkerLimits

FIRST_S = (60.0, 600.0)
LOOK_S = (600.0, 1200.0)
"""Between two looks. Drawn by chance: a whole plant must not ask its store at one instant."""
_MB = 1 << 20
_log = structlog.get_logger(__name__)


class WithdrawalWatch:
    """Of all models of a node. On the event loop's thread; the store is asked by a worker."""

    def __init__(self, config: Config, updaters: Mapping[str, Updater]) -> None:
        """Ask nothing yet."""
        self._updaters = updaters
        self._store = store_access(config.model_store)
        silence_s = config.update.fetch_seconds
        memory_bytes = config.update.candidate_memory_mb * _MB
        self._limits = WorkerLimits(memory_bytes, silence_s=silence_s, start_s=silence_s)
        self._found: dict[str, tuple[VersionRef, str]] = {}

    def reason(self, model: str) -> str:
        """Why what serves now was withdrawn, as far as that was seen; "" if it wasn't."""
        ref, reason = self._found.get(model, (None, ""))
        return reason if ref == self._updaters[model].state.active else ""

    async def run(self) -> None:
        """For ever."""
        await asyncio.sleep(random.uniform(*FIRST_S))
        while True:
            await self.look()
            await asyncio.sleep(random.uniform(*LOOK_S))

    async def look(self) -> None:
        """Ask the store. One that can't be asked just now changes nothing."""
        serving = {model: u.state.active for model, u in self._updaters.items() if u.state.active}
        if not serving:
            return
        asked = [(model, ref.version) for model, ref in serving.items()]
        reasons = await find_withdrawn(asked, self._store, self._limits)
        if reasons is None:
            return
        for (model, ref), reason in zip(serving.items(), reasons, strict=True):
            before = self._found.get(model)
            self._found[model] = (ref, reason)
            if reason and before != (ref, reason):
                _log.warning("version.withdrawn", model=model, version=ref.version, why=reason)
            elif not reason and before and before[0] == ref and before[1]:
                _log.info("version.let_in", model=model, version=ref.version)
