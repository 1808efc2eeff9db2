# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which way of running a version is fastest on this node: tried once, proved equal to the source, remembered.

The verdict lies under `<cache>/prepared/<key>/` beside the file that it speaks of. The key covers the weights, this
machine's processors, the runtimes' versions and the options, so a change of any of them asks anew; a roll-back, or
another start, converts and measures nothing. A trouble of the disk costs speed, never the update: then the source is
served as it is, and nothing is remembered.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import platform
import secrets
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import structlog

from edgeagent.engines.variants import Variant, runtime_versions
from edgeagent.gates.parity import Parity, Tolerance
from edgeagent.serving.task import TaskFailedError
from edgeagent.store.files import write_durably

P = ParamSpec("P")
T = TypeVar("T")
_log = structlog.get_logger(__name__)
_SCHEMA = 2
_VERDICT = "verdict.json"
# One node has the folder (it holds a lock on it): what another start began, nobody goes on with.
_THIS_START = secrets.token_hex(8)
_count = itertools.count()


@dataclass(frozen=True)
class Trial:
    """What came of trying one variant.

    ms: of one frame, letterbox to NMS, the least of some, or None with the reason `why`; parity: with the source.
    """

    variant: str
    ms: float | None
    why: str = ""
    parity: Parity | None = None


@dataclass(frozen=True)
class Verdict:
    """The variant to serve with, the file that it loads, and all trials."""

    variant: Variant
    weights: Path
    trials: tuple[Trial, ...] = ()


@dataclass
class Source:
    """A verified version, before it is made fit for this node.

    variants: to choose from. reference: what the others are compared with; it loads the weights as they are, and need
    not be one to choose.
    """

    digest: str
    weights: Path
    format: str
    reference: Variant
    variants: Sequence[Variant]
    threads: int
    max_batch: int
    tolerance: Tolerance
    key: str = field(init=False)

    def __post_init__(self) -> None:
        """Reads what is installed, from disk."""
        what = {
            "schema": _SCHEMA,
            "digest": self.digest,
            "processors": _processors(),
            "variants": [[asdict(v), runtime_versions(v, self.format)] for v in self.variants],
            "reference": [asdict(self.reference), runtime_versions(self.reference, self.format)],
            "threads": self.threads,
            "max_batch": self.max_batch,
            "tolerance": asdict(self.tolerance),
        }
        self.key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


Measure = Callable[[Variant, Path, bool], Awaitable[dict[str, Any]]]
"""Runs one trial in a process of its own: (variant, folder for what it makes and leaves to the next, whether it is the
reference) → {weights, ms, parity (values of Parity; None for the reference)}. Raises TaskFailedError, OSError."""


async def tune(source: Source, root: Path, measure: Measure, on_trial: Callable[[str], None]) -> Verdict:
    """The fastest variant that sees what the source sees; from memory when it was asked before.

    root: `<cache>/prepared`. on_trial: name of each variant as its trial begins. When the reference can't be measured
    nothing proves another right: it is the verdict all the same, even if it is none to choose, for the gates to say
    what is wrong with it. Raises TaskFailedError when no variant is left. Nothing half-made stays, also when cancelled.
    """
    known = await asyncio.to_thread(recall, source, root)
    if known:
        return known
    work = root / f".{_THIS_START}.{next(_count)}.tmp"
    trials: list[Trial] = []
    try:
        await _on_disk(_begin, root, work)
        if list(source.variants) == [source.reference] and not source.reference.needs_conversion(
            source.format
        ):
            return await _on_disk(_remember, source, Verdict(source.reference, source.weights), root, work)
        variant, weights = await _try_all(source, work, measure, on_trial, trials)
        if trials[0].why:
            return Verdict(variant, weights, tuple(trials))
        return await _on_disk(_remember, source, Verdict(variant, weights, tuple(trials)), root, work)
    except OSError as e:
        return _as_it_is(source, trials, f"this machine lacks something: {e}", e)
    except TaskFailedError as e:
        if not e.transient:
            raise
        return _as_it_is(source, trials, e.why, e)
    finally:
        await _on_disk(shutil.rmtree, work, True)


