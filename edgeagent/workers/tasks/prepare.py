# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes between the node and a preparing worker: tasks, reports on the way, answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from edgeagent.core.gating import GateResult, GateTerms
from edgeagent.core.golden import GoldenReport
from edgeagent.core.lifecycle import Stage
from edgeagent.core.model import Contract
from edgeagent.core.releases import ReleaseRow
from edgeagent.core.text import FreeText, cut
from edgeagent.core.tuning import Parity, Tolerance
from edgeagent.core.verified import VerifiedVersion
from edgeagent.errors import EdgeAgentError
from edgeagent.runtimes.variants import Variant
from edgeagent.store.pace import DEFAULT_PACE, Pace
from edgeagent.workers.tasks.engine import LoadPlan

# -- tasks -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoreAccess:
    """How to reach the model store. timeout_s: of one request, seconds; pace: the least that it must keep."""

    url: str
    options: dict[str, Any]
    timeout_s: float
    pace: Pace = DEFAULT_PACE


@dataclass(frozen=True)
class FetchVersion:
    """Bring a version into the cache, whole and hashed. known_good: the `digest` that has served well here: what the
    cache holds of it is taken, anything else refused. Answer: Fetched."""

    store: StoreAccess
    cache: Path
    model: str
    version: str
    digest: str
    known_good: bool


@dataclass(frozen=True)
class Fingerprint:
    """What the store holds under a version now, without fetching it. Answer: StoreFingerprint."""

    store: StoreAccess
    model: str
    version: str


@dataclass(frozen=True)
class FindWithdrawn:
    """Which of these versions, each with its model before it, no node is to take up any more. Answer: Withdrawn."""

    store: StoreAccess
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ListVersions:
    """What the store holds of a model; of more than `most` versions the newest. Reports VersionsRead and VersionFound.
    Answer: VersionsListed."""

    store: StoreAccess
    model: str
    most: int


@dataclass(frozen=True)
class TrialSetup:
    """What the trials of a version have in common.

    reference: what the others are compared with: it leaves its pictures and boxes in the folder of the trials. imgsz:
    (height, width) to use weights at that leave it open. confidence: from which objects count.
    """

    version: VerifiedVersion
    reference: Variant
    threads: int
    max_batch: int
    imgsz: tuple[int, int] | None
    confidence: float
    tolerance: Tolerance


@dataclass(frozen=True)
class Benchmark:
    """Convert for one variant, if need be; see how fast it is and, if it `compares`, whether it finds what the
    reference found. folder: for what a trial makes, and leaves to the next. Answer: BenchmarkResult."""

    setup: TrialSetup
    variant: Variant
    folder: Path
    compares: bool


@dataclass(frozen=True)
class Prove:
    """Compare a variant with the reference, both in one process, on so many pictures as they come. Answer: Proven."""

    setup: TrialSetup
    variant: Variant
    folder: Path
    pictures: int


@dataclass(frozen=True)
class ValidateSimilar:
    """The reference, the variant that served a similar model best, and the gates, in one process. active, measured: as
    in RunGates. Answer: SimilarResult."""

    setup: TrialSetup
    variant: Variant
    folder: Path
    terms: GateTerms
    active: LoadPlan | None = None
    measured: Path | None = None


@dataclass(frozen=True)
class RunGates:
    """Run the gates on a version as it is to serve. parity: what the trial of its variant found. active: what serves,
    as it was loaded; measured: folder in which gates keep what they have measured. Answer: GatesRun."""

    version: VerifiedVersion
    plan: LoadPlan
    terms: GateTerms
    parity: Parity | None
    tolerance: Tolerance
    active: LoadPlan | None = None
    measured: Path | None = None


@dataclass(frozen=True)
class InspectWeights:
    """Read what a weights file says of itself. Answer: WeightsInspected."""

    weights: Path


@dataclass(frozen=True)
class Evaluate:
    """Judge weights by the labelled pictures of the set `golden`, and beside the weights `against`, if there are any.

    confidence, iou: as a pipeline has them; limits: thresholds of the golden gate, by name; threads: to infer with.
    Reports GateProgress. Answer: Evaluated.
    """

    weights: Path
    against: Path | None
    golden: Path
    confidence: float
    iou: float
    limits: Mapping[str, float]
    threads: int


# -- reports -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StageEntered:
    """The version entered a stage. digest: once it is known."""

    stage: Stage
    digest: str = ""


@dataclass(frozen=True)
class FetchProgress:
    """How far the fetch of a file is, in bytes. resumed_from: what was there already."""

    file: str
    done: int
    total: int
    resumed_from: int


