# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node remembers of its models: states, audit log, cache. Nothing here waits on the event loop."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from edgeagent.core.events import AppendAudit
from edgeagent.core.state import State, VersionRef
from edgeagent.errors import EdgeAgentError, UnavailableError
from edgeagent.observe.audit import AuditLog, AuditRecord
from edgeagent.observe.bus import AuditAppended, Bus
from edgeagent.store.cache import Cache
from edgeagent.update.state_file import save_state
from edgeagent.update.tuning_cache import forget_others

if TYPE_CHECKING:
    from edgeagent.update.updater import Updater

_log = structlog.get_logger(__name__)


class Journal:
    """Told by the updaters what they do (`UpdaterObserver`); writes it down in a thread, in that order.

    error: why the last write failed, "" when it didn't. What can't be written disturbs nothing that serves.
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
        self.error = ""
        self._states = state_dir / "models"
        self._cache = Cache(state_dir / "cache")
        self._prepared = state_dir / "cache" / "prepared"
        self._audit = AuditLog(state_dir)
        self._store_url = store_url.rstrip("/")
        self._keep_versions = keep_versions
        self._updaters = updaters
        self._bus = bus
        # One thread: what is written first is on disk first.
        self._disk = ThreadPoolExecutor(1, "disk")

    def save(self, state: State) -> None:
        """Write a model's state, soon and durably."""
        self._write(save_state, self._states, state)

    def record(self, model: str, record: AppendAudit) -> None:
        """Into the audit log, and tell those who listen; a swap also makes room in the cache."""
        version = record.to_version
        entry = AuditRecord(
            event=record.event,
            model=model,
            who=record.by,
            from_version=record.from_version,
            to_version=version,
            source_url=f"{self._store_url}/{model}/{version}" if version else "",
            digest=record.digest,
            result=record.result,
            why=record.why,
            stages={stage: round(seconds, 4) for stage, seconds in record.stages.items()},
            gates=record.gates,
        )
        self._write(self._append, entry)
        self._bus.publish(AuditAppended(entry))
        if record.result in ("swapped", "stable"):
            self._write(self._make_room, self._protected())

    def history(self, limit: int) -> list[AuditRecord]:
        """The last audit records, oldest first."""
        return self._audit.tail(limit)

    def close(self) -> None:
        """Wait until everything is written, or has failed."""
        self._disk.shutdown(wait=True)

    def _append(self, entry: AuditRecord) -> None:
        if not self._audit.append(entry):
            waiting = f"{self._audit.unsaved} records wait for the disk"
            raise UnavailableError("the audit log", waiting, "look at the disk of node.state_dir")

    def _make_room(self, protected: set[tuple[str, str]]) -> None:
        """Drop old versions from the cache, and what was prepared for them."""
        self._cache.evict(self._keep_versions, protected)
        forget_others(self._prepared, self._cache.digests())

    def _protected(self) -> set[tuple[str, str]]:
        """What the cache must keep: active, standby, candidate, last known good, the one to roll back to."""
        kept: set[tuple[str, str]] = set()
        for model, updater in self._updaters.items():
            s = updater.state
            refs: list[VersionRef | None] = [s.active, s.standby, *s.stable_versions[-2:]]
            kept |= {(model, r.version) for r in refs if r}
            if s.candidate:
                kept.add((model, s.candidate.goal.version))
        return kept

    def _write(self, write: Any, *args: Any) -> None:
        def work() -> None:
            try:
                write(*args)
                if (
                    not self._audit.unsaved
                ):  # else what was said of them holds, whatever else could be written
                    self.error = ""
            except (OSError, EdgeAgentError) as e:
                self.error = str(e)
                _log.error("state.not_written", why=str(e))

        self._disk.submit(work)
