# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tasks of a preparation, each in a throw-away worker: settings, limits, and a worker that waits for the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from edgeagent.config import Config, ModelStoreConfig
from edgeagent.config.verdict import GatesConfig
from edgeagent.core.gating import GateResult, GateTerms
from edgeagent.core.tuning import Tolerance
from edgeagent.runtimes.variants import Variant
from edgeagent.serving.frame import Frame
from edgeagent.serving.spare_worker import SpareWorker, libraries_of
from edgeagent.store.pace import Pace
from edgeagent.update.interruption import repeat_when_killed
from edgeagent.update.worker_task import PROGRAM, TaskFailedError, WorkerTask
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.tasks.engine import LoadPlan
from edgeagent.workers.tasks.prepare import (
    Benchmark,
    BenchmarkResult,
    Fetched,
    FetchVersion,
    FindWithdrawn,
    Fingerprint,
    GatesRun,
    Prove,
    Proven,
    Report,
    RunGates,
    SimilarResult,
    StoreAccess,
    StoreFingerprint,
    Task,
    TrialSetup,
    ValidateSimilar,
    Withdrawn,
)

_TRIED_WITH = ("edgeagent.runtimes.detection.detector", "onnx")
"""What trials and gates import, whatever the runtime."""
_HASTE_S = 5.0
"""How long a store may take to answer what nothing has to wait for."""
MEASURED = ".measured"
"""The folder's name begins with a dot: whoever looks through what was prepared passes it over."""
_MB = 1 << 20
A = TypeVar("A")


@dataclass(frozen=True)
class PrepareSettings:
    """What preparing needs to know. Times in seconds, memory in bytes; `confidence` from which objects count, `iou` of
    NMS: the pipelines'. gates: their thresholds; golden: the labelled pictures of this site; replay: folders of recent
    frames. fetch_spread_s: within which a version of a roll-out is fetched."""

    store: StoreAccess
    cache: Path
    backend: str
    device: str
    threads: int
    max_batch: int
    fetch_s: float
    gate_s: float
    convert_s: float
    memory_limit: int
    confidence: float
    tolerance: Tolerance
    iou: float = 0.45
    gates: GatesConfig = field(default_factory=GatesConfig)
    golden: Path | None = None
    stop_start: bool = False
    replay: tuple[Path, ...] = ()
    fetch_spread_s: float = 0.0

    @property
    def prepared(self) -> Path:
        """Where converted engines are kept."""
        return self.cache / "prepared"

    @property
    def measured(self) -> Path:
        """Where gates keep what they have measured on what serves."""
        return self.prepared / MEASURED

    def limits(self, silence_s: float) -> WorkerLimits:
        """Of a preparing worker that may say nothing for so long, from its start on."""
        return WorkerLimits(self.memory_limit, silence_s=silence_s, start_s=silence_s)


def prepare_settings(
    config: Config, model: str, threads: int, cache: Path, replay: tuple[Path, ...]
) -> PrepareSettings:
    """Of a model, as the node is configured. threads: of a worker; replay: where recent frames of its pipelines are."""
    engine, update = config.engine, config.update
    pipelines = [p for p in config.pipelines if p.model == model]
    own_iou = config.detections(model).iou
    return PrepareSettings(
        store=store_access(config.model_store),
        cache=cache,
        backend=engine.backend,
        device=engine.device,
        threads=threads,
        max_batch=engine.max_batch,
        fetch_s=update.fetch_seconds,
        gate_s=update.gate_seconds,
        convert_s=update.convert_seconds,
        confidence=min(p.confidence for p in pipelines),
        iou=pipelines[0].iou if own_iou is None else own_iou,
        gates=update.gates,
        golden=update.golden.get(model),
        stop_start=update.mode == "stop-start",
        replay=replay,
        tolerance=Tolerance(engine.parity.iou, engine.parity.score),
        memory_limit=update.candidate_memory_mb * _MB,
        fetch_spread_s=config.fleet.fetch_spread_seconds,
    )


