# SPDX-License-Identifier: AGPL-3.0-or-later
"""The form of what a node says of its fleet at GET /api/fleet: that of `nodes --json` and `rollout status --json`."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from edgeagent.status.part import StatusPart


class FleetReport(StatusPart):
    """What a node reports on a model beyond what serves; missing where it has no report (core/fleet_report.py)."""

    before: str = ""
    since: int = 0
    labels: dict[str, str] = Field(default_factory=dict)
    rollout: str = ""
    phase: str = ""
    why: str = ""
    preloaded: str = ""
    preload_refused: str = ""
    frames: int = 0
    objects: int = 0
    evidence: float = 0.0
    latency_ms: float = 0.0
    boxes: float = 0.0
    golden: float = -1.0


class FleetNode(FleetReport):
    """One model on one node."""

    node: str
    model: str
    present: bool
    """Whether it is there; without it is silent: off, or away from the config store."""
    reports: bool
    """Whether it has a report, which earlier releases don't write."""
    version: str
    """That serves, "" where that isn't known."""
    digest: str
    state: str
    held: str
    """Why it doesn't follow the fleet, "" while it does."""
    conflict: bool
    """Another process has the same node id."""


class FleetWave(StatusPart):
    """A wave of a roll-out."""

    wave: str
    """As it was planned, such as "5%"."""
    nodes: int
    """How many are in once it is open, of those that are there now."""
    is_open: bool


class FleetRollout(StatusPart):
    """Where the roll-out of a model stands: the one in force, else the one that ended last."""

    model: str
    rollout: dict[str, Any]
    """The document in the config store."""
    summary: str
    """In a sentence."""
    waves: list[FleetWave]
    fleet: int
    """Nodes that are there and follow what the fleet is told."""
    nodes: int
    """That take the version up, or did."""
    stable: int
    serving: int
    pending: list[str]
    away: list[str]
    refused: dict[str, str]
    """Reasons by node, as in the next two."""
    failed: dict[str, str]
    excused: dict[str, str]
    evidence: float
    """That the version is worse, as a power of ten."""
    notes: list[str]
    overtaken: bool = False
    """Somebody wrote `current` since it began, which counts instead."""


class FleetAnswer(StatusPart):
    """All nodes, all roll-outs, and who leads."""

    leader: str | None
    """The name of the coordinator that leads; null: none does."""
    coordinating: bool
    """It is this node."""
    nodes: list[FleetNode]
    idle: list[str]
    """Nodes without a model."""
    rollouts: list[FleetRollout]
    broken: dict[str, str]
    """Models whose roll-out can't be read, and why."""
