# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the HTTP API needs of a node."""

from __future__ import annotations

from typing import Any, Protocol


class NodeApi(Protocol):
    """A running node. Everything is called in the node's event loop and must not block it.

    The operator's verbs raise an EdgeAgentError: NotFoundError (no such model or version), ConflictError
    (nothing to roll back to; no model named although there are several), UsageError, UnavailableError.
    """

    def status(self) -> dict[str, Any]:
        """What runs, in the form of INTERFACE.md; values that JSON can hold."""

    def history(self, limit: int) -> list[dict[str, Any]]:
        """The last `limit` audit records, oldest first."""

    def ready(self) -> tuple[bool, str]:
        """Whether frames are being served, and why not."""

    async def rollback(self, model: str | None, by: str) -> dict[str, Any]:
        """Swap to the version before and hold it there; None means the only model. Returns what it did."""

    async def promote(self, model: str, version: str, by: str, reason: str) -> dict[str, Any]:
        """Make a version the aspired one on this node. Returns at once what it did: status shows the rest."""
