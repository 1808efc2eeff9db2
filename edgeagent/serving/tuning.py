# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which way of running a version is fastest on this node: tried once, proved equal to the source, remembered.

The verdict lies under `<cache>/prepared/<key>/` beside the files that it speaks of. The key covers the weights, this
machine's processors, the runtimes' versions and the options, so a change of any of them asks anew; a roll-back, or
another start, converts and measures nothing. A version that is shaped like one before (kin: retrained weights of the
same network) is tried in what was fastest for that one, and proved in one worker; only when that fails are all tried.
A trouble of the disk costs speed, never the update: then the source is served as it is, and nothing is remembered.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import platform
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import structlog

from edgeagent.core.model import Contract
from edgeagent.engines.variants import Variant, runtime_versions
from edgeagent.gates.parity import Parity, Tolerance
from edgeagent.serving.task import TaskFailedError
from edgeagent.store.files import write_durably

P = ParamSpec("P")
T = TypeVar("T")
_log = structlog.get_logger(__name__)
_SCHEMA = 3
_VERDICT = "verdict.json"
_ALIKE = 0.02
"""Files of one network, trained anew, differ in size by no more than this share: by what is noted in them."""
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
    """The variant to serve with, the file that it loads, and all trials.

    imgsz: (height, width) that it was made for, None when that is the file's; compiled: see `EngineOptions`;
    folder: where it is remembered; gated: the gates were passed on the way.
    """

    variant: Variant
    weights: Path
    trials: tuple[Trial, ...] = ()
    imgsz: tuple[int, int] | None = None
    compiled: Path | None = None
    folder: Path | None = None
    gated: bool = field(default=False, compare=False)


@dataclass
class Source:
    """A verified version, before it is made fit for this node.

    variants: to choose from. reference: what the others are compared with; it loads the weights as they are, and need
    not be one to choose. imgsz: (height, width) to use weights at that leave it open; None where they don't.
    ready: files of the version in other formats, by format.
    """

    digest: str
    weights: Path
    format: str
    reference: Variant
    variants: Sequence[Variant]
    threads: int
    max_batch: int
    tolerance: Tolerance
    contract: Contract
    imgsz: tuple[int, int] | None = None
    ready: Mapping[str, Path] = field(default_factory=dict)
    key: str = field(init=False)
    family: str = field(init=False)

    def __post_init__(self) -> None:
        """Reads what is installed, from disk."""
        what = {
            "schema": _SCHEMA,
            "processors": _processors(),
            "variants": [[asdict(v), runtime_versions(v, self.format)] for v in self.variants],
            "reference": [asdict(self.reference), runtime_versions(self.reference, self.format)],
            "threads": self.threads,
            "max_batch": self.max_batch,
            "tolerance": asdict(self.tolerance),
            "format": self.format,
            "ready": sorted(self.ready),
        }
        c = self.contract
        self.family = _hash({**what, "input": c.imgsz, "classes": len(c.names)})
        self.key = _hash({**what, "digest": self.digest}) + _size(self.imgsz)

    @property
    def formats(self) -> tuple[str, ...]:
        """In which the version has its weights."""
        return self.format, *self.ready

    def weights_for(self, variant: Variant) -> Path:
        """The version's own file that a variant loads that needs no conversion."""
        return self.weights if variant.format == self.format else self.ready[variant.format]


class Workshop(Protocol):
    """Who runs trials, in workers. Results are {weights, compiled, ms, parity (values of Parity, None for the
    reference)}. `folder`: for what a trial makes, and leaves to the next. Raise TaskFailedError, OSError."""

    async def measure(self, variant: Variant, folder: Path, is_reference: bool) -> dict[str, Any]:
        """One trial, in a process of its own."""

    async def prove(self, variant: Variant, folder: Path) -> list[dict[str, Any]]:
        """The reference, `variant` if it is another, and all gates, in one process."""


