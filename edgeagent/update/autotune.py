# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which way of running a version is fastest on this node: tried once, proved equal to the source, remembered.

A version that is shaped like one before (kin: retrained weights of the same network) is tried in what was fastest for
that one, and proved in one worker; only when that fails are all tried. A trouble of the disk costs speed, never the
update: then the source is served as it is, and nothing is remembered.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import structlog

from edgeagent.core.tuning import Parity, Trial
from edgeagent.runtimes.variants import Variant
from edgeagent.update.tuning_cache import (
    TuningResult,
    VerifiedVersion,
    begin,
    load_result,
    similar_model,
    store_result,
    work_folder,
)
from edgeagent.update.worker_task import TaskFailedError

_FASTER = 0.9
"""To how much of the time of another, nearer to the source, a variant must come to be taken instead. Less is noise, and
what is nearer to the source loads sooner."""
_SLOWER = 1.25
"""From how many times the time of the reference on a variant is not what it was for its kin. Two that are about as fast
change places from one look to the next, beside a line that is at work."""
P = ParamSpec("P")
T = TypeVar("T")
_log = structlog.get_logger(__name__)


class TrialRunner(Protocol):
    """Who runs trials, in workers. Results are {weights, compiled, ms, parity (values of Parity, None for the
    reference)}. `folder`: for what a trial makes, and leaves to the next. Raise TaskFailedError, OSError."""

    async def benchmark(self, source: VerifiedVersion, variant: Variant, folder: Path) -> dict[str, Any]:
        """One trial, in a process of its own."""

    async def validate_similar(
        self, source: VerifiedVersion, variant: Variant, folder: Path
    ) -> list[dict[str, Any]]:
        """The reference, `variant` if it is another, and all gates, in one process."""


async def tune(source: VerifiedVersion, root: Path, runner: TrialRunner) -> TuningResult:
    """The fastest variant that sees what the source sees; from memory when it was asked before.

    root: `<cache>/prepared`. When the reference can't be measured nothing proves another right: it is the verdict all
    the same, even if it is none to choose, for the gates to say what is wrong with it. Raises TaskFailedError when no
    variant is left. Nothing half-made stays, also when cancelled.
    """
    known = await asyncio.to_thread(load_result, source, root)
    if known:
        return known
    work = work_folder(root)
    trials: list[Trial] = []
    try:
        await _on_disk(begin, root, work)
        tuned = None
        if [*source.variants] == [source.reference] and can_serve_unconverted(source):
            tuned = unconverted(source)
        elif similar := await _on_disk(similar_model, source, root):
            tuned = await _validate_similar(source, work, similar, runner)
        if tuned is None:
            tuned = await _try_all(source, work, runner, trials)
            if trials[0].why:
                return tuned
        return await _on_disk(store_result, source, tuned, root, work)
    except OSError as e:
        return _fallback(source, trials, f"this machine lacks something: {e}", e)
    except TaskFailedError as e:
        if not e.transient:
            raise
        return _fallback(source, trials, e.why, e)
    finally:
        await _on_disk(shutil.rmtree, work, True)


async def _validate_similar(
    source: VerifiedVersion, work: Path, variant: Variant, runner: TrialRunner
) -> TuningResult | None:
    """The verdict for `variant`, if it does for this version what it did for its kin; else None: then all are tried,
    and all gates run, which tell what is wrong."""
    try:
        results = await runner.validate_similar(source, variant, work)
    except TaskFailedError as e:
        if e.transient:
            raise
        _log.info("not like its kin", variant=variant.name, why=e.why)
        return None
    trials = [
        _trial(tried, result, source)
        for tried, result in zip(dict.fromkeys((source.reference, variant)), results, strict=True)
    ]
    chosen = trials[-1]
    if chosen.why or float(results[-1]["ms"]) > _SLOWER * float(results[0]["ms"]):
        _log.info("not like its kin", variant=variant.name, why=chosen.why or "slower than the reference")
        return None
    return replace(_tuned(source, variant, results[-1], trials), gated=True)


def _trial(variant: Variant, result: dict[str, Any], source: VerifiedVersion) -> Trial:
    ms, parity = float(result["ms"]), Parity(**result["parity"]) if result["parity"] else None
    why = "; ".join(parity.failures(source.tolerance)) if parity else ""
    _log.info("variant tried", variant=variant.name, ms=round(ms, 2), refused=why)
    return Trial(variant.name, ms, why and f"gate parity: {why}", parity)


def _tuned(
    source: VerifiedVersion, variant: Variant, result: dict[str, Any], trials: Sequence[Trial]
) -> TuningResult:
    compiled = Path(result["compiled"]) if result["compiled"] else None
    return TuningResult(variant, Path(result["weights"]), tuple(trials), source.imgsz, compiled)


async def _try_all(
    source: VerifiedVersion, work: Path, runner: TrialRunner, trials: list[Trial]
) -> TuningResult:
    """The fastest, as far as it matters. Adds to `trials`, the reference first."""
    best: tuple[float, Variant, dict[str, Any]] | None = None
    for variant in dict.fromkeys((source.reference, *source.variants)):
        try:
            result = await runner.benchmark(source, variant, work)
        except TaskFailedError as e:
            if e.transient:
                raise
            _log.warning("variant not usable", variant=variant.name, why=e.why)
            trials.append(Trial(variant.name, None, e.why))
            if variant != source.reference:
                continue
            if variant.needs_conversion(source.formats):
                break
            return unconverted(source, trials)
        trial = _trial(variant, result, source)
        trials.append(trial)
        fast = best is None or result["ms"] < _FASTER * best[0]
        if fast and not trial.why and variant in source.variants:
            best = result["ms"], variant, result
    if best:
        return _tuned(source, best[1], best[2], trials)
    raise TaskFailedError("; ".join(f"{t.variant}: {t.why}" for t in trials if t.why))


def can_serve_unconverted(source: VerifiedVersion) -> bool:
    """Whether the version can serve here without a conversion."""
    return source.reference in source.variants and not source.reference.needs_conversion(source.formats)


def unconverted(source: VerifiedVersion, trials: Sequence[Trial] = ()) -> TuningResult:
    """Nothing made, nothing chosen."""
    return TuningResult(source.reference, source.weights_for(source.reference), tuple(trials), source.imgsz)


def _fallback(source: VerifiedVersion, trials: list[Trial], why: str, error: Exception) -> TuningResult:
    """The source, unconverted, because of a trouble that may pass."""
    if not can_serve_unconverted(source):
        raise TaskFailedError(why, {"transient": True}) from error
    _log.warning("served as it is", variant=source.reference.name, why=why)
    return unconverted(source, [*trials, Trial(source.reference.name, None, why)])


async def _on_disk(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """In a thread. When cancelled, ends with the thread all the same: what follows finds the disk at rest."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
