# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way of a candidate up to its gates: fetch, verify, make fit for this node, gate; each in a throw-away worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import structlog

from edgeagent import gates
from edgeagent.core.contract import Names
from edgeagent.core.form import FrameSizes
from edgeagent.core.gating import GateResult, GateTerms
from edgeagent.core.lifecycle import Stage
from edgeagent.core.model import Contract
from edgeagent.core.state import Goal, PrepareMode
from edgeagent.core.tuning import Tuning
from edgeagent.core.verified import VerifiedVersion
from edgeagent.errors import EdgeAgentError, UsageError
from edgeagent.gates import contract as contract_gate
from edgeagent.runtimes.variants import variants
from edgeagent.serving.artifact import Artifact
from edgeagent.serving.frame import Frame
from edgeagent.store.cache import Cache
from edgeagent.update.autotune import can_serve_unconverted, tune, unconverted
from edgeagent.update.confirm import confirm
from edgeagent.update.gate_terms import gate_terms, room_terms
from edgeagent.update.trial_runner import PrepareSettings, TrialRunner
from edgeagent.update.tuning_cache import (
    TuningRequest,
    last_passed,
    load_passed,
    load_result,
    store_passed,
)
from edgeagent.update.worker_task import TaskFailedError
from edgeagent.workers.tasks.engine import LoadPlan
from edgeagent.workers.tasks.prepare import (
    Fetched,
    FetchProgress,
    FetchVersion,
    GateFinished,
    GateProgress,
    GateStarted,
    Report,
    RunGates,
    StageEntered,
    TrialSetup,
    TrialStarted,
)

_log = structlog.get_logger(__name__)
_FIRST_FRAMES_S = 5.0
"""How long a version that can be made for the frames waits for a camera that hasn't sent one yet."""
_LOOK_S = 0.05


