# SPDX-License-Identifier: AGPL-3.0-or-later
"""Put an immutable version into a model store.

Files first, the manifest last: what a killed publisher leaves is not a version, and publishing again completes
it. File names carry their hash, so that of two publishers of one version name neither writes into the files of
the other; the store takes one manifest only.
"""

from __future__ import annotations

import hashlib
import os
import reprlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.core.model import (
    FORMATS,
    MAX_FILES,
    Manifest,
    WeightFile,
    check_name,
    parse_manifest,
    path_fault,
)
from edgeagent.core.store_documents import removal_path
from edgeagent.errors import ConflictError, IntegrityError, UsageError
from edgeagent.runtimes.openvino.ir import companions_beside
from edgeagent.store.golden_set import golden_set
from edgeagent.store.remote import RemoteStore, already_published
from edgeagent.store.withdrawals import find_withdrawal
from edgeagent.util.hashing import hash_file

if TYPE_CHECKING:  # numpy comes with it
    from edgeagent.runtimes.port import ModelMetadata


_GOLDEN = "golden-"


@dataclass(frozen=True)
class _Source:
    """A local file to publish, and what it was when it was hashed."""

    path: Path
    sha256: str
    size: int
    mtime_ns: int
    format: str


def publish(
    weights: Path,
    model: str,
    version: str,
    store_url: str,
    *,
    metadata: ModelMetadata,
    alternates: Sequence[tuple[Path, ModelMetadata]] = (),
    golden: Path | None = None,
    note: str = "",
    metrics: Mapping[str, float] | None = None,
    source: Mapping[str, str] | None = None,
    created: str = "",
    storage_options: Mapping[str, object] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Manifest:
    """Publish `weights`, and the golden set, as `<store>/<model>/<version>`.

    golden: labelled pictures in the YOLO layout, a data.yaml or a folder, whose classes are those of the weights; or a
    folder of pictures without labels, which say nothing of a version, and forms of the weights are compared on.

    metadata: what the weights say of themselves. alternates: the same network in further formats, each with what it
    says of itself: task, class names and stride must be those of `metadata`, the input size may be another. created:
    ISO 8601 in UTC; now by default. Returns the manifest as it stands in the store; its sequence is one more than the
    highest there. (Two versions of a model that are published at the same instant may get the same one.)
    on_progress(done, total): files that are in the store.

    Raises UsageError (names, no such file, too many, ready files that don't go with `weights`, a read-only store),
    ConflictError (the version exists, was withdrawn, or is being removed), UnavailableError, MissingExtraError.
    """
    check_name("model", model)
    check_name("version", version)
    store = RemoteStore(store_url, storage_options=storage_options)
    store.prepare_to_publish()
    if store.has_version(model, version):
        raise already_published(model, version, store.name)
    _check_name_is_free(store, model, version)
    networks = [(weights, metadata), *alternates]
    _check_alike(networks)
    with tempfile.TemporaryDirectory(prefix="edgeagent-publish-") as scratch:
        sources = _sources(
            networks, golden_set(golden, metadata.contract.names, Path(scratch)) if golden else {}
        )
        manifest = Manifest(
            model=model,
            version=version,
            sequence=1 + max((_sequence(store, model, v) for v in store.versions(model)), default=0),
            created=created or datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            contract=metadata.contract,
            files=tuple(WeightFile(path, s.sha256, s.size, s.format) for path, s in sources.items()),
            golden=tuple(path for path in sources if "/" in path),  # only they lie in a folder
            metrics=dict(metrics or {}),
            source=dict(source or {}),
            note=note,
        )
        try:
            parse_manifest(manifest.to_json(), model, version)  # no node would take what fails here
        except IntegrityError as e:
            raise UsageError(f"version {model}/{version}", f"can't be published: {e.why}") from e
        _put(store, manifest, sources, on_progress)
    return manifest


def _check_name_is_free(store: RemoteStore, model: str, version: str) -> None:
    """Raises ConflictError for the name of a version that was withdrawn, or whose files are being removed."""
    todo = "publish under a new version name"
    if found := find_withdrawal(store, model, version):
        raise ConflictError(
            f"version {model}/{version}", f"there was one, and it was withdrawn: {found}", todo
        )
    if store.read(removal_path(model, version), 0) is not None:
        why = f"there was one, and not all of its files are removed from the store {store.name}"
        raise ConflictError(f"version {model}/{version}", why, todo)


def _put(
    store: RemoteStore,
    manifest: Manifest,
    sources: Mapping[str, _Source],
    on_progress: Callable[[int, int], None],
) -> None:
    """All files, then the manifest."""
    for done, (path, s) in enumerate(sources.items()):
        on_progress(done, len(sources))
        store.put_file(manifest.model, manifest.version, path, s.path)
        if _stamp(s.path) != (s.size, s.mtime_ns):
            raise UsageError(
                f"file {s.path}", "changed while it was published", "publish again when it is at rest"
            )
    store.put_manifest(manifest.model, manifest.version, manifest.to_json())
    on_progress(len(sources), len(sources))


def _check_alike(networks: Sequence[tuple[Path, ModelMetadata]]) -> None:
    """Raise UsageError unless all are in known formats, each in its own, and agree on what a pipeline relies on."""
    weights, source = networks[0]
    seen: dict[str, Path] = {}
    for path, metadata in networks:
        if metadata.format not in FORMATS:
            raise UsageError(
                f"weights {path}", f"format {metadata.format!r}", f"use one of {', '.join(FORMATS)}"
            )
        if metadata.format in seen:
            raise UsageError(
                f"ready file {path}",
                f"in the same format as {seen[metadata.format]}: {metadata.format}",
                "give one file of each format",
            )
        seen[metadata.format] = path
        for what in ("task", "names", "stride"):
            has, expected = getattr(metadata.contract, what), getattr(source.contract, what)
            if has != expected:
                raise UsageError(
                    f"ready file {path}",
                    f"{what} {reprlib.repr(has)}, not {reprlib.repr(expected)} as in {weights}",
                    "export both from one network, or publish it as a version of its own",
                )


def _sources(
    networks: Sequence[tuple[Path, ModelMetadata]], golden: Mapping[str, Path]
) -> dict[str, _Source]:
    """Path in the version's folder → local file; the networks first, each with what belongs to it. golden: the files of
    the golden set by their path in it."""
    files: dict[str, Path] = {}
    for weights, metadata in networks:
        files[metadata.format] = weights
        if metadata.format == "openvino":
            files |= companions_beside(weights)
    sources = {}
    for fmt, path in files.items():
        if fault := path_fault(path.name):
            raise UsageError(f"file {path}", f"its name {fault}", "rename it, and publish again")
        hashed = _hash(path, fmt)
        sources[f"{path.stem}-{hashed.sha256[:12]}{path.suffix}"] = hashed
    if not golden:
        return sources
    if len(golden) > MAX_FILES - len(sources):
        why = f"has {len(golden)} files, allowed are {MAX_FILES - len(sources)}"
        raise UsageError("golden set", why, "publish a part of it")
    pictures = {name: _hash(path, _format(path)) for name, path in golden.items()}
    whole = hashlib.sha256(
        "".join(f"{name}\0{s.sha256}\0" for name, s in pictures.items()).encode()
    ).hexdigest()
    return sources | {f"{_GOLDEN}{whole[:12]}/{name}": s for name, s in pictures.items()}


def _hash(path: Path, fmt: str) -> _Source:
    try:
        size, mtime_ns = _stamp(path)
        sha256 = hash_file(path).sha256
    except OSError as e:
        raise UsageError(f"file {path}", e.strerror or str(e), "name a file that can be read") from e
    if not size:
        raise UsageError(f"file {path}", "is empty", "export or render it again")
    return _Source(path, sha256, size, mtime_ns, fmt)


def _stamp(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def _format(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()[:32] or "bin"


def _sequence(store: RemoteStore, model: str, version: str) -> int:
    try:
        return parse_manifest(store.read_manifest(model, version), model, version).sequence
    except IntegrityError:  # a broken version elsewhere in the store is no reason to refuse this one
        return 0
