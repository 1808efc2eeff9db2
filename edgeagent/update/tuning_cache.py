# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was found out about running a version on this node, and where it is remembered.

A result lies under `<cache>/prepared/<key>/` beside the files that it speaks of. The key covers the weights, this
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
import threading
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from edgeagent.core.gating import GateResult
from edgeagent.core.tuning import Parity, Trial, Tuning
from edgeagent.runtimes.variants import Variant, runtime_versions
from edgeagent.serving.artifact import Artifact
from edgeagent.util.codec import from_json, to_json
from edgeagent.util.durable import write_durably
from edgeagent.util.hashing import hash_file
from edgeagent.workers.tasks.engine import LoadPlan
from edgeagent.workers.tasks.prepare import TrialSetup

_log = structlog.get_logger(__name__)
_SCHEMA = 3
_NO_PARITY, _NO_TRIAL = Parity(0, 0, 0, 0, 0.0, 0.0), Trial("", None, waited=1.0)
_RESULT_FILE = "verdict.json"
_SIMILAR_SIZE = 0.02
"""Files of one network, trained anew, differ in size by no more than this share: by what is noted in them."""
# One node has the folder (it holds a lock on it): what another start began, nobody goes on with.
_THIS_START = secrets.token_hex(8)
_count = itertools.count()


@dataclass
class TuningRequest:
    """A verified version, and what is asked about running it on this node.

    setup: what its trials have in common; its reference loads the weights as they were published, and need not be one
    to choose. variants: to choose from. key: under which the answer is remembered; network_signature: what it has in
    common with similar models.
    """

    setup: TrialSetup
    variants: Sequence[Variant]
    key: str = field(init=False)
    network_signature: str = field(init=False)

    def __post_init__(self) -> None:
        """Reads what is installed, from disk."""
        s = self.setup
        fmt = s.version.format
        what = {
            "schema": _SCHEMA,
            "processors": _processors(),
            "variants": [[asdict(v), runtime_versions(v, fmt)] for v in self.variants],
            "reference": [asdict(s.reference), runtime_versions(s.reference, fmt)],
            "threads": s.threads,
            "max_batch": s.max_batch,
            "tolerance": asdict(s.tolerance),
            "format": fmt,
            "ready": sorted(s.version.alternates),
        }
        c = s.version.contract
        self.network_signature = _hash({**what, "input": c.imgsz, "classes": len(c.names)})
        self.key = _hash({**what, "digest": s.version.digest}) + _size(s.imgsz)

    def plan(self, variant: Variant, weights: Path, compiled: Path | None = None) -> LoadPlan:
        """How `variant` is loaded from the file `weights`."""
        s = self.setup
        return LoadPlan(variant, weights, s.version.companions, s.threads, s.max_batch, s.imgsz, compiled)


def load_result(request: TuningRequest, root: Path, any_size: bool = False) -> Artifact | None:
    """The answer of an earlier time, if it still holds; with `any_size` also one for frames of another shape."""
    folders = [root / request.key]
    if any_size:
        folders += _newest_first(root.glob(f"{request.key.partition('-')[0]}-*"))
    found = (_load_result(request, folder) for folder in folders)
    return next((artifact for artifact in found if artifact), None)


def similar_model(request: TuningRequest, root: Path, settled: bool = False) -> Variant | None:
    """What was fastest for the last version that is shaped like this one and was asked about in the same way; with
    `settled` only where that is beyond doubt."""
    size = request.setup.version.weights.stat().st_size
    for folder in _newest_first(root.glob("[!.]*")):
        try:
            doc = json.loads((folder / _RESULT_FILE).read_bytes())
            variant = Variant(**doc["variant"])
            same_network = doc["family"] == request.network_signature
            similar = same_network and abs(doc["bytes"] - size) <= _SIMILAR_SIZE * size
            similar = similar and (not settled or bool(doc.get("settled")))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if similar and variant in request.variants:
            return variant
    return None


def load_passed(artifact: Artifact, key: str) -> tuple[GateResult, ...] | None:
    """What the gates found when the version, in this form, passed them on the terms of `key`; None if it didn't."""
    return _load_passed(artifact.folder / f"passed-{key}") if artifact.folder else None


def last_passed(artifact: Artifact) -> tuple[GateResult, ...]:
    """What the gates found when the version last passed them in this form, on whatever terms; else nothing."""
    files = _newest_first(artifact.folder.glob("passed-*")) if artifact.folder else []
    return next((results for file in files if (results := _load_passed(file))), ())


