# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node says of its configuration."""

from __future__ import annotations

from typing import Any

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


class ConfigView(StatusPart):
    """The configuration file, as it can be changed through the API."""

    revision: str
    """Of the file's content: another after each change, by whomever."""
    path: str | None
    config: dict[str, Any]
    """What the file says, with what goes without saying, and what variables of the environment say in its place;
    passwords and the like are shown as `***`."""
    classes: dict[str, list[str]]
    """By model: the classes of the version that serves."""
    may_change: bool
    """Whether the API lets it be changed (`api.changes.allow`)."""
    overridden: list[str]
    """Variables of the environment that say pipelines or models otherwise than the file: none can be changed here."""
    error: str | None
    """Why the file can't be read; `config` is then what is in force."""


class ConfigChange(StatusPart):
    """What became of a change."""

    revision: str
    """Of the file, as it was written."""
    changed: list[str]
    """What changed on the node, a line each."""
    needs_restart: list[str]
    """Names of the fields that the file says otherwise than what is in force."""