class RefusedError(Exception):
    """The candidate can't go on. `transient`: network or disk are to blame; `fingerprint`: of what the store holds."""

    def __init__(self, why: str, transient: bool = False, fingerprint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.transient = transient
        self.fingerprint = fingerprint


@dataclass(frozen=True)
class PreparationContext:
    """What a preparation sees of the node, and says to it; all on the event loop's thread.

    active_contract, active_digest, active_plan: of what serves; recent_frames: of the line, lent for a while;
    on_stage(stage, digest, gates): a stage is reached, or a gate has found something on it. refused: digests that
    this node won't serve; what the cache holds of them is not the last word. backend: what the version will likely be
    tried in, "" when nobody knows. on_backend: what it is going to be loaded in, as soon as that is known.
    names_in_force: the class names by the ids that the records have. interval_ms: between two frames of the fastest
    live pipeline, 0 without one. freed_by_stop: bytes of memory, and of GPU memory, that its end gives back.
    beside_others: frames of other lines go before the first of this one.
    """

    active_contract: Contract | None
    recent_frames: Callable[[], Sequence[Frame]]
    frame_sizes: Callable[[], FrameSizes]
    on_stage: Callable[[Stage, str, tuple[GateResult, ...]], None]
    refused: frozenset[str] = frozenset()
    backend: str = ""
    on_backend: Callable[[str], None] = lambda backend: None
    names_in_force: Names = ()
    interval_ms: Callable[[], float] = lambda: 0.0
    freed_by_stop: Callable[[], tuple[int, int]] = lambda: (0, 0)
    active_plan: LoadPlan | None = None
    active_digest: str = ""
    beside_others: bool = False


@dataclass
class PreparationProgress:
    """How far a preparation is, for status: stage, gate and how much of it, variant on trial, the file being fetched in
    bytes; and why it waits to begin its last step anew."""

    stage: Stage = Stage.FETCHING
    gate: str = ""
    gate_done: int = 0
    gate_total: int = 0
    trial: str = ""
    file: str = ""
    done: int = 0
    total: int = 0
    resumed: int = 0
    pause: str = ""


class Preparation:
    """One version, from FETCHING to the end of GATING."""

    def __init__(
        self,
        model: str,
        goal: Goal,
        mode: PrepareMode,
        settings: PrepareSettings,
        context: PreparationContext,
    ) -> None:
        self.report = PreparationProgress()
        self.version = goal.version
        nothing_serves = context.active_contract is None and not context.beside_others
        line_waits = nothing_serves and mode is not PrepareMode.PRELOAD
        self.runner = TrialRunner(
            settings, context.recent_frames, self._heard, self.pauses, not line_waits, context.active_plan
        )
        self._model = model
        self._goal = goal
        self._mode = mode
        self._settings = settings
        self._context = context
        self._gates: tuple[GateResult, ...] = ()

    async def run(self) -> Artifact:
        """Everything up to the gates. No worker is left when this ends or is cancelled.

        Raises RefusedError; UsageError for thresholds that no gate has; OSError when there is no process, descriptor or
        memory to be had.
        """
        try:
            await asyncio.to_thread(lambda: self._terms)
            self._check_configured()
            known = await asyncio.to_thread(self._load_known, self._context.frame_sizes())
            asks = known and self._mode.is_unproven
            if asks and await self.runner.find_withdrawn(self._model, self.version):
                known = None  # the fetch refuses it, and says what for
            is_answer = known and (self._mode is not PrepareMode.REBUILD or known.tuning is Tuning.SETTLED)
            return self._announce(known) if known and is_answer else await self._fetch_and_make()
        finally:
            await self.runner.close()

    def _check_configured(self) -> None:
        """Raises UsageError for a gate that the directive has thresholds for, and this node nothing to judge by. What
        served well before serves, whatever the configuration says by now."""
        asked = self._mode.is_unproven and "replay" in self._goal.directive.gates
        if asked and not self._settings.replay:
            raise UsageError(
                "gates.replay of the intent",
                "this node keeps no recent frames",
                "set update.recent_frames.keep, or leave it out",
            )

    def pauses(self, why: str) -> None:
        """Its last step is to be begun anew, or, with "", is now."""
        self.report.pause = why
        self._gates = ()  # they run anew, too

    def room(self) -> tuple[Mapping[str, float], bool]:
        """The thresholds of the gate `memory`, and whether what serves may be stopped to make room for the version."""
        return room_terms(self._goal.directive, self._mode, self._settings)

    @cached_property
    def _terms(self) -> GateTerms:
        """What the gates judge by. Reads the disk when it is first asked for: not on the event loop."""
        c = self._context
        return gate_terms(
            self._goal.directive,
            self._mode,
            self._settings,
            c.active_contract,
            c.names_in_force,
            c.interval_ms(),
            c.active_digest,
            c.freed_by_stop(),
        )

    # -- what was prepared before --------------------------------------------------------------------

    def _load_known(self, sizes: FrameSizes) -> Artifact | None:
        """The version as the cache holds it, hashed, if this node has prepared and gated just that before.

        Versions are immutable: then there is nothing to fetch, and nothing to try.
        """
        try:
            cache, key = Cache(self._settings.cache), gates.key(self._terms)
            cached = cache.lookup(self._model, self._goal.version, self._goal.digest or None)
            if cached is None or cached.manifest.digest in self._context.refused:
                return None
            request = self._request(cached.verified, sizes)
            any_size = not sizes.seen or self._mode is PrepareMode.BOOT
            artifact = load_result(request, self._settings.prepared, any_size)
            if artifact is None:
                return None
            passed = load_passed(artifact, key) if self._mode.is_unproven else last_passed(artifact)
            if passed is None:
                return None
            cache.verify(cached)
            cache.mark_used(cached)
        except (EdgeAgentError, RefusedError, OSError) as e:
            _log.info("candidate.not_known", model=self._model, version=self.version, why=str(e))
            return None
        return replace(artifact, gates=passed)

    def _announce(self, known: Artifact) -> Artifact:
        """The stages of a version that needs none of their work."""
        self._enter(Stage.VERIFYING, known.version.digest)
        self._enter(Stage.PREPARING)
        if self._mode.is_unproven:
            self._enter(Stage.GATING, gates=known.gates)
        return known

    # -- what has to be made -------------------------------------------------------------------------

    async def _fetch_and_make(self) -> Artifact:
        fetched = await self._fetch()
        try:
            return await self._make(fetched.version)
        except RefusedError as e:
            e.fingerprint = fetched.fingerprint
            raise
        except TaskFailedError as e:
            raise RefusedError(e.why, e.transient, fetched.fingerprint) from e

    async def _fetch(self) -> Fetched:
        task = FetchVersion(
            store=self._settings.store,
            cache=self._settings.cache,
            model=self._model,
            version=self._goal.version,
            digest=self._goal.digest,
            known_good=not self._mode.is_unproven,
        )
        if self._context.backend and self._mode.is_unproven:
            self.runner.have_one_wait(self._context.backend)
        try:
            return await self.runner.fetch(task)
        except TaskFailedError as e:
            if e.answered:
                raise RefusedError(e.why, e.transient, e.fingerprint) from e
            # While it only fetches, no weights have been touched: a sudden end is the machine's doing.
            raise RefusedError(f"{self.report.stage.lower()}: {e.why}", transient=True) from e

    async def _make(self, version: VerifiedVersion) -> Artifact:
        """The version in its form for this node, gated. Raises RefusedError, TaskFailedError, OSError."""
        self._enter(Stage.PREPARING)
        self._check_claim(version)
        request = await asyncio.to_thread(self._request, version, self._context.frame_sizes())
        artifact = await self._serve_soon(request) if self._line_waits else None
        if artifact is None:
            if version.takes_any_size and self._mode is not PrepareMode.BOOT:
                await self._wait_for_first_frames()
                request = await asyncio.to_thread(self._request, version, self._context.frame_sizes())
            artifact = await self._tuned(request)
        if self._mode is PrepareMode.REBUILD and artifact.folder is None:
            # A fallback is for a version that has nothing better; here one serves already.
            raise RefusedError(artifact.trials[-1].why, transient=True)
        self._context.on_backend(artifact.plan.variant.backend)
        if self._mode is not PrepareMode.BOOT:
            artifact = await self._pass_gates(request, artifact)
        if artifact.plan.variant not in request.variants:
            # The gates had nothing against the weights, and yet their way to what was asked for begins with a failure.
            raise RefusedError(artifact.trials[0].why)
        return artifact

    @property
    def _line_waits(self) -> bool:
        """Whether frames have no results until this version serves: then the form that can serve soonest is the best,
        and what is fastest is found out beside the line."""
        nothing_serves = self._context.active_contract is None
        return self._mode is PrepareMode.BOOT or (self._mode is PrepareMode.UPDATE and nothing_serves)

    async def _serve_soon(self, request: TuningRequest) -> Artifact | None:
        """The version as it was published, if there is a choice to make and no tuning result to go by; else None."""
        if len(request.variants) == 1 or not can_serve_unconverted(request):
            return None
        if await asyncio.to_thread(load_result, request, self._settings.prepared):
            return None
        return replace(unconverted(request), tuning=Tuning.UNCONVERTED)

    async def _tuned(self, request: TuningRequest) -> Artifact:
        """What is fastest here; in a rebuild, a provisional answer is confirmed."""
        root = self._settings.prepared
        known = await asyncio.to_thread(load_result, request, root)
        if known and known.tuning is Tuning.PROVISIONAL and self._mode is PrepareMode.REBUILD:
            return await confirm(request, known, root, self.runner)
        return known or await tune(request, root, self.runner, self._terms)

    def _check_claim(self, version: VerifiedVersion) -> None:
        """What the manifest says must be welcome before anything is converted; that it is true the gates will see.

        Raises RefusedError."""
        if not self._mode.is_unproven:
            return
        if reasons := contract_gate.changes(self._terms, version.contract):
            result = GateResult.judged("contract", reasons)
            self._enter(Stage.GATING, gates=(result,))
            raise RefusedError(result.failure)

    async def _wait_for_first_frames(self) -> None:
        """Until every pipeline knows how large its frames are, or their cameras have had their time."""
        until = time.monotonic() + _FIRST_FRAMES_S
        while not self._context.frame_sizes().complete and time.monotonic() < until:
            await asyncio.sleep(_LOOK_S)

    def _request(self, version: VerifiedVersion, sizes: FrameSizes) -> TuningRequest:
        """Raises RefusedError. Looks at what is installed: not for the event loop."""
        s = self._settings
        try:
            possible = variants(version.format, s.backend, s.device, version.alternates)
            all_here = variants(version.format, device=s.device, alternates=version.alternates)
        except EdgeAgentError as e:
            raise RefusedError(str(e)) from e
        # A GPU may be there and of no use; what the others are compared with is sure to run.
        reference = next((v for v in all_here if v.device == "cpu"), all_here[0])
        setup = TrialSetup(
            version=version,
            reference=reference,
            threads=s.threads,
            max_batch=s.max_batch,
            imgsz=version.contract.fitted(sizes.seen) if version.takes_any_size else None,
            confidence=s.confidence,
            tolerance=s.tolerance,
        )
        return TuningRequest(setup, possible)

    async def _pass_gates(self, request: TuningRequest, artifact: Artifact) -> Artifact:
        """The artifact with what the gates found, all passed. Raises RefusedError, TaskFailedError, OSError."""
        self._enter(Stage.GATING, gates=artifact.gates)
        found = artifact.gates or await self._run_gates(request, artifact)
        if refused := next((result for result in found if not result.passed), None):
            raise RefusedError(refused.failure)
        artifact = replace(artifact, gates=found)
        try:
            await asyncio.to_thread(store_passed, artifact, gates.key(self._terms))
        except OSError as e:
            _log.warning("gates.not_remembered", model=self._model, version=self.version, why=str(e))
        return artifact

    async def _run_gates(self, request: TuningRequest, artifact: Artifact) -> tuple[GateResult, ...]:
        name = artifact.plan.variant.name
        parity = next((t.parity for t in artifact.trials if t.variant == name), None)
        task = RunGates(
            artifact.version, artifact.plan, self._terms, parity, tolerance=request.setup.tolerance
        )
        try:
            return await self.runner.run_gates(task)
        except TaskFailedError as e:
            if e.answered or not self.report.gate:
                raise
            # The gate in which the worker ended, or was killed, has had its say.
            result = GateResult.judged(self.report.gate, [e.why])
            self._found(result)
            return (result,)

    # -- what workers report -------------------------------------------------------------------------

    def _enter(self, stage: Stage, digest: str = "", gates: tuple[GateResult, ...] = ()) -> None:
        self.report = PreparationProgress(stage=stage)
        self._gates = gates
        self._context.on_stage(stage, digest, gates)

    def _found(self, result: GateResult) -> None:
        self._gates = (*self._gates, result)
        self._context.on_stage(self.report.stage, "", self._gates)

    def _heard(self, report: Report) -> None:
        match report:
            case StageEntered(stage, digest):
                self._enter(stage, digest)
            case TrialStarted(variant):
                self.report.trial = variant
            case GateStarted(name):
                self.report.gate, self.report.gate_done, self.report.gate_total = name, 0, 0
            case GateProgress(done, total):
                self.report.gate_done, self.report.gate_total = done, total
            case GateFinished(result):
                self._found(result)
            case FetchProgress(file, done, total, resumed):
                r = self.report
                r.file, r.done, r.total, r.resumed = file, done, total, resumed
