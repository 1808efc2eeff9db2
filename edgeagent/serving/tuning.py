# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which way of running a version is fastest on this node: tried once, proved equal to the source, remembered.

The verdict lies under `<cache>/prepared/<key>/` beside the file that it speaks of. The key covers the weights, this
machine's processor, the runtimes' versions and the options, so a change of any of them asks anew; a roll-back, or
another start, converts and measures nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import platform
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import structlog

from edgeagent.engines.variants import Variant, runtime_versions
from edgeagent.gates.parity import Box, Parity, Tolerance, compare, threshold
from edgeagent.serving.task import TaskFailedError
from edgeagent.store.files import write_durably

_log = structlog.get_logger(__name__)
_SCHEMA = 1
_VERDICT = "verdict.json"


@dataclass(frozen=True)
class Trial:
    """What came of trying one variant. ms: of one frame, letterbox to NMS; parity: against the first."""

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
    """A verified version, before it is made fit for this node."""

    digest: str
    weights: Path
    format: str
    variants: Sequence[Variant]
    threads: int
    confidence: float
    tolerance: Tolerance
    key: str = field(init=False)

    def __post_init__(self) -> None:
        what = {
            "schema": _SCHEMA,
            "digest": self.digest,
            "processor": _processor(),
            "variants": [[v.name, v.format, runtime_versions(v, self.format)] for v in self.variants],
            "threads": self.threads,
            "tolerance": asdict(self.tolerance),
        }
        self.key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


Measure = Callable[[Variant, Path], Awaitable[dict[str, Any]]]
"""Runs one trial in a process of its own; (variant, folder for what it makes) → {weights, ms, boxes}.
Raises TaskFailedError."""


async def tune(source: Source, root: Path, measure: Measure, on_trial: Callable[[str], None]) -> Verdict:
    """The fastest variant that sees what the source sees; from memory when it was asked before.

    root: `<cache>/prepared`. on_trial: name of each variant as its trial begins. The first variant is the reference;
    when even that can't be measured it is the verdict all the same, for the gates to say what is wrong with it.
    """
    folder = root / source.key
    known = await asyncio.to_thread(recall, source, root)
    if known:
        return known
    work = root / f".{source.key}.tmp"
    shutil.rmtree(work, ignore_errors=True)
    await asyncio.to_thread(work.mkdir, parents=True)
    try:
        verdict: Verdict | None = Verdict(source.variants[0], source.weights)
        if len(source.variants) > 1 or source.variants[0].needs_conversion(source.format):
            verdict = await _try_all(source, work, measure, on_trial)
        if verdict is None:
            return Verdict(source.variants[0], source.weights)
        return await asyncio.to_thread(_remember, source, verdict, work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


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
    for folder in root.glob("*"):
        try:
            doc = json.loads((folder / _VERDICT).read_bytes())
        except (OSError, ValueError):
            continue
        if doc.get("digest") not in digests:
            shutil.rmtree(folder, ignore_errors=True)


async def _try_all(
    source: Source, work: Path, measure: Measure, on_trial: Callable[[str], None]
) -> Verdict | None:
    trials: list[Trial] = []
    best: tuple[float, Variant, Path] | None = None
    reference: list[list[Box]] | None = None
    confidence = source.confidence
    for variant in source.variants:
        on_trial(variant.name)
        try:
            result = await measure(variant, work / variant.name)
        except TaskFailedError as e:
            _log.warning("variant not usable", variant=variant.name, why=e.why)
            trials.append(Trial(variant.name, None, e.why))
            continue
        boxes: list[list[Box]] = [[(*b[:5], int(b[5])) for b in frame] for frame in result["boxes"]]
        ms = float(result["ms"])
        if reference is None:
            # Only the first is the source itself; without it nothing proves another right.
            if trials:
                return None
            reference, confidence = boxes, threshold(boxes, confidence)
            parity, why = None, ""
        else:
            parity = compare(reference, boxes, confidence, source.tolerance)
            why = "; ".join(parity.failures(source.tolerance))
        trials.append(Trial(variant.name, ms, why and f"gate parity: {why}", parity))
        _log.info("variant tried", variant=variant.name, ms=round(ms, 2), refused=why)
        if not why and (best is None or ms < best[0]):
            best = ms, variant, Path(result["weights"])
    return Verdict(best[1], best[2], tuple(trials)) if best else None


def _remember(source: Source, verdict: Verdict, work: Path, folder: Path) -> Verdict:
    """Move what was made into place; the folder appears whole or not at all."""
    made = verdict.weights.is_relative_to(work)
    file = str(verdict.weights.relative_to(work)) if made else ""
    for entry in work.iterdir():
        if not (made and entry == work / Path(file).parts[0]):
            shutil.rmtree(entry, ignore_errors=True)
    doc = {
        "digest": source.digest,
        "variant": asdict(verdict.variant),
        "file": file,
        "sha256": _sha256(verdict.weights) if made else "",
        "trials": [asdict(t) for t in verdict.trials],
    }
    write_durably(work / _VERDICT, json.dumps(doc, indent=1).encode())
    shutil.rmtree(folder, ignore_errors=True)
    work.rename(folder)
    return Verdict(verdict.variant, folder / file if made else verdict.weights, verdict.trials)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _processor() -> dict[str, str]:
    found = {"machine": platform.machine()}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "flags", "Features", "CPU part"):
                found.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    return found
