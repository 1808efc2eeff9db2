# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node remembers of its models: states, audit log, cache. Nothing here waits on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from edgeagent.core.events import AppendAudit
from edgeagent.core.receipts import ChainReport, Link
from edgeagent.core.state import State, VersionRef
from edgeagent.errors import EdgeAgentError, UnavailableError
from edgeagent.observe.audit import SETTLE_S, AuditLog, AuditRecord
from edgeagent.observe.bus import AuditAppended, Bus
from edgeagent.store.cache import Cache
from edgeagent.store.known_good import known_good, note_known_good
from edgeagent.update.state_writer import StateWriter
from edgeagent.update.tuning_cache import forget_others
from edgeagent.util.codec import to_json
from edgeagent.util.durable import remove_stale_temps

if TYPE_CHECKING:
    from edgeagent.update.updater import Updater

SAVE_S = 5.0
"""How long whoever has to know that something is on disk waits for it."""

RETRY_S = 10.0
"""Until what couldn't be written into the audit log is tried again."""

_log = structlog.get_logger(__name__)


class Journal:
    """Told by the updaters what they do (`UpdaterObserver`); writes it down in threads: states in one, the rest in
    another, in the order in which it happened.

    What can't be written disturbs nothing that serves.
    """

    def __init__(
        self,
        state_dir: Path,
        store_url: str,
        keep_versions: int,
        updaters: Mapping[str, Updater],
        bus: Bus,
    ) -> None:
        """Raises UnavailableError when the cache can't be used at all."""
        self._audit_error = ""
        self._states = StateWriter(state_dir / "models")
        self._saves: dict[str, tuple[State, Future[None]]] = {}  # the last of each model
        self._noted: dict[str, tuple[VersionRef, ...]] = {}  # what the cache was told of each model
        self._cache = Cache(state_dir / "cache")
        self._cache.clear_leftovers()
        for folder in (state_dir, state_dir / "models", *(state_dir / "cache" / "prepared").glob("*/")):
            remove_stale_temps(folder)
        self._prepared = state_dir / "cache" / "prepared"
        self._audit = AuditLog(state_dir)
        self._store_url = store_url.rstrip("/")
        self._keep_versions = keep_versions
        self._updaters = updaters
        self._bus = bus
        # One thread: what is written first is on disk first.
        self._disk = ThreadPoolExecutor(1, "disk")
        self._works: set[Future[None]] = set()
        self._retry_at = self._settle_at = 0.0
        self._checking = asyncio.Lock()

    @property
    def audit_head(self) -> str:
        """The last record of what changed that is on the disk, as `NUMBER:HASH`; "" before the first."""
        return self._audit.head

    @property
    def error(self) -> str:
        """Why the last write failed, "" when it didn't."""
        return self._states.error or self._audit_error

    def save(self, state: State) -> None:
        """Write a model's state, soon and durably; tried again until the disk takes it."""
        self._saves[state.model] = state, self._states.save(state)
        if self._noted.get(state.model) != state.stable_versions:
            self._noted[state.model] = state.stable_versions
            self._write(self._note_known_good, state.model, state.stable_versions)

    async def reserve_epochs(self, states: Iterable[State]) -> None:
        """Have the numbers of the first swaps on disk before anything is served under them, if the disk takes them."""

        async def reserve(state: State) -> None:
            self.save(state)
            with suppress(OSError):
                await self.saved(state.model)

        await asyncio.gather(*map(reserve, states))

    def known_good(self, model: str) -> tuple[VersionRef, ...]:
        """The versions in the cache that have served well here, oldest first."""
        return known_good(self._cache, model)

    async def saved(self, model: str, timeout_s: float = SAVE_S) -> None:
        """Return when what was saved last of a model is on disk, or something later.

        Raises OSError when the disk doesn't take it, TimeoutError when it takes longer; it is tried again all the same.
        """
        if model not in self._saves:
            return
        state, first_try = self._saves[model]
        if self._states.durable.get(model) is not state:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(asyncio.wrap_future(first_try))

    def epoch_floor(self, state: State) -> int:
        """What the number of the model's next swap must be above; see `StateWriter`."""
        return self._states.epoch_floor(state)

    def record(self, model: str, record: AppendAudit) -> None:
        """Into the audit log, and tell those who listen; a swap also makes room in the cache."""
        version = record.to_version
        seen_by = {"shadow": record.shadow, "probation": record.probation}
        entry = AuditRecord(
            event=record.event,
            model=model,
            who=record.by,
            from_version=record.from_version,
            to_version=version,
            source_url=f"{self._store_url}/{model}/{version}" if version else "",
            digest=record.digest,
            result=record.result,
            why="; ".join(filter(None, (record.why, record.tag and f"named by the tag @{record.tag}"))),
            stages={stage: round(seconds, 4) for stage, seconds in record.stages.items()},
            gates=record.gates,
            from_digest=record.from_digest,
            epoch=record.epoch,
            moment=record.moment,
            watches={name: to_json(seen) for name, seen in seen_by.items() if seen is not None},
            facts=record.facts,
        )
        self._write(self._append, entry)
        self._bus.publish(AuditAppended(entry))
        if record.result in ("swapped", "stable"):
            self._write(self._make_room, self._protected())

    def history(self, limit: int) -> list[str]:
        """The last audit records, oldest first, each as JSON."""
        return self._audit.tail(limit)

    async def check(self, anchors: Sequence[Link] = ()) -> dict[str, ChainReport]:
        """What became of the audit log's chains, by file; see `AuditLog.check`. One at a time."""
        async with self._checking:
            return await asyncio.to_thread(self._audit.check, anchors)

    def close(self, states: Iterable[State] = (), timeout_s: float = SAVE_S) -> None:
        """Write what waits and these last states, or fail; waits for so long (seconds) for the disk."""
        self._states.close(states, timeout_s)
        if self._audit_error:
            self._write(self._flush)
        if not self._audit.settled:
            self._write(self._settle)
        self._disk.shutdown(wait=False)
        wait(self._works, timeout_s)

    def _note_known_good(self, model: str, versions: tuple[VersionRef, ...]) -> None:
        try:
            note_known_good(self._cache, model, versions)
        except OSError:
            self._noted.pop(model, None)  # with the next save it is tried again
            raise

    def retry(self, now: float) -> None:
        """To be called now and then (monotonic seconds): what the audit log couldn't write is tried again."""
        if self._audit_error and now >= self._retry_at:
            self._retry_at = now + RETRY_S
            self._write(self._flush)
        if now >= self._settle_at and not self._audit.settled:
            self._settle_at = now + SETTLE_S
            self._write(self._settle)

    def _append(self, entry: AuditRecord) -> None:
        self._require(self._audit.append(entry))

    def _flush(self) -> None:
        self._require(self._audit.flush())

    def _settle(self) -> None:
        self._require(self._audit.settle())

    def _require(self, written: bool) -> None:
        if not written:
            waiting = f"{self._audit.unsaved} records wait for the disk"
            if not self._audit.unsaved:
                waiting = "what its head file says is behind its records"
            raise UnavailableError("the audit log", waiting, "look at the disk of node.state_dir")

    def _make_room(self, protected: set[tuple[str, str]]) -> None:
        """Drop old versions from the cache, and what was prepared for them."""
        self._cache.evict(self._keep_versions, protected)
        forget_others(self._prepared, self._cache.digests())

    def _protected(self) -> set[tuple[str, str]]:
        """What the cache must keep: active, standby, candidate, preload, last known good, the one to roll back to."""
        kept: set[tuple[str, str]] = set()
        for model, updater in self._updaters.items():
            s = updater.state
            refs: list[VersionRef | None] = [s.active, s.standby, *s.stable_versions[-2:]]
            if durable := self._states.durable.get(model):  # what a restart begins with
                refs += durable.stable_versions[-2:]
            kept |= {(model, r.version) for r in refs if r}
            if s.candidate:
                kept.add((model, s.candidate.goal.version))
            if s.run.preload:
                kept.add((model, s.run.preload.version))
        return kept

    def _write(self, write: Any, *args: Any) -> None:
        def work() -> None:
            try:
                write(*args)
                if not self._audit.unsaved and self._audit.settled:
                    self._audit_error = ""  # else what was said of them holds
            except (OSError, EdgeAgentError) as e:
                self._audit_error = str(e)
                _log.error("journal.not_written", why=str(e))

        self._works = {unfinished for unfinished in self._works if not unfinished.done()}
        self._works.add(self._disk.submit(work))
