# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node says of its configuration."""

from __future__ import annotations

from edgeagent.status.part import StatusPart


class ConfigStatus(StatusPart):
    """The configuration in force."""

    path: str | None
    """Of its file."""
    loaded: float
    """Since when it is in force, Unix seconds."""
    changed: list[str]
    """What the last change changed, a line each."""
    needs_restart: list[str]
    """Names of the fields that the file says otherwise, and that count from the next start on only."""
    error: str | None
    """Why the file was refused when it was read last; null when it wasn't."""