async def tune(source: Source, root: Path, workshop: Workshop) -> Verdict:
    """The fastest variant that sees what the source sees; from memory when it was asked before.

    root: `<cache>/prepared`. When the reference can't be measured nothing proves another right: it is the verdict all
    the same, even if it is none to choose, for the gates to say what is wrong with it. Raises TaskFailedError when no
    variant is left. Nothing half-made stays, also when cancelled.
    """
    known = await asyncio.to_thread(recall, source, root)
    if known:
        return known
    work = root / f".{_THIS_START}.{next(_count)}.tmp"
    trials: list[Trial] = []
    try:
        await _on_disk(_begin, root, work)
        verdict = None
        if [*source.variants] == [source.reference] and _serves_as_it_is(source):
            verdict = Verdict(source.reference, source.weights_for(source.reference), imgsz=source.imgsz)
        elif alike := await _on_disk(kin, source, root):
            verdict = await _prove(source, work, alike, workshop)
        if verdict is None:
            verdict = await _try_all(source, work, workshop, trials)
            if trials[0].why:
                return verdict
        return await _on_disk(_remember, source, verdict, root, work)
    except OSError as e:
        return _as_it_is(source, trials, f"this machine lacks something: {e}", e)
    except TaskFailedError as e:
        if not e.transient:
            raise
        return _as_it_is(source, trials, e.why, e)
    finally:
        await _on_disk(shutil.rmtree, work, True)


def recall(source: Source, root: Path, any_size: bool = False) -> Verdict | None:
    """The verdict of an earlier time, if it still holds; with `any_size` also one for frames of another shape."""
    folders = [root / source.key]
    if any_size:
        folders += _newest_first(root.glob(f"{source.key.partition('-')[0]}-*"))
    found = (_recall(source, folder) for folder in folders)
    return next((verdict for verdict in found if verdict), None)


def kin(source: Source, root: Path) -> Variant | None:
    """What was fastest for the last version that is shaped like this one and was asked about in the same way."""
    size = source.weights.stat().st_size
    for folder in _newest_first(root.glob("[!.]*")):
        try:
            doc = json.loads((folder / _VERDICT).read_bytes())
            variant = Variant(**doc["variant"])
            alike = doc["family"] == source.family and abs(doc["bytes"] - size) <= _ALIKE * size
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if alike and variant in source.variants:
            return variant
    return None


def has_passed(verdict: Verdict, terms: str) -> bool:
    """Whether the version, as the verdict serves it, has passed the gates on these terms before."""
    return verdict.folder is not None and (verdict.folder / f"passed-{terms}").exists()


def mark_passed(verdict: Verdict, terms: str) -> None:
    """Remember that it has, if the verdict is remembered. Raises OSError."""
    if verdict.folder is not None and verdict.folder.is_dir():
        write_durably(verdict.folder / f"passed-{terms}", b"")


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


def _recall(source: Source, folder: Path) -> Verdict | None:
    try:
        doc = json.loads((folder / _VERDICT).read_bytes())
        variant = Variant(**doc["variant"])
        if variant not in source.variants:
            return None
        made = {kind: folder / name for kind, (name, _) in doc["made"].items()}
        for kind, (_, sha256) in doc["made"].items():
            if _sha256(made[kind]) != sha256:
                raise ValueError(f"{made[kind]} is not what was made")
        weights = made["weights"] if "weights" in made else source.weights_for(variant)
        trials = tuple(
            Trial(t["variant"], t["ms"], t["why"], Parity(**t["parity"]) if t["parity"] else None)
            for t in doc["trials"]
        )
        imgsz = (int(doc["imgsz"][0]), int(doc["imgsz"][1])) if doc["imgsz"] else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as e:
        _log.warning("prepared engine not usable, preparing anew", folder=str(folder), why=str(e))
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return Verdict(variant, weights, trials, imgsz, made.get("compiled"), folder)


async def _prove(source: Source, work: Path, variant: Variant, workshop: Workshop) -> Verdict | None:
    """The verdict for `variant`, if it does for this version what it did for its kin; else None: then all are tried,
    and all gates run, which tell what is wrong."""
    try:
        results = await workshop.prove(variant, work)
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
    if chosen.why or float(results[-1]["ms"]) > float(results[0]["ms"]):
        _log.info("not like its kin", variant=variant.name, why=chosen.why or "slower than the reference")
        return None
    return replace(_verdict(source, variant, results[-1], trials), gated=True)


