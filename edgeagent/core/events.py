# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can happen to a model on a node, and what the reconciler can ask for in answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeagent.core.contract import Names
from edgeagent.core.directive import Directive
from edgeagent.core.form import Form, FrameSizes
from edgeagent.core.gating import GateResult
from edgeagent.core.lifecycle import Stage
from edgeagent.core.pace import Pace
from edgeagent.core.pairs import PairSummary
from edgeagent.core.state import Goal, PrepareMode, State, VersionRef
from edgeagent.core.update_facts import UpdateFacts

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
    """The operator wants the version before. if_epoch: only while this epoch serves."""

    by: str
    reason: str = ""
    if_epoch: int | None = None


@dataclass(frozen=True)
class PromoteRequested:
    """The operator wants this version, on this node; `intent_id` identifies the request."""

    directive: Directive


@dataclass(frozen=True)
class ApproveRequested:
    """The operator lets the version that waits in SHADOW come in. version, digest: only this one, "" for any."""

    by: str
    version: str = ""
    digest: str = ""


@dataclass(frozen=True)
class RefuseRequested:
    """The operator refuses the version that waits in SHADOW. version, digest: only this one, "" for any."""

    by: str
    reason: str
    version: str = ""
    digest: str = ""


@dataclass(frozen=True)
class StageReached:
    """The candidate, or the rebuild, is in a stage, mostly a new one; ASPIRED: it waits for its turn.

    digest: as soon as it is known. gates: what they have found so far. form: once it is READY; pace: then, if it could
    be measured. stops: it is WARMING, and has room only once what serves is stopped.
    """

    id: int
    stage: Stage
    digest: str = ""
    gates: tuple[GateResult, ...] = ()
    form: Form | None = None
    pace: Pace | None = None
    stops: bool = False


@dataclass(frozen=True)
class CandidateFailed:
    """The candidate, or the rebuild, can't go on.

    transient: through no fault of its own; try again later. fingerprint: of what the store holds, when that is known.
    """

    id: int
    why: str
    transient: bool = False
    fingerprint: str = ""


@dataclass(frozen=True)
class FormConfirmed:
    """The rebuild came to an end before anything was loaded: what serves has the best form that it can have."""

    id: int
    form: Form


@dataclass(frozen=True)
class PreloadWanted:
    """This version is to be made ready ahead, without serving; None: none."""

    directive: Directive | None


@dataclass(frozen=True)
class PreloadReady:
    """The version that is made ready ahead has passed its gates; so the work on it ends."""

    id: int
    digest: str
    gates: tuple[GateResult, ...] = ()


@dataclass(frozen=True)
class GaveWay:
    """An update needs the place of the version that is made ready ahead."""

    id: int


@dataclass(frozen=True)
class FramesSeen:
    """The sizes of all frames that the pipelines of the model have sent until now."""

    frames: FrameSizes


@dataclass(frozen=True)
class StoreChecked:
    """The answer to CheckStore. `fingerprint`: of what the store holds, "" when that can't be told just now."""

    version: str
    fingerprint: str


@dataclass(frozen=True)
class WorkerFailed:
    """The worker of the engine that serves ended, or frames keep failing on it. from_outside: somebody else's
    signal ended it."""

    ref: VersionRef
    why: str
    from_outside: bool = False


@dataclass(frozen=True)
class FrameAtFault:
    """A frame that this version failed on has failed on the version that took over, too."""

    ref: VersionRef


@dataclass(frozen=True)
class PairsJudged:
    """What the frames say until now that the version in SHADOW, or on probation, and the one before have both seen.
    shortfall: what they don't suffice for, "" when they do."""

    ref: VersionRef
    summary: PairSummary
    shortfall: str = ""


@dataclass(frozen=True)
class ShadowFinished:
    """What the candidate's shadow has seen speaks against it: which figure, over what, against what."""

    id: int
    why: str
    summary: PairSummary


@dataclass(frozen=True)
class ProbationBreached:
    """The version that serves does worse than it may on probation. summary: None where no pairs were needed to see
    that; by_past: it was held against this line's past."""

    ref: VersionRef
    why: str
    summary: PairSummary | None = None
    by_past: bool = False


@dataclass(frozen=True)
class PastJudged:
    """The version that serves was held against this line's past, and nothing speaks against it until now. shortfall:
    what doesn't suffice for that, "" when it does; waits: time would change it."""

    ref: VersionRef
    shortfall: str = ""
    waits: bool = False


