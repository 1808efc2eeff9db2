# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the HTTP API needs of a node."""

from __future__ import annotations

from typing import Protocol

from edgeagent.core.events import ApproveRequested, RefuseRequested
from edgeagent.status.schema import HistoryCheck, Outcome, Status


class NodeApi(Protocol):
    """A running node. Everything is called in the node's event loop and must not block it.

    The operator's verbs raise an EdgeAgentError: NotFoundError (no such model or version), ConflictError
    (nothing to roll back to; no model named although there are several), UsageError, UnavailableError; NotKeptError
    when it is done, but the disk doesn't take it.
    """

    def status(self) -> Status:
        """What runs, since when and why. Polled: to be cheap."""

    def history(self, limit: int) -> str:
        """The last `limit` audit records, oldest first, as the JSON of a `History`."""

    async def check_history(self, anchor: str) -> HistoryCheck:
        """What became of the audit log since it was written. anchor: a head that was kept, "" for none. Takes seconds,
        in a thread. Raises UsageError for what is no head."""

    def ready(self) -> tuple[bool, str]:
        """Whether frames are being served, and why not."""

    async def rollback(self, model: str | None, by: str, if_epoch: int | None) -> Outcome:
        """Swap to the version before and hold it there; None means the only model. Returns what it did, once that
        is on disk.

        if_epoch: only while this epoch serves; ConflictError when another does.
        """

    async def write_intent(self, model: str, version: str, by: str, reason: str) -> None:
        """Write the intent of all nodes into the config store. Returns when it is written.

        Raises UsageError when the config store can't be written.
        """

    async def decide(self, model: str, event: ApproveRequested | RefuseRequested) -> Outcome:
        """Let the version that waits in SHADOW come in, or refuse it. Returns what it did, once that is on disk.

        Raises ConflictError when no version waits there, or not the one that is meant.
        """

    async def promote(self, model: str, version: str, by: str, reason: str) -> Outcome:
        """Make a version the aspired one on this node. Returns what it did, once that is on disk: status shows the
        rest."""
