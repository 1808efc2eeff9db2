# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way of a candidate up to its gates: fetch, verify, make fit for this node, gate; each in a throw-away worker."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from edgeagent.core.form import FrameSizes
from edgeagent.core.lifecycle import Stage
from edgeagent.core.model import Contract
from edgeagent.core.state import Goal, PrepareMode, VersionRef
from edgeagent.core.tuning import Tolerance
from edgeagent.errors import EdgeAgentError
from edgeagent.gates import contract as contract_gate
from edgeagent.runtimes.variants import Variant, variants
from edgeagent.serving.artifact import Artifact
from edgeagent.serving.frame import Frame
from edgeagent.serving.spare_worker import SpareWorker, libraries_of
from edgeagent.store.cache import Cache, describe
from edgeagent.update.autotune import can_serve_unconverted, tune, unconverted
from edgeagent.update.tuning_cache import TuningResult, VerifiedVersion, has_passed, load_result, mark_passed
from edgeagent.update.worker_task import KIND, MODULE, Task, TaskFailedError
from edgeagent.workers.messages import Control
from edgeagent.workers.process import WorkerProcess

_log = structlog.get_logger(__name__)
_FIRST_FRAMES_S = 5.0
"""How long a version that can be made for the frames waits for a camera that hasn't sent one yet."""
_LOOK_S = 0.05
_TRIED_WITH = ("edgeagent.runtimes.detection.detector", "onnx")
"""What trials and gates import, whatever the runtime."""


