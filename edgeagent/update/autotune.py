# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which way of running a version is fastest on this node: tried, proved equal to the source, remembered.

That is a short look, for an update waits: a turn of each, and a few pictures. What it finds is provisional, and
confirmed beside the line (`confirm`).

A version that is shaped like one before (retrained weights of the same network) is tried in what was fastest for that
one, and proved in one worker; only when that fails are all tried. A trouble of the disk costs speed, never the update:
then the source is served unconverted, and nothing is remembered.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

import structlog

from edgeagent.core.gating import GateTerms
from edgeagent.core.race import WORTH
from edgeagent.core.tuning import Trial, Tuning
from edgeagent.gates.parity import judge
from edgeagent.runtimes.variants import Variant
from edgeagent.serving.artifact import Artifact
from edgeagent.update.tuning_cache import (
    TuningRequest,
    begin,
    load_result,
    similar_model,
    store_result,
    work_folder,
)
from edgeagent.update.worker_task import TaskFailedError
from edgeagent.workers.tasks.prepare import BenchmarkResult, Proven, SimilarResult, TrialSetup

_SLOWER = 1.25
"""From how many times the time of the reference on a variant is not what it was for a similar model. Two that are about
as fast change places from one look to the next, beside a line that is at work."""
P = ParamSpec("P")
T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Trials(Protocol):
    """Who runs trials, in workers. `folder`: for what a trial makes, and leaves to the next. Raise TaskFailedError,
    OSError."""

    async def benchmark(
        self, setup: TrialSetup, variant: Variant, folder: Path, compares: bool = True
    ) -> BenchmarkResult:
        """One trial, in a process of its own. compares: also with the reference, which was tried before."""

    async def prove(self, setup: TrialSetup, variant: Variant, folder: Path, pictures: int) -> Proven:
        """`variant` and the reference in one process, on so many pictures, as they come."""

    async def validate_similar(
        self, setup: TrialSetup, variant: Variant, folder: Path, terms: GateTerms
    ) -> SimilarResult:
        """The reference, `variant` if it is another, and all gates, in one process."""


async def tune(request: TuningRequest, root: Path, trials: Trials, terms: GateTerms) -> Artifact:
    """The version in its fastest form that sees what the source sees; from memory when it was asked before.

    root: `<cache>/prepared`; terms: what gates judge by, where they run on the way: then `gates` holds what they found,
    all passed. When the reference can't be measured nothing proves another right: it is the answer all the same, even
    if it is none to choose, for the gates to say what is wrong with it. Raises TaskFailedError when no variant is left.
    Nothing half-made stays, also when cancelled.
    """
    known = await asyncio.to_thread(load_result, request, root)
    if known:
        return known
    work = work_folder(root)
    tried: list[Trial] = []
    try:
        await on_disk(begin, root, work)
        artifact = None
        if [*request.variants] == [request.setup.reference] and can_serve_unconverted(request):
            artifact = unconverted(request)
        elif similar := await on_disk(similar_model, request, root):
            artifact = await _validate_similar(request, work, similar, trials, terms)
        if artifact is None:
            artifact = await _try_all(request, work, trials, tried)
            if tried[0].why:
                return artifact
        return await on_disk(store_result, request, artifact, root, work)
    except OSError as e:
        return _fallback(request, tried, f"this machine lacks something: {e}", e)
    except TaskFailedError as e:
        if not e.transient:
            raise
        return _fallback(request, tried, e.why, e)
    finally:
        await on_disk(shutil.rmtree, work, True)


async def _validate_similar(
    request: TuningRequest, work: Path, variant: Variant, trials: Trials, terms: GateTerms
) -> Artifact | None:
    """The version in the form `variant`, if that does for it what it did for a similar model; else None: then all are
    tried, and all gates run, which tell what is wrong."""
    reference = request.setup.reference
    try:
        result = await trials.validate_similar(request.setup, variant, work, terms)
    except TaskFailedError as e:
        if e.transient:
            raise
        _log.info("tuning.not_similar", variant=variant.name, why=e.why)
        return None
    tried = [
        _trial(each, found, request)
        for each, found in zip(dict.fromkeys((reference, variant)), result.trials, strict=False)
    ]
    first, last = result.trials[0], result.trials[-1]
    why = tried[-1].why or next((gate.failure for gate in result.gates if not gate.passed), "")
    if last.ms > _SLOWER * first.ms:
        why = why or "slower than the reference"
    if why:
        _log.info("tuning.not_similar", variant=variant.name, why=why)
        return None
    return replace(_artifact(request, variant, last, tried), gates=result.gates)


def _trial(variant: Variant, result: BenchmarkResult, request: TuningRequest) -> Trial:
    why = judge(result.parity, request.setup.tolerance).failure if result.parity else ""
    _log.info("variant.tried", variant=variant.name, ms=round(result.ms, 2), refused=why)
    return Trial(variant.name, result.ms, why, result.parity, waited=round(result.waited, 3))


def _artifact(
    request: TuningRequest, variant: Variant, result: BenchmarkResult, tried: Sequence[Trial]
) -> Artifact:
    plan = request.plan(variant, result.weights, result.compiled)
    return Artifact(request.setup.version, plan, tuple(tried), tuning=Tuning.PROVISIONAL)


async def _try_all(request: TuningRequest, work: Path, trials: Trials, tried: list[Trial]) -> Artifact:
    """The fastest, as far as it matters. Adds to `tried`, the reference first."""
    reference, files = request.setup.reference, request.setup.version.files
    best: tuple[Variant, BenchmarkResult] | None = None
    for variant in dict.fromkeys((reference, *request.variants)):
        try:
            result = await trials.benchmark(request.setup, variant, work)
        except TaskFailedError as e:
            if e.transient:
                raise
            _log.warning("variant.unusable", variant=variant.name, why=e.why)
            tried.append(Trial(variant.name, None, e.why))
            if variant != reference:
                continue
            if variant.needs_conversion(files):
                break
            return unconverted(request, tried)
        trial = _trial(variant, result, request)
        tried.append(trial)
        fast = best is None or result.ms < WORTH * best[1].ms
        if fast and not trial.why and variant in request.variants:
            best = variant, result
    if best:
        return _artifact(request, best[0], best[1], tried)
    raise TaskFailedError("; ".join(f"{t.variant}: {t.why}" for t in tried if t.why))


def can_serve_unconverted(request: TuningRequest) -> bool:
    """Whether the version can serve here without a conversion."""
    reference = request.setup.reference
    return reference in request.variants and not reference.needs_conversion(request.setup.version.files)


def unconverted(request: TuningRequest, tried: Sequence[Trial] = ()) -> Artifact:
    """Nothing made, nothing chosen."""
    reference, version = request.setup.reference, request.setup.version
    return Artifact(version, request.plan(reference, version.files[reference.format]), tuple(tried))


def _fallback(request: TuningRequest, tried: list[Trial], why: str, error: Exception) -> Artifact:
    """The source, unconverted, because of a trouble that may pass."""
    if not can_serve_unconverted(request):
        raise TaskFailedError(why, transient=True) from error
    name = request.setup.reference.name
    _log.warning("tuning.unconverted", variant=name, why=why)
    return unconverted(request, [*tried, Trial(name, None, why)])


async def on_disk(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`work` in a thread. When cancelled, ends with the thread all the same: what follows finds the disk at rest."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