def store_passed(artifact: Artifact, key: str) -> None:
    """Remember that it has, if its form is remembered. Raises OSError."""
    if artifact.folder is not None and artifact.folder.is_dir():
        found = [to_json(result) for result in artifact.gates]
        write_durably(artifact.folder / f"passed-{key}", json.dumps(found).encode())


def _load_passed(file: Path) -> tuple[GateResult, ...] | None:
    try:
        results = tuple(from_json(GateResult, doc) for doc in json.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as e:  # empty: an earlier release kept no results
        _log.info("gates.forgotten", file=str(file), why=str(e))
        return None
    return results if all(result.passed for result in results) else None


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
    """Make the folder to prepare in, which `store_result` moves into place. Raises OSError."""
    _clear_leftovers(root)
    work.mkdir(parents=True)


def store_result(
    request: TuningRequest, artifact: Artifact, root: Path, work: Path, keep: Collection[str] = ()
) -> Artifact:
    """Move what was made into place; the folder appears whole or not at all. keep: names of files in it that stay
    although this artifact has no use for them. Raises OSError."""
    folder, plan = root / request.key, artifact.plan
    made = {
        kind: path
        for kind, path in (("weights", plan.weights), ("compiled", plan.compiled))
        if path and path.is_relative_to(work) and path.exists()
    }
    for entry in work.iterdir():
        if entry not in made.values() and entry.name not in keep:
            entry.unlink()
    doc = {
        "digest": artifact.version.digest,
        "family": request.network_signature,
        "bytes": artifact.version.weights.stat().st_size,
        "variant": asdict(plan.variant),
        "imgsz": plan.imgsz,
        "made": {kind: (path.name, hash_file(path).sha256) for kind, path in made.items()},
        "trials": [to_json(t) for t in artifact.trials],
        "settled": artifact.tuning is Tuning.SETTLED,
    }
    write_durably(work / _RESULT_FILE, json.dumps(doc, indent=1).encode())
    _replace(folder, work)
    kept = {kind: folder / path.name for kind, path in made.items()}
    plan = replace(plan, weights=kept.get("weights", plan.weights), compiled=kept.get("compiled"))
    return replace(artifact, plan=plan, folder=folder)


_replacing = threading.Lock()


def _replace(folder: Path, work: Path) -> None:
    """Move `work` to where `folder` is, if it is there: what serves from it may look for its files at any time."""
    before = work.with_name(f".before{work.name}")
    with _replacing:  # two models may have the same weights, and be ready at the same instant
        if folder.exists():
            folder.rename(before)
        try:
            work.rename(folder)
        except OSError:
            with suppress(OSError):
                before.rename(folder)
            raise
    shutil.rmtree(before, ignore_errors=True)


def _clear_leftovers(root: Path) -> None:
    """Remove what a killed node was making."""
    for leftover in root.glob(".*.tmp"):
        if _THIS_START not in leftover.name:
            shutil.rmtree(leftover, ignore_errors=True)


def _load_result(request: TuningRequest, folder: Path) -> Artifact | None:
    try:
        doc = json.loads((folder / _RESULT_FILE).read_bytes())
        variant = Variant(**doc["variant"])
        if variant not in request.variants:
            return None
        made = {kind: folder / name for kind, (name, _) in doc["made"].items()}
        for kind, (_, sha256) in doc["made"].items():
            if hash_file(made[kind]).sha256 != sha256:
                raise ValueError(f"{made[kind]} is not what was made")
        weights = made["weights"] if "weights" in made else request.setup.version.files[variant.format]
        trials = tuple(_trial(trial) for trial in doc["trials"])
        settled = bool(doc.get("settled")) or list(request.variants) == [request.setup.reference]
        imgsz = (int(doc["imgsz"][0]), int(doc["imgsz"][1])) if doc["imgsz"] else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as e:
        _log.warning("prepared.unusable", folder=str(folder), why=str(e))
        shutil.rmtree(folder, ignore_errors=True)
        return None
    plan = replace(request.plan(variant, weights, made.get("compiled")), imgsz=imgsz)
    tuning = Tuning.SETTLED if settled else Tuning.PROVISIONAL
    return Artifact(request.setup.version, plan, trials, folder=folder, tuning=tuning)


def _trial(doc: dict[str, Any]) -> Trial:
    """A trial as any release has stored it. Raises what a document that is none of ours can raise."""
    parity = doc["parity"] and {**asdict(_NO_PARITY), **doc["parity"]}
    return from_json(Trial, {**asdict(_NO_TRIAL), **doc, "parity": parity})


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
