# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way of a candidate up to its gates: fetch, verify, make fit for this node, gate; each in a throw-away worker."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from edgeagent.core.lifecycle import Stage
from edgeagent.core.model import Contract
from edgeagent.core.state import Goal, Ref
from edgeagent.engines.variants import Variant, variants
from edgeagent.errors import EdgeAgentError
from edgeagent.gates.parity import Tolerance
from edgeagent.pipeline.frame import Frame
from edgeagent.serving.engine import Artifact
from edgeagent.serving.task import Task, TaskFailedError
from edgeagent.serving.tuning import Source, Verdict, has_passed, mark_passed, recall, tune
from edgeagent.store.cache import Cache, describe
from edgeagent.workers.messages import Control

_log = structlog.get_logger(__name__)


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
class Report:
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
        on_stage: Callable[[Stage, str], None],
        refused: set[str],
    ) -> None:
        """refused: digests that this node won't serve; what the cache holds of them is not the last word."""
        self.report = Report()
        self.version = goal.version
        self.task: Task | None = None
        self._model = model
        self._goal = goal
        self._settings = settings
        self._active_contract = active_contract
        self._recent_frames = recent_frames
        self._on_stage = on_stage
        self._refused = refused

    async def run(self) -> Artifact:
        """Everything up to the gates. No worker is left when this ends or is cancelled.

        Raises RefusedError; OSError when there is no process, descriptor or memory to be had.
        """
        known = await asyncio.to_thread(self._known)
        if known:
            fetched, verdict = known
            self._enter(Stage.VERIFYING, fetched["digest"])
            self._enter(Stage.PREPARING)
        else:
            fetched = await self._fetch()
            source = await asyncio.to_thread(self._source, fetched)
            self._enter(Stage.PREPARING)
            verdict = await self._make_fit(source, fetched)
        if not self._goal.known_good:
            self._enter(Stage.GATING)
            if not known:
                await self._pass_gates(fetched, verdict)
                await asyncio.to_thread(self._mark_passed, source)
        if not known and verdict.variant not in source.variants:
            # The gates had nothing against the weights, and yet their way to what was asked for begins with a failure.
            raise RefusedError(verdict.trials[0].why, fingerprint=fetched["fingerprint"])
        return Artifact(
            ref=Ref(self._goal.version, fetched["digest"]),
            weights=verdict.weights,
            contract=Contract.from_values(fetched["contract"]),
            variant=verdict.variant,
            trials=verdict.trials,
            parts=fetched["parts"],
        )

    def _known(self) -> tuple[dict[str, Any], Verdict] | None:
        """The version as the cache holds it, hashed, if this node has prepared and gated just that before.

        Versions are immutable: then there is nothing to ask the store for, and no worker to wait for.
        """
        try:
            cache = Cache(self._settings.cache)
            cached = cache.lookup(self._model, self._goal.version, self._goal.digest or None)
            if cached is None or cached.manifest.digest in self._refused:
                return None
            fetched = {**describe(cached), "fingerprint": ""}
            source = self._source(fetched)
            if not self._goal.known_good and not has_passed(source, self._settings.prepared, self._terms()):
                return None
            verdict = recall(source, self._settings.prepared)
            if verdict is None:
                return None
            cache.verify(cached)
            cache.mark_used(cached)
        except (EdgeAgentError, RefusedError, OSError) as e:
            _log.info("fetched and prepared anew", model=self._model, version=self.version, why=str(e))
            return None
        return fetched, verdict

    def _source(self, fetched: dict[str, Any]) -> Source:
        """Raises RefusedError. Looks at what is installed: not for the event loop."""
        s = self._settings
        try:
            possible = variants(fetched["format"], s.backend, s.device)
            reference = variants(fetched["format"], device=s.device)[0]
        except EdgeAgentError as e:
            raise RefusedError(str(e), fingerprint=fetched["fingerprint"]) from e
        return Source(
            digest=fetched["digest"],
            weights=Path(fetched["weights"]),
            format=fetched["format"],
            reference=reference,
            variants=possible,
            threads=s.threads,
            max_batch=s.max_batch,
            tolerance=s.tolerance,
        )

    def _terms(self) -> str:
        """What the gates judge by, beside the version itself: what serves, and leave to change it."""
        active = self._active_contract
        terms = json.dumps([active and [active.task, active.names], self._goal.allow_new_contract])
        return hashlib.sha256(terms.encode()).hexdigest()[:16]

    async def _fetch(self) -> dict[str, Any]:
        settings = {
            "task": "fetch",
            "model": self._model,
            "version": self._goal.version,
            "known_good": self._goal.known_good,
            "digest": self._goal.digest,
            "cache": str(self._settings.cache),
            **store_settings(self._settings),
        }
        try:
            return await self._run(settings, self._settings.fetch_s)
        except TaskFailedError as e:
            # While it only fetches, no weights have been touched: a sudden end is the machine's doing.
            transient = e.body.get("transient", True)
            why = e.why if e.body else f"{self.report.stage.lower()}: {e.why}"
            raise RefusedError(why, transient, e.body.get("fingerprint", "")) from e

    async def _make_fit(self, source: Source, fetched: dict[str, Any]) -> Verdict:
        s = self._settings

        async def measure(variant: Variant, folder: Path, is_reference: bool) -> dict[str, Any]:
            settings = {
                "task": "measure",
                "source": fetched["weights"],
                "format": fetched["format"],
                "variant": asdict(variant),
                "is_reference": is_reference,
                "threads": s.threads,
                "max_batch": s.max_batch,
                "folder": str(folder),
                "golden": fetched["golden"],
                "parts": fetched["parts"],
                "confidence": s.confidence,
                "tolerance": asdict(s.tolerance),
            }
            converts = variant.needs_conversion(fetched["format"])
            return await self._run(settings, s.convert_s if converts else s.gate_s)

        def on_trial(name: str) -> None:
            self.report.trial = name

        try:
            return await tune(source, s.prepared, measure, on_trial)
        except TaskFailedError as e:
            raise RefusedError(e.why, e.transient, fetched["fingerprint"]) from e

    def _mark_passed(self, source: Source) -> None:
        try:
            mark_passed(source, self._settings.prepared, self._terms())
        except OSError as e:
            _log.warning("gates passed, which can't be remembered", version=self.version, why=str(e))

    async def _pass_gates(self, fetched: dict[str, Any], verdict: Verdict) -> None:
        settings = {
            "task": "gates",
            "cache": str(self._settings.cache),
            "model": self._model,
            "version": self._goal.version,
            "digest": fetched["digest"],
            "weights": str(verdict.weights),
            "variant": asdict(verdict.variant),
            "threads": self._settings.threads,
            "max_batch": self._settings.max_batch,
            "allow_new_contract": self._goal.allow_new_contract,
            "active_contract": asdict(self._active_contract) if self._active_contract else None,
        }
        try:
            await self._run(settings, self._settings.gate_s)
        except TaskFailedError as e:
            why = e.why if e.body else f"gate {self.report.gate}: {e.why}"
            raise RefusedError(why, e.transient, fetched["fingerprint"]) from e

    async def _run(self, settings: dict[str, Any], quiet_s: float) -> dict[str, Any]:
        self.task = Task(settings, quiet_s, self._settings.memory_limit, self._heard, self._recent_frames)
        return await self.task.run()

    def _enter(self, stage: Stage, digest: str = "") -> None:
        self.report = Report(stage=stage)
        self._on_stage(stage, digest)

    def _heard(self, message: Control) -> None:
        body = message.body
        match message.op:
            case "stage":
                self._enter(Stage(body["stage"]), body["digest"])
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