@dataclass(frozen=True)
class MomentCame:
    """The moment for the swap is there."""

    id: int
    why: str


@dataclass(frozen=True)
class StateSaved:
    """The answer to SaveFirst: the disk has it, or doesn't take it just now."""

    id: int


@dataclass(frozen=True)
class EngineRetired:
    """An engine that was swapped out has finished its frames, and its worker is gone."""

    ref: VersionRef


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Event = (
    IntentChanged
    | IntentInvalid
    | RollbackRequested
    | PromoteRequested
    | ApproveRequested
    | RefuseRequested
    | StageReached
    | CandidateFailed
    | FormConfirmed
    | PreloadWanted
    | PreloadReady
    | GaveWay
    | FramesSeen
    | StoreChecked
    | WorkerFailed
    | FrameAtFault
    | PairsJudged
    | ShadowFinished
    | ProbationBreached
    | PastJudged
    | MomentCame
    | StateSaved
    | EngineRetired
    | Tick
)

# -- commands ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PrepareCandidate:
    """Take the candidate from FETCHING to READY, when its turn has come; report with StageReached and CandidateFailed.

    mode REBUILD: of the version that serves, beside it; FormConfirmed is a third way to end. PRELOAD: no further than
    GATING, then PreloadReady.
    """

    id: int
    goal: Goal
    mode: PrepareMode


@dataclass(frozen=True)
class Cancel:
    """Stop whatever is done for this candidate, its shadow and its wait for a moment too, and free it."""

    id: int


@dataclass(frozen=True)
class StartShadow:
    """Let the candidate's engine infer frames beside the one that serves, anew; report with PairsJudged and
    ShadowFinished until it is swapped in or cancelled."""

    id: int
    ref: VersionRef


@dataclass(frozen=True)
class AwaitMoment:
    """Report with MomentCame when it comes. at: between-parts or window."""

    id: int
    at: str


@dataclass(frozen=True)
class Swap:
    """Make this warm version the one that the next frame goes to.

    names: of the classes, by the ids that they have in the records, () for the version's own."""

    ref: VersionRef
    epoch: int
    names: Names = ()


@dataclass(frozen=True)
class StopServing:
    """Let the engine of this version, which serves, finish what it has, then retire it; nothing serves from now on.
    Report with EngineRetired."""

    ref: VersionRef


@dataclass(frozen=True)
class ReplaceEngine:
    """Let the rebuilt engine of the version that serves take over; drain the one before, then retire it."""

    ref: VersionRef


@dataclass(frozen=True)
class RetireEngine:
    """Drain the engine of this version, then retire it; report with EngineRetired."""

    ref: VersionRef


@dataclass(frozen=True)
class CheckStore:
    """Look what the store holds under this version; answer with StoreChecked, in any case."""

    version: str


@dataclass(frozen=True)
class PersistState:
    """Write the state to disk."""


@dataclass(frozen=True)
class SaveFirst:
    """Write the state to disk before the candidate of this id is swapped in; report with StateSaved."""

    id: int


@dataclass(frozen=True)
class AppendAudit:
    """A decision, for the audit log. `stages` in seconds; `gates`: what they found in `to_version`.

    digest: of `to_version`; from_digest: of `from_version`. epoch: number of the swap that it is about, 0 for none.
    tag: by which `to_version` was named when the intent was written, "" where it was named itself.
    moment: how the moment of the swap was chosen, and how long it was waited for. shadow, probation: what these saw of
    pairs, None where they saw none. facts: what the update cost the line; those who perform the command know it.
    """

    event: str
    result: str
    by: str = ""
    from_version: str = ""
    to_version: str = ""
    digest: str = ""
    why: str = ""
    stages: dict[str, float] = field(default_factory=dict)
    gates: tuple[GateResult, ...] = ()
    from_digest: str = ""
    epoch: int = 0
    moment: str = ""
    tag: str = ""
    shadow: PairSummary | None = None
    probation: PairSummary | None = None
    facts: UpdateFacts | None = None


Command = (
    PrepareCandidate
    | Cancel
    | StartShadow
    | AwaitMoment
    | Swap
    | StopServing
    | ReplaceEngine
    | RetireEngine
    | CheckStore
    | PersistState
    | SaveFirst
    | AppendAudit
)

Step = tuple[State, list[Command]]
"""The state after an event, and what is to be performed, in order."""