class TrialRunner:
    """Runs tasks one after the other, and knows the worker of now. All raise TaskFailedError, OSError."""

    def __init__(
        self,
        settings: PrepareSettings,
        recent_frames: Callable[[], Sequence[Frame]],
        on_report: Callable[[Report], None],
        on_pause: Callable[[str], None],
        low_priority: bool = True,
        active: LoadPlan | None = None,
    ) -> None:
        """on_pause: called with why a task waits to be begun anew, and with "" when it goes on. low_priority: for the
        sake of the line beside it; one that waits for what is prepared has none. active: what serves, for the
        gates to compare with."""
        self.task: WorkerTask | None = None
        self.spare = SpareWorker()
        self._settings = settings
        self._recent_frames = recent_frames
        self._on_report = on_report
        self._on_pause = on_pause
        self._program = replace(PROGRAM, low_priority=low_priority)
        self._active = active

    def have_one_wait(self, backend: str) -> None:
        """Have the worker of the next task import meanwhile what trials in `backend` need."""
        libraries = (*_TRIED_WITH, *libraries_of("onnxruntime", backend))
        self.spare.start(replace(self._program, libraries=libraries))

    async def close(self) -> None:
        """Return when no worker is left."""
        await self.spare.end()

    async def fetch(self, task: FetchVersion) -> Fetched:
        """Bring a version into the cache. Takes no worker that waits: that one has imported something else."""
        return await self._run(task, Fetched, self._settings.fetch_s, take_spare=False)

    async def find_withdrawn(self, model: str, version: str) -> str:
        """Why the version was withdrawn; "" if it wasn't, or when that can't be told: it is on this node already, and a
        store that is away keeps no node from what it has."""
        task = FindWithdrawn(_in_haste(self._settings.store), ((model, version),))
        try:
            (reason,) = (await self._run(task, Withdrawn, self._settings.fetch_s, take_spare=False)).reasons
        except (TaskFailedError, OSError):
            return ""
        return reason

    async def benchmark(
        self, setup: TrialSetup, variant: Variant, folder: Path, compares: bool = True
    ) -> BenchmarkResult:
        """One trial, in a process of its own. folder: for what a trial makes, and leaves to the next; compares: also
        with the reference, which must have been tried before."""
        silence_s = self._silence_s(setup, variant)
        return await self._run(Benchmark(setup, variant, folder, compares), BenchmarkResult, silence_s)

    async def prove(self, setup: TrialSetup, variant: Variant, folder: Path, pictures: int) -> Proven:
        """`variant` and the reference in one process, on so many pictures, as they come."""
        silence_s = self._silence_s(setup, variant)
        return await self._run(Prove(setup, variant, folder, pictures), Proven, silence_s)

    async def validate_similar(
        self, setup: TrialSetup, variant: Variant, folder: Path, terms: GateTerms
    ) -> SimilarResult:
        """The reference, `variant` if it is another, and all gates, in one process."""
        silence_s = self._silence_s(setup, variant)
        task = ValidateSimilar(setup, variant, folder, terms, self._active, self._settings.measured)
        return await self._run(task, SimilarResult, silence_s)

    async def run_gates(self, task: RunGates) -> tuple[GateResult, ...]:
        """What the gates found, beside what serves."""
        task = replace(task, active=self._active, measured=self._settings.measured)
        return (await self._run(task, GatesRun, self._settings.gate_s)).results

    def _silence_s(self, setup: TrialSetup, variant: Variant) -> float:
        converts = variant.needs_conversion(setup.version.files)
        return self._settings.convert_s if converts else self._settings.gate_s

    async def _run(self, task: Task, expected: type[A], silence_s: float, take_spare: bool = True) -> A:
        async def run() -> A:
            spare = self.spare.take() if take_spare else None
            limits = self._settings.limits(silence_s)
            self.task = WorkerTask(task, limits, self._on_report, self._recent_frames, spare, self._program)
            return await self.task.run(expected)

        return await repeat_when_killed(run, self._on_pause)


def store_access(config: ModelStoreConfig) -> StoreAccess:
    """How a node reaches its model store."""
    pace = Pace(config.min_bytes_per_second, config.pace_seconds)
    return StoreAccess(config.url, config.storage_options, config.timeout_seconds, pace)


async def find_withdrawn(
    versions: Sequence[tuple[str, str]], store: StoreAccess, limits: WorkerLimits
) -> Sequence[str] | None:
    """Why each of the versions, with its model before it, was withdrawn, "" where it wasn't; None when that can't be
    told just now."""
    try:
        answer = await WorkerTask(FindWithdrawn(store, tuple(versions)), limits).run(Withdrawn)
    except (TaskFailedError, OSError):
        return None
    return answer.reasons if len(answer.reasons) == len(versions) else None


def _in_haste(store: StoreAccess) -> StoreAccess:
    return replace(store, timeout_s=min(store.timeout_s, _HASTE_S))


async def store_fingerprint(model: str, version: str, settings: PrepareSettings) -> str:
    """What the store holds under a version now; "" when that can't be told just now."""
    task = Fingerprint(settings.store, model, version)
    try:
        answer = await WorkerTask(task, settings.limits(settings.fetch_s)).run(StoreFingerprint)
        return answer.value
    except (TaskFailedError, OSError):
        return ""
