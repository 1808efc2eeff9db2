# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is told of what an updater does."""

from __future__ import annotations

from typing import Protocol

from edgeagent.core.events import AppendAudit
from edgeagent.core.state import State


class UpdaterObserver(Protocol):
    """Who is told of what an updater does."""

    def save(self, state: State) -> None:
        """Write the state to disk, soon and durably."""

    async def saved(self, model: str) -> None:
        """Return when what was saved last of a model is on disk. Raises OSError when the disk doesn't take it."""

    def epoch_floor(self, state: State) -> int:
        """What the number of the next swap must be above, so that it is this swap's for ever."""

    def record(self, model: str, record: AppendAudit) -> None:
        """Something for the audit log."""