class RefusedError(Exception):
    """The candidate can't go on. `transient`: network or disk are to blame; `fingerprint`: of what the store holds."""

    def __init__(self, why: str, transient: bool = False, fingerprint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.transient = transient
        self.fingerprint = fingerprint


@dataclass(frozen=True)
class PrepareSettings:
    """What preparing needs to know. Times in seconds, memory in bytes; `confidence` from which objects count."""

    store_url: str
    storage_options: dict[str, Any]
    timeout_s: float
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

    @property
    def prepared(self) -> Path:
        """Where converted engines are kept."""
        return self.cache / "prepared"


@dataclass
class PreparationProgress:
    """How far a preparation is, for status: stage, gate, variant on trial, and the file being fetched in bytes."""

    stage: Stage = Stage.FETCHING
    gate: str = ""
    trial: str = ""
    file: str = ""
    done: int = 0
    total: int = 0
    resumed: int = 0


class Preparation:
    """One candidate, from FETCHING to the end of GATING."""

    def __init__(
        self,
        model: str,
        goal: Goal,
        settings: PrepareSettings,
        active_contract: Contract | None,
        recent_frames: Callable[[], Sequence[Frame]],
        frame_sizes: Callable[[], FrameSizes],
        on_stage: Callable[[Stage, str], None],
        refused: set[str],
        mode: PrepareMode = PrepareMode.UPDATE,
        backend: str = "",
    ) -> None:
        """frame_sizes: asked on the event loop's thread only. refused: digests that this node won't serve; what the
        cache holds of them is not the last word.

        mode: at BOOT what was prepared for frames of another shape serves, or the version as it was published, for
        now. For a REBUILD it is made for this node and its frames as they are, or refused when that can't be done now.
        backend: what it will likely be tried in.
        """
        self.report = PreparationProgress()
        self.version = goal.version
        self.task: Task | None = None
        self._model = model
        self._goal = goal
        self._settings = settings
        self._active_contract = active_contract
        self._recent_frames = recent_frames
        self._frame_sizes = frame_sizes
        self._on_stage = on_stage
        self._refused = refused
        self._mode = mode
        self._backend = backend
        self.spare = SpareWorker(KIND, MODULE)

    async def run(self) -> Artifact:
        """Everything up to the gates. No worker is left when this ends or is cancelled.

        Raises RefusedError; OSError when there is no process, descriptor or memory to be had.
        """
        try:
            return await self._run_through()
        finally:
            await self.spare.end()

    async def _run_through(self) -> Artifact:
        known, provisional = await asyncio.to_thread(self._known, self._frame_sizes()), False
        if known:
            source, tuned = known
            self._enter(Stage.VERIFYING, source.digest)
            self._enter(Stage.PREPARING)
        else:
            fetched = await self._fetch()
            self._enter(Stage.PREPARING)
            self._check_claim(fetched)
            if _takes_any_size(fetched) and self._mode is not PrepareMode.BOOT:
                await self._wait_for_first_frames()
            source = await asyncio.to_thread(self._source, fetched, self._frame_sizes())
            provisional = (
                self._mode is PrepareMode.BOOT and len(source.variants) > 1 and can_serve_unconverted(source)
            )
            tuned = (
                unconverted(source) if provisional else await self._make_fit(source, fetched["fingerprint"])
            )
            if self._mode is PrepareMode.REBUILD and tuned.folder is None:
                # A makeshift is for a version that has nothing better; here one serves already.
                raise RefusedError(tuned.trials[-1].why, transient=True)
        if self._mode is PrepareMode.UPDATE:
            self._enter(Stage.GATING)
            if not known:
                if not tuned.gated:
                    await self._pass_gates(source, tuned, fetched["fingerprint"])
                await asyncio.to_thread(self._mark_passed, tuned)
        if not known and tuned.variant not in source.variants:
            # The gates had nothing against the weights, and yet their way to what was asked for begins with a failure.
            raise RefusedError(tuned.trials[0].why, fingerprint=fetched["fingerprint"])
        return Artifact(
            ref=VersionRef(self._goal.version, source.digest),
            weights=tuned.weights,
            contract=source.contract,
            variant=tuned.variant,
            trials=tuned.trials,
            companions=source.companions,
            imgsz=tuned.imgsz,
            compiled=tuned.compiled,
            provisional=provisional,
        )

    def _known(self, sizes: FrameSizes) -> tuple[VerifiedVersion, TuningResult] | None:
        """The version as the cache holds it, hashed, if this node has prepared and gated just that before.

        Versions are immutable: then there is nothing to ask the store for, and no worker to wait for.
        """
        try:
            cache = Cache(self._settings.cache)
            cached = cache.lookup(self._model, self._goal.version, self._goal.digest or None)
            if cached is None or cached.manifest.digest in self._refused:
                return None
            fetched = {**describe(cached), "fingerprint": ""}
            source = self._source(fetched, sizes)
            any_size = not sizes.seen or self._mode is PrepareMode.BOOT
            tuned = load_result(source, self._settings.prepared, any_size)
            ungated = self._mode is PrepareMode.UPDATE
            if tuned is None or (ungated and not has_passed(tuned, self._terms())):
                return None
            cache.verify(cached)
            cache.mark_used(cached)
        except (EdgeAgentError, RefusedError, OSError) as e:
            _log.info("fetched and prepared anew", model=self._model, version=self.version, why=str(e))
            return None
        return source, tuned

    def _source(self, fetched: dict[str, Any], sizes: FrameSizes) -> VerifiedVersion:
        """Raises RefusedError. Looks at what is installed: not for the event loop."""
        s, alternates = self._settings, fetched["ready"]
        try:
            possible = variants(fetched["format"], s.backend, s.device, alternates)
            all_here = variants(fetched["format"], device=s.device, alternates=alternates)
        except EdgeAgentError as e:
            raise RefusedError(str(e), fingerprint=fetched["fingerprint"]) from e
        # A GPU may be there and of no use; what the others are compared with is sure to run.
        reference = next((v for v in all_here if v.device == "cpu"), all_here[0])
        contract = Contract.from_values(fetched["contract"])
        return VerifiedVersion(
            digest=fetched["digest"],
            weights=Path(fetched["weights"]),
            format=fetched["format"],
            reference=reference,
            variants=possible,
            threads=s.threads,
            max_batch=s.max_batch,
            tolerance=s.tolerance,
            contract=contract,
            imgsz=contract.fitted(sizes.seen) if _takes_any_size(fetched) else None,
            alternates={fmt: Path(path) for fmt, path in alternates.items()},
            companions=fetched["parts"],
            golden=fetched["golden"],
        )

    async def _wait_for_first_frames(self) -> None:
        """Until every pipeline knows how large its frames are, or their cameras have had their time."""
        until = time.monotonic() + _FIRST_FRAMES_S
        while not self._frame_sizes().complete and time.monotonic() < until:
            await asyncio.sleep(_LOOK_S)

    def _check_claim(self, fetched: dict[str, Any]) -> None:
        """What the manifest says must be welcome before anything is converted; that it is true the gates will see.

        Raises RefusedError."""
        if self._mode is not PrepareMode.UPDATE or self._goal.directive.allow_new_contract:
            return
        if not self._active_contract:
            return
        failures = contract_gate.changes(self._active_contract, Contract.from_values(fetched["contract"]))
        if failures:
            self._enter(Stage.GATING)
            raise RefusedError(f"gate contract: {'; '.join(failures)}", fingerprint=fetched["fingerprint"])

    def _terms(self) -> str:
        """What the gates judge by, beside the version itself: what serves, and leave to change it."""
        active = self._active_contract
        terms = json.dumps([active and [active.task, active.names], self._goal.directive.allow_new_contract])
        return hashlib.sha256(terms.encode()).hexdigest()[:16]

    async def _fetch(self) -> dict[str, Any]:
        settings = {
            "task": "fetch",
            "model": self._model,
            "version": self._goal.version,
            "known_good": self._mode is not PrepareMode.UPDATE,
            "digest": self._goal.digest,
            "cache": str(self._settings.cache),
            **store_settings(self._settings),
        }
        try:
            self._have_next_wait()
            return await self._run(settings, self._settings.fetch_s, None)
        except TaskFailedError as e:
            # While it only fetches, no weights have been touched: a sudden end is the machine's doing.
            transient = e.body.get("transient", True)
            why = e.why if e.body else f"{self.report.stage.lower()}: {e.why}"
            raise RefusedError(why, transient, e.body.get("fingerprint", "")) from e

    async def _make_fit(self, source: VerifiedVersion, fingerprint: str) -> TuningResult:
        try:
            return await tune(source, self._settings.prepared, self)
        except TaskFailedError as e:
            raise RefusedError(e.why, e.transient, fingerprint) from e

    async def benchmark(self, source: VerifiedVersion, variant: Variant, folder: Path) -> dict[str, Any]:
        """See `Workshop`."""
        self.report.trial = variant.name
        settings = {
            **self._trial_settings(source, variant, folder),
            "task": "measure",
            "is_reference": variant == source.reference,
        }
        return await self._run(settings, self._patience(source, variant), self.spare.take())

    async def validate_similar(
        self, source: VerifiedVersion, variant: Variant, folder: Path
    ) -> list[dict[str, Any]]:
        """See `Workshop`."""
        settings = {
            **self._gate_settings(source),
            **self._trial_settings(source, variant, folder),
            "task": "prove",
            "reference": asdict(source.reference),
        }
        results: list[dict[str, Any]] = (
            await self._run(settings, self._patience(source, variant), self.spare.take())
        )["results"]
        return results

    def _trial_settings(self, source: VerifiedVersion, variant: Variant, folder: Path) -> dict[str, Any]:
        return {
            "variant": asdict(variant),
            "source": str(source.weights),
            "format": source.format,
            "ready": {fmt: str(path) for fmt, path in source.alternates.items()},
            "parts": dict(source.companions),
            "golden": list(source.golden),
            "imgsz": source.imgsz,
            "threads": source.threads,
            "max_batch": source.max_batch,
            "folder": str(folder),
            "confidence": self._settings.confidence,
            "tolerance": asdict(source.tolerance),
        }

    def _patience(self, source: VerifiedVersion, variant: Variant) -> float:
        """How long the worker that tries it may say nothing, in seconds."""
        converts = variant.needs_conversion(source.formats)
        return self._settings.convert_s if converts else self._settings.gate_s

    def _mark_passed(self, tuned: TuningResult) -> None:
        try:
            mark_passed(tuned, self._terms())
        except OSError as e:
            _log.warning("gates passed, which can't be remembered", version=self.version, why=str(e))

    async def _pass_gates(self, source: VerifiedVersion, tuned: TuningResult, fingerprint: str) -> None:
        settings = {
            "task": "gates",
            **self._gate_settings(source),
            "weights": str(tuned.weights),
            "variant": asdict(tuned.variant),
            "threads": source.threads,
            "max_batch": source.max_batch,
            "imgsz": tuned.imgsz,
            "compiled": str(tuned.compiled or ""),
        }
        try:
            await self._run(settings, self._settings.gate_s, self.spare.take())
        except TaskFailedError as e:
            why = e.why if e.body else f"gate {self.report.gate}: {e.why}"
            raise RefusedError(why, e.transient, fingerprint) from e

    def _gate_settings(self, source: VerifiedVersion) -> dict[str, Any]:
        return {
            "cache": str(self._settings.cache),
            "model": self._model,
            "version": self._goal.version,
            "digest": source.digest,
            "allow_new_contract": self._goal.directive.allow_new_contract,
            "active_contract": asdict(self._active_contract) if self._active_contract else None,
        }

    def _have_next_wait(self) -> None:
        """Have the worker for what comes after fetching import meanwhile, when it is known what that will need."""
        if self._backend and self._mode is PrepareMode.UPDATE:
            self.spare.start((*_TRIED_WITH, *libraries_of("onnxruntime", self._backend)), low_priority=True)

    async def _run(
        self, settings: dict[str, Any], quiet_s: float, spare: WorkerProcess | None
    ) -> dict[str, Any]:
        limit = self._settings.memory_limit
        self.task = Task(settings, quiet_s, limit, self._heard, self._recent_frames, spare)
        return await self.task.run()

    def _enter(self, stage: Stage, digest: str = "") -> None:
        self.report = PreparationProgress(stage=stage)
        self._on_stage(stage, digest)

    def _heard(self, message: Control) -> None:
        body = message.body
        match message.op:
            case "stage":
                self._enter(Stage(body["stage"]), body["digest"])
            case "trial":
                self.report.trial = body["name"]
            case "gate":
                self.report.gate = body["name"]
            case "progress":
                r = self.report
                r.file, r.done, r.total, r.resumed = (
                    body["file"],
                    body["done"],
                    body["total"],
                    body["resumed"],
                )


def _takes_any_size(fetched: dict[str, Any]) -> bool:
    """Whether the version can be made for frames of any shape; files that are ready have the size that they have."""
    return fetched["format"] == "pt" and not fetched["ready"]


async def store_fingerprint(model: str, version: str, settings: PrepareSettings) -> str:
    """What the store holds under a version now; "" when that can't be told just now."""
    asked = {"task": "fingerprint", "model": model, "version": version, **store_settings(settings)}
    try:
        return str((await Task(asked, settings.fetch_s, settings.memory_limit).run())["value"])
    except (TaskFailedError, OSError):
        return ""


def store_settings(s: PrepareSettings) -> dict[str, Any]:
    """How a worker reaches the model store."""
    return {"store_url": s.store_url, "storage_options": s.storage_options, "timeout_s": s.timeout_s}
