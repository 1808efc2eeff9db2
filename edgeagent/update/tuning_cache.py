# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was found out about running a version on this node, and where it is remembered.

A verdict lies under `<cache>/prepared/<key>/` beside the files that it speaks of. The key covers the weights, this
machine's processors, the runtimes' versions and the options, so a change of any of them asks anew; a roll-back, or
another start, converts and measures nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import platform
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from edgeagent.core.model import Contract
from edgeagent.core.tuning import Parity, Tolerance, Trial
from edgeagent.runtimes.variants import Variant, runtime_versions
from edgeagent.util.durable import write_durably
from edgeagent.util.hashing import hash_file

_log = structlog.get_logger(__name__)
_SCHEMA = 3
_RESULT_FILE = "verdict.json"
_SIMILAR_SIZE = 0.02
"""Files of one network, trained anew, differ in size by no more than this share: by what is noted in them."""
# One node has the folder (it holds a lock on it): what another start began, nobody goes on with.
_THIS_START = secrets.token_hex(8)
_count = itertools.count()


@dataclass(frozen=True)
class TuningResult:
    """The variant to serve with, the file that it loads, and all trials.

    imgsz: (height, width) that it was made for, None when that is the file's; compiled: see `EngineOptions`;
    folder: where it is remembered, None when it is not; gated: the gates were passed on the way, just now (which is no
    part of the verdict: see `has_passed` for what is remembered of it).
    """

    variant: Variant
    weights: Path
    trials: tuple[Trial, ...] = ()
    imgsz: tuple[int, int] | None = None
    compiled: Path | None = None
    folder: Path | None = None
    gated: bool = field(default=False, compare=False)


@dataclass
class VerifiedVersion:
    """A verified version, before it is made fit for this node.

    variants: to choose from. reference: what the others are compared with; it loads the weights as they are, and need
    not be one to choose. imgsz: (height, width) to use weights at that leave it open; None where they don't.
    ready: files of the version in other formats, by format; parts: what belongs to an OpenVINO graph among them, by
    format; golden: paths of the golden pictures.
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
    alternates: Mapping[str, Path] = field(default_factory=dict)
    companions: Mapping[str, str] = field(default_factory=dict)
    golden: Sequence[str] = ()
    key: str = field(init=False)
    network_signature: str = field(init=False)

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
            "ready": sorted(self.alternates),
        }
        c = self.contract
        self.network_signature = _hash({**what, "input": c.imgsz, "classes": len(c.names)})
        self.key = _hash({**what, "digest": self.digest}) + _size(self.imgsz)

    @property
    def formats(self) -> tuple[str, ...]:
        """In which the version has its weights."""
        return self.format, *self.alternates

    def weights_for(self, variant: Variant) -> Path:
        """The version's own file that a variant loads that needs no conversion."""
        return self.weights if variant.format == self.format else self.alternates[variant.format]


def load_result(source: VerifiedVersion, root: Path, any_size: bool = False) -> TuningResult | None:
    """The verdict of an earlier time, if it still holds; with `any_size` also one for frames of another shape."""
    folders = [root / source.key]
    if any_size:
        folders += _newest_first(root.glob(f"{source.key.partition('-')[0]}-*"))
    found = (_load_result(source, folder) for folder in folders)
    return next((tuned for tuned in found if tuned), None)


def similar_model(source: VerifiedVersion, root: Path) -> Variant | None:
    """What was fastest for the last version that is shaped like this one and was asked about in the same way."""
    size = source.weights.stat().st_size
    for folder in _newest_first(root.glob("[!.]*")):
        try:
            doc = json.loads((folder / _RESULT_FILE).read_bytes())
            variant = Variant(**doc["variant"])
            similar = (
                doc["family"] == source.network_signature and abs(doc["bytes"] - size) <= _SIMILAR_SIZE * size
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if similar and variant in source.variants:
            return variant
    return None


def has_passed(tuned: TuningResult, terms: str) -> bool:
    """Whether the version, as the verdict serves it, has passed the gates on these terms before."""
    return tuned.folder is not None and (tuned.folder / f"passed-{terms}").exists()


def mark_passed(tuned: TuningResult, terms: str) -> None:
    """Remember that it has, if the verdict is remembered. Raises OSError."""
    if tuned.folder is not None and tuned.folder.is_dir():
        write_durably(tuned.folder / f"passed-{terms}", b"")


def forget_others(root: Path, digests: set[str]) -> None:
    """Remove what was prepared for versions that are not in the cache any more. Raises OSError."""
    _clear_leftovers(root)
    for folder in root.glob("[!.]*"):
        try:
            keep = json.loads((folder / _RESULT_FILE).read_bytes())["digest"] in digests
        except OSError:
            continue
        except (ValueError, KeyError, TypeError, RecursionError):
            keep = False
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def work_folder(root: Path) -> Path:
    """A name that no other preparation has, for `begin`."""
    return root / f".{_THIS_START}.{next(_count)}.tmp"


def begin(root: Path, work: Path) -> None:
    """Make the folder to prepare in, which `remember` moves into place. Raises OSError."""
    _clear_leftovers(root)
    work.mkdir(parents=True)


def store_result(source: VerifiedVersion, tuned: TuningResult, root: Path, work: Path) -> TuningResult:
    """Move what was made into place; the folder appears whole or not at all. Raises OSError."""
    folder = root / source.key
    made = {
        kind: path
        for kind, path in (("weights", tuned.weights), ("compiled", tuned.compiled))
        if path and path.is_relative_to(work) and path.exists()
    }
    for entry in work.iterdir():
        if entry not in made.values():
            entry.unlink()
    doc = {
        "digest": source.digest,
        "family": source.network_signature,
        "bytes": source.weights.stat().st_size,
        "variant": asdict(tuned.variant),
        "imgsz": tuned.imgsz,
        "made": {kind: (path.name, hash_file(path).sha256) for kind, path in made.items()},
        "trials": [asdict(t) for t in tuned.trials],
    }
    write_durably(work / _RESULT_FILE, json.dumps(doc, indent=1).encode())
    shutil.rmtree(folder, ignore_errors=True)
    work.rename(folder)
    kept = {kind: folder / path.name for kind, path in made.items()}
    return replace(
        tuned,
        weights=kept.get("weights", tuned.weights),
        compiled=kept.get("compiled"),
        folder=folder,
    )


def _clear_leftovers(root: Path) -> None:
    """Remove what a killed node was making."""
    for leftover in root.glob(".*.tmp"):
        if _THIS_START not in leftover.name:
            shutil.rmtree(leftover, ignore_errors=True)


def _load_result(source: VerifiedVersion, folder: Path) -> TuningResult | None:
    try:
        doc = json.loads((folder / _RESULT_FILE).read_bytes())
        variant = Variant(**doc["variant"])
        if variant not in source.variants:
            return None
        made = {kind: folder / name for kind, (name, _) in doc["made"].items()}
        for kind, (_, sha256) in doc["made"].items():
            if hash_file(made[kind]).sha256 != sha256:
                raise ValueError(f"{made[kind]} is not what was made")
        weights = made["weights"] if "weights" in made else source.weights_for(variant)
        trials = tuple(
            Trial(t["variant"], t["ms"], t["why"], Parity(**t["parity"]) if t["parity"] else None)
            for t in doc["trials"]
        )
        imgsz = (int(doc["imgsz"][0]), int(doc["imgsz"][1])) if doc["imgsz"] else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as e:
        _log.warning("prepared engine not usable, preparing anew", folder=str(folder), why=str(e))
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return TuningResult(variant, weights, trials, imgsz, made.get("compiled"), folder)


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
