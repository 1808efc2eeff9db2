# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can happen to a model on a node, and what the reconciler can ask for in answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeagent.core.directive import Directive
from edgeagent.core.gating import GateResult
from edgeagent.core.lifecycle import Stage
from edgeagent.core.state import Goal, PrepareMode, VersionRef

# -- events ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IntentChanged:
    """The intent as it stands, decoded. The same intent again changes nothing."""

    directive: Directive


@dataclass(frozen=True)
class IntentInvalid:
    """The intent can't be decoded; nothing that serves changes."""

    why: str


@dataclass(frozen=True)
class RollbackRequested:
    """The operator wants the version before."""

    by: str
    reason: str = ""


@dataclass(frozen=True)
class PromoteRequested:
    """The operator wants this version, on this node; `intent_id` identifies the request."""

    directive: Directive


@dataclass(frozen=True)
class StageReached:
    """The candidate is in a stage, mostly a new one. digest: as soon as it is known; gates: what they have found so
    far."""

    id: int
    stage: Stage
    digest: str = ""
    gates: tuple[GateResult, ...] = ()


@dataclass(frozen=True)
class CandidateFailed:
    """The candidate can't go on. `transient`: through no fault of its own; try again later."""

    id: int
    why: str
    transient: bool = False


@dataclass(frozen=True)
class StoreChanged:
    """What the store holds under a refused version is no longer what was refused."""

    version: str


@dataclass(frozen=True)
class ActiveUnhealthy:
    """The active engine misbehaves in a way that a restart of its worker didn't cure."""

    ref: VersionRef
    why: str


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Event = (
    IntentChanged
    | IntentInvalid
    | RollbackRequested
    | PromoteRequested
    | StageReached
    | CandidateFailed
    | StoreChanged
    | ActiveUnhealthy
    | Tick
)

# -- commands ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PrepareCandidate:
    """Take the candidate from FETCHING to READY; report with StageReached and CandidateFailed."""

    id: int
    goal: Goal
    mode: PrepareMode


@dataclass(frozen=True)
class Cancel:
    """Stop whatever is done for this candidate, and free it."""

    id: int


@dataclass(frozen=True)
class Swap:
    """Make this warm version the one that the next frame goes to."""

    ref: VersionRef
    epoch: int


@dataclass(frozen=True)
class RetireEngine:
    """Drain this version, then retire it."""

    ref: VersionRef


@dataclass(frozen=True)
class PersistState:
    """Write the state to disk."""


@dataclass(frozen=True)
class AppendAudit:
    """An entry for the audit log. `stages` in seconds; `gates`: what they found in `to_version`."""

    event: str
    result: str
    by: str = ""
    from_version: str = ""
    to_version: str = ""
    digest: str = ""
    why: str = ""
    stages: dict[str, float] = field(default_factory=dict)
    gates: tuple[GateResult, ...] = ()


Command = PrepareCandidate | Cancel | Swap | RetireEngine | PersistState | AppendAudit