@dataclass(frozen=True)
class VersionsRead:
    """How many of the store's versions of a model were read."""

    done: int
    total: int


@dataclass(frozen=True)
class VersionFound:
    """One version of a list."""

    row: ReleaseRow


@dataclass(frozen=True)
class TrialStarted:
    """A variant is on trial now."""

    variant: str


@dataclass(frozen=True)
class GateStarted:
    """A gate runs now."""

    name: str


@dataclass(frozen=True)
class GateProgress:
    """How far the gate that runs now is: so many of so many pictures, or of what else it goes through."""

    done: int
    total: int


@dataclass(frozen=True)
class GateFinished:
    """What a gate found."""

    result: GateResult


@dataclass(frozen=True)
class FramesWanted:
    """The worker wants the line's recent frames, and is done with those that it got before: rings, then FramesLent, are
    to follow."""


@dataclass(frozen=True)
class LentFrame:
    """Where a frame stands; pixels."""

    ring: int
    slot: int
    height: int
    width: int


@dataclass(frozen=True)
class FramesLent:
    """Node → preparing worker: the frames asked for, valid until it asks again, or ends."""

    frames: tuple[LentFrame, ...]


# -- answers -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fetched:
    """The version is in the cache, whole. fingerprint: of what the store holds, "" when it wasn't asked."""

    version: VerifiedVersion
    fingerprint: str


@dataclass(frozen=True)
class StoreFingerprint:
    """Of what the store holds."""

    value: str


@dataclass(frozen=True)
class Withdrawn:
    """Why each of the versions was withdrawn, in the order of the question; "" for one that wasn't."""

    reasons: tuple[FreeText, ...]


@dataclass(frozen=True)
class VersionsListed:
    """All that was to be said of the versions was said. left_out: how many older ones weren't; broken_tags: what is
    wrong with tags that can't be read."""

    left_out: int
    broken_tags: tuple[FreeText, ...]


@dataclass(frozen=True)
class BenchmarkResult:
    """What came of one variant. weights: the file that it loads; ms: of one frame; parity: None for the reference, or
    when it wasn't compared; waited: for which share of the time it had to wait for a processor while it was timed."""

    weights: Path
    compiled: Path | None
    ms: float
    parity: Parity | None
    waited: float


@dataclass(frozen=True)
class Proven:
    """What the comparison found, and the files that the variant loads."""

    weights: Path
    compiled: Path | None
    parity: Parity


@dataclass(frozen=True)
class SimilarResult:
    """What came of the reference, then of the variant if it is another; and the gates, as in GatesRun."""

    trials: tuple[BenchmarkResult, ...]
    gates: tuple[GateResult, ...]


@dataclass(frozen=True)
class GatesRun:
    """What the gates found, in order, up to the first that refused."""

    results: tuple[GateResult, ...]


@dataclass(frozen=True)
class WeightsInspected:
    """What the weights say of themselves."""

    contract: Contract
    format: str


@dataclass(frozen=True)
class Evaluated:
    """What the pictures say of the weights. reasons: what speaks against them, none when they pass; unlabelled:
    pictures without a label file, which count as showing nothing."""

    report: GoldenReport
    reasons: tuple[FreeText, ...]
    unlabelled: int


@dataclass(frozen=True)
class TaskFailed:
    """The task can't be done: an error in its three parts (see `EdgeAgentError`). transient: through network or disk;
    fingerprint: of what the store holds, if that was refused; wrong_input: what the task names is wrong, by UsageError.
    """

    what: FreeText
    why: FreeText
    todo: FreeText
    transient: bool
    fingerprint: str = ""
    wrong_input: bool = False

    def __str__(self) -> str:
        """In one line, as the error says it."""
        return cut(str(EdgeAgentError(self.what, self.why, self.todo)))


Task = (
    FetchVersion
    | Fingerprint
    | FindWithdrawn
    | ListVersions
    | Benchmark
    | Prove
    | ValidateSimilar
    | RunGates
    | InspectWeights
    | Evaluate
)
Report = (
    StageEntered
    | FetchProgress
    | VersionsRead
    | VersionFound
    | TrialStarted
    | GateStarted
    | GateProgress
    | GateFinished
)
Answer = (
    Fetched
    | StoreFingerprint
    | Withdrawn
    | VersionsListed
    | BenchmarkResult
    | Proven
    | SimilarResult
    | GatesRun
    | WeightsInspected
    | Evaluated
    | TaskFailed
)
PrepareMessage = Task | Report | Answer | FramesWanted | FramesLent
MESSAGES: tuple[type[PrepareMessage], ...] = get_args(PrepareMessage)