def recall(source: Source, root: Path) -> Verdict | None:
    """The verdict of an earlier time, if it still holds."""
    folder = root / source.key
    try:
        doc = json.loads((folder / _VERDICT).read_bytes())
        variant = Variant(**doc["variant"])
        if variant not in source.variants:
            return None
        weights = folder / doc["file"] if doc["file"] else source.weights
        if doc["file"] and _sha256(weights) != doc["sha256"]:
            raise ValueError(f"{weights} is not what was made")
        trials = tuple(
            Trial(t["variant"], t["ms"], t["why"], Parity(**t["parity"]) if t["parity"] else None)
            for t in doc["trials"]
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as e:
        _log.warning("prepared engine not usable, preparing anew", folder=str(folder), why=str(e))
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return Verdict(variant, weights, trials)


def has_passed(source: Source, root: Path, terms: str) -> bool:
    """Whether this version, as the verdict would serve it, has passed the gates on these terms before."""
    return (root / source.key / f"passed-{terms}").exists()


def mark_passed(source: Source, root: Path, terms: str) -> None:
    """Remember that it has. Raises OSError."""
    if (root / source.key).is_dir():
        write_durably(root / source.key / f"passed-{terms}", b"")


def forget_others(root: Path, digests: set[str]) -> None:
    """Remove what was prepared for versions that are not in the cache any more. Raises OSError."""
    _clear_leftovers(root)
    for folder in root.glob("[!.]*"):
        try:
            keep = json.loads((folder / _VERDICT).read_bytes())["digest"] in digests
        except OSError:
            continue
        except (ValueError, KeyError, TypeError):
            keep = False
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


async def _try_all(
    source: Source, work: Path, measure: Measure, on_trial: Callable[[str], None], trials: list[Trial]
) -> tuple[Variant, Path]:
    """The best one, and its file. Adds to `trials`, the reference first."""
    best: tuple[float, Variant, Path] | None = None
    for variant in dict.fromkeys((source.reference, *source.variants)):
        on_trial(variant.name)
        is_reference = variant == source.reference
        try:
            result = await measure(variant, work, is_reference)
        except TaskFailedError as e:
            if e.transient:
                raise
            _log.warning("variant not usable", variant=variant.name, why=e.why)
            trials.append(Trial(variant.name, None, e.why))
            if not is_reference:
                continue
            if variant.needs_conversion(source.format):
                break
            return variant, source.weights
        ms, parity = float(result["ms"]), Parity(**result["parity"]) if result["parity"] else None
        why = "; ".join(parity.failures(source.tolerance)) if parity else ""
        trials.append(Trial(variant.name, ms, why and f"gate parity: {why}", parity))
        _log.info("variant tried", variant=variant.name, ms=round(ms, 2), refused=why)
        if not why and variant in source.variants and (best is None or ms < best[0]):
            best = ms, variant, Path(result["weights"])
    if best:
        return best[1], best[2]
    raise TaskFailedError("; ".join(f"{t.variant}: {t.why}" for t in trials if t.why))


def _serves_as_it_is(source: Source) -> bool:
    return source.reference in source.variants and not source.reference.needs_conversion(source.format)


def _as_it_is(source: Source, trials: list[Trial], why: str, error: Exception) -> Verdict:
    """The source, unconverted, because of a trouble that may pass."""
    if not _serves_as_it_is(source):
        raise TaskFailedError(why, {"transient": True}) from error
    _log.warning("served as it is", variant=source.reference.name, why=why)
    return Verdict(source.reference, source.weights, (*trials, Trial(source.reference.name, None, why)))


def _begin(root: Path, work: Path) -> None:
    _clear_leftovers(root)
    work.mkdir(parents=True)


def _remember(source: Source, verdict: Verdict, root: Path, work: Path) -> Verdict:
    """Move what was made into place; the folder appears whole or not at all. Raises OSError."""
    made, folder = verdict.weights.is_relative_to(work), root / source.key
    for entry in work.iterdir():
        if entry != verdict.weights:
            entry.unlink()
    doc = {
        "digest": source.digest,
        "variant": asdict(verdict.variant),
        "file": verdict.weights.name if made else "",
        "sha256": _sha256(verdict.weights) if made else "",
        "trials": [asdict(t) for t in verdict.trials],
    }
    write_durably(work / _VERDICT, json.dumps(doc, indent=1).encode())
    shutil.rmtree(folder, ignore_errors=True)
    work.rename(folder)
    return Verdict(
        verdict.variant, folder / verdict.weights.name if made else verdict.weights, verdict.trials
    )


def _clear_leftovers(root: Path) -> None:
    """Remove what a killed node was making."""
    for leftover in root.glob(".*.tmp"):
        if _THIS_START not in leftover.name:
            shutil.rmtree(leftover, ignore_errors=True)


async def _on_disk(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """In a thread. When cancelled, ends with the thread all the same: what follows finds the disk at rest."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _processors() -> list[str]:
    """What they are, as far as Linux tells: model and flags of the CPU, models and driver of NVIDIA's GPUs."""
    nvidia = Path("/proc/driver/nvidia")
    found = {platform.machine()}
    for path in (Path("/proc/cpuinfo"), nvidia / "version", *nvidia.glob("gpus/*/information")):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        said = ("model name", "flags", "Features", "CPU part", "Model", "NVRM version")
        found.update(line for line in lines if line.partition(":")[0].strip() in said)
    return sorted(found)
