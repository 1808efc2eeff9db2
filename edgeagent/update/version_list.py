# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the model store holds, for whoever wants to choose a version: read by a worker, and kept for some seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from edgeagent.config import Config
from edgeagent.core.releases import ReleaseRow
from edgeagent.errors import EdgeAgentError, NotFoundError, UnavailableError
from edgeagent.update.trial_runner import store_access
from edgeagent.update.worker_task import TaskFailedError, WorkerTask
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.tasks.prepare import ListVersions, Report, VersionFound, VersionsListed

KEPT_S = 10.0
"""For so long what was found is given out again, and what was not."""
WAIT_S = 15.0
"""How long whoever asks waits for the store; it is read on."""
MAX_WAITING = 8
"""Of those who ask, so many wait at a time: the API's places are few."""
MAX_VERSIONS = 500
_MB = 1 << 20
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class VersionList:
    """The versions of a model, from the oldest to the newest, as far as they were found last. error: why they couldn't
    be read now, None where they could; left_out: how many older ones there are; broken_tags: what is wrong with tags
    that can't be read; at: when it was read (Unix seconds), None: never yet."""

    versions: tuple[ReleaseRow, ...] = ()
    error: EdgeAgentError | None = None
    left_out: int = 0
    broken_tags: tuple[str, ...] = ()
    at: float | None = None


@dataclass
class _Known:
    """The last list of a model, and the work on the next. checked: monotonic seconds."""

    found: VersionList = field(default_factory=VersionList)
    checked: float = float("-inf")
    work: asyncio.Task[None] | None = None


Read = Callable[[str], Coroutine[Any, Any, VersionList]]


class VersionLists:
    """Of the models of a node. On the event loop's thread; nothing is read unless somebody asks.

    read: the versions of a model, from the store; raises TaskFailedError, OSError. clock: monotonic.
    """

    def __init__(
        self,
        models: Mapping[str, object],
        read: Read,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """models: by name; looked at anew each time."""
        self._models = models
        self._read = read
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def versions(self, model: str) -> VersionList:
        """What the store holds of a model. Raises NotFoundError for one that this node doesn't have."""
        if model not in self._models:
            raise NotFoundError(
                f"model {model}", "no pipeline on this node uses it", f"use one of {', '.join(self._models)}"
            )
        known = self._known.setdefault(model, _Known())
        if known.work is None and self._clock() - known.checked >= KEPT_S:
            known.work = asyncio.create_task(self._renew(model, known), name=f"versions of {model}")
        if known.work is None:
            return known.found
        if self._waiting < MAX_WAITING:
            self._waiting += 1
            try:
                await asyncio.wait([known.work], timeout=WAIT_S)
            finally:
                self._waiting -= 1
        if known.work is None:
            return known.found
        why = "the store is being read, which takes longer than usual"
        return replace(
            known.found, error=UnavailableError(f"versions of {model}", why, "ask again in a while")
        )

    async def close(self) -> None:
        """Read no more."""
        works = [known.work for known in self._known.values() if known.work]
        for work in works:
            work.cancel()
        if works:
            await asyncio.wait(works)

    async def _renew(self, model: str, known: _Known) -> None:
        try:
            async with self._turn:  # one worker at a time, however many models there are
                known.found = await self._read(model)
        except TaskFailedError as e:
            todo = "see whether the model store can be reached; what serves here goes on"
            known.found = replace(known.found, error=UnavailableError(f"versions of {model}", e.why, todo))
        except OSError as e:
            why = f"no worker can be started ({e})"
            known.found = replace(known.found, error=UnavailableError(f"versions of {model}", why))
        except Exception:  # noqa: BLE001  (whoever asks waits for an answer)
            _log.exception("versions.failed", model=model)
            why = "internal error"
            known.found = replace(
                known.found, error=UnavailableError(f"versions of {model}", why, "see the node's log")
            )
        finally:
            known.checked = self._clock()
            known.work = None


def read_by_worker(config: Config) -> Read:
    """How the versions of a model are read on a node."""
    store = store_access(config.model_store)
    seconds = config.update.fetch_seconds
    limits = WorkerLimits(config.update.candidate_memory_mb * _MB, silence_s=seconds, start_s=seconds)

    async def read(model: str) -> VersionList:
        rows: list[ReleaseRow] = []

        def heard(report: Report) -> None:
            if isinstance(report, VersionFound):
                rows.append(report.row)

        task = WorkerTask(ListVersions(store, model, MAX_VERSIONS), limits, heard)
        answer = await task.run(VersionsListed)
        return VersionList(tuple(rows), None, answer.left_out, answer.broken_tags, time.time())

    return read