def _trial(variant: Variant, result: dict[str, Any], source: Source) -> Trial:
    ms, parity = float(result["ms"]), Parity(**result["parity"]) if result["parity"] else None
    why = "; ".join(parity.failures(source.tolerance)) if parity else ""
    _log.info("variant tried", variant=variant.name, ms=round(ms, 2), refused=why)
    return Trial(variant.name, ms, why and f"gate parity: {why}", parity)


def _verdict(source: Source, variant: Variant, result: dict[str, Any], trials: Sequence[Trial]) -> Verdict:
    compiled = Path(result["compiled"]) if result["compiled"] else None
    return Verdict(variant, Path(result["weights"]), tuple(trials), source.imgsz, compiled)


async def _try_all(source: Source, work: Path, workshop: Workshop, trials: list[Trial]) -> Verdict:
    """The best one. Adds to `trials`, the reference first."""
    best: tuple[float, Variant, dict[str, Any]] | None = None
    for variant in dict.fromkeys((source.reference, *source.variants)):
        is_reference = variant == source.reference
        try:
            result = await workshop.measure(variant, work, is_reference)
        except TaskFailedError as e:
            if e.transient:
                raise
            _log.warning("variant not usable", variant=variant.name, why=e.why)
            trials.append(Trial(variant.name, None, e.why))
            if not is_reference:
                continue
            if variant.needs_conversion(source.formats):
                break
            return Verdict(variant, source.weights_for(variant), tuple(trials), source.imgsz)
        trial = _trial(variant, result, source)
        trials.append(trial)
        if not trial.why and variant in source.variants and (best is None or result["ms"] < best[0]):
            best = result["ms"], variant, result
    if best:
        return _verdict(source, best[1], best[2], trials)
    raise TaskFailedError("; ".join(f"{t.variant}: {t.why}" for t in trials if t.why))


def _serves_as_it_is(source: Source) -> bool:
    return source.reference in source.variants and not source.reference.needs_conversion(source.formats)


def _as_it_is(source: Source, trials: list[Trial], why: str, error: Exception) -> Verdict:
    """The source, unconverted, because of a trouble that may pass."""
    if not _serves_as_it_is(source):
        raise TaskFailedError(why, {"transient": True}) from error
    _log.warning("served as it is", variant=source.reference.name, why=why)
    trials = [*trials, Trial(source.reference.name, None, why)]
    return Verdict(source.reference, source.weights_for(source.reference), tuple(trials), imgsz=source.imgsz)


def _begin(root: Path, work: Path) -> None:
    _clear_leftovers(root)
    work.mkdir(parents=True)


def _remember(source: Source, verdict: Verdict, root: Path, work: Path) -> Verdict:
    """Move what was made into place; the folder appears whole or not at all. Raises OSError."""
    folder = root / source.key
    made = {
        kind: path
        for kind, path in (("weights", verdict.weights), ("compiled", verdict.compiled))
        if path and path.is_relative_to(work) and path.exists()
    }
    for entry in work.iterdir():
        if entry not in made.values():
            entry.unlink()
    doc = {
        "digest": source.digest,
        "family": source.family,
        "bytes": source.weights.stat().st_size,
        "variant": asdict(verdict.variant),
        "imgsz": verdict.imgsz,
        "made": {kind: (path.name, _sha256(path)) for kind, path in made.items()},
        "trials": [asdict(t) for t in verdict.trials],
    }
    write_durably(work / _VERDICT, json.dumps(doc, indent=1).encode())
    shutil.rmtree(folder, ignore_errors=True)
    work.rename(folder)
    kept = {kind: folder / path.name for kind, path in made.items()}
    return replace(
        verdict,
        weights=kept.get("weights", verdict.weights),
        compiled=kept.get("compiled"),
        folder=folder,
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


def _newest_first(folders: Iterable[Path]) -> list[Path]:
    found = []
    for folder in folders:
        with suppress(OSError):  # another preparation has replaced it
            found.append((folder.stat().st_mtime_ns, folder))
    return [folder for _, folder in sorted(found, reverse=True)]


def _hash(what: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def _size(imgsz: tuple[int, int] | None) -> str:
    return f"-{imgsz[0]}x{imgsz[1]}" if imgsz else ""


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
