# SPDX-License-Identifier: AGPL-3.0-or-later
"""Versions in a cache, as a fetch leaves them."""

from __future__ import annotations

import hashlib

from edgeagent.core.model import Contract, Manifest, WeightFile
from edgeagent.store.cache import Cache, CachedVersion

CONTRACT = Contract("detect", ("scratch",), (320, 320), 32)


def manifest_of(version: str, files: dict[str, bytes], model: str = "yolo") -> Manifest:
    """A version with these files, the first being the weights; formats by suffix, golden by folder."""
    listed = tuple(
        WeightFile(path, hashlib.sha256(data).hexdigest(), len(data), path.rpartition(".")[2])
        for path, data in files.items()
    )
    golden = tuple(path for path in files if path.startswith("golden/"))
    return Manifest(model, version, 1, "2026-01-31T12:00:00Z", CONTRACT, listed, golden)


def put(
    cache: Cache, version: str, files: dict[str, bytes] | None = None, model: str = "yolo"
) -> CachedVersion:
    """Bring a version into the cache, as a fetch does."""
    files = files or {"best.onnx": f"{model} {version}".encode()}
    manifest = manifest_of(version, files, model)
    for file, data in zip(manifest.files, files.values(), strict=True):
        with cache.partial(file) as stream:
            stream.truncate(0)
            stream.write(data)
            cache.complete(file, stream)
    return cache.add(manifest)
