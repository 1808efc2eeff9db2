# SPDX-License-Identifier: AGPL-3.0-or-later
"""Versions to fetch, without a real network in them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from edgeagent.core.model import Contract, Manifest
from edgeagent.runtimes.port import ModelMetadata
from edgeagent.store.publish import publish

METADATA = ModelMetadata(Contract("detect", ("scratch", "dent"), (320, 320), 32), "onnx")


def some_bytes(size: int, seed: int = 0) -> bytes:
    """`size` bytes that no part of another seed's repeats."""
    return random.Random(seed).randbytes(size)


def publish_bytes(
    store: str,
    version: str,
    weights: bytes,
    scratch: Path,
    *,
    golden: Path | None = None,
    options: Mapping[str, object] | None = None,
    created: str = "",
    model: str = "yolo",
) -> Manifest:
    """Publish `weights` as `<model>/<version>`; `scratch` holds the local file. created: now by default."""
    path = scratch / "best.onnx"
    path.write_bytes(weights)
    return publish(
        path,
        model,
        version,
        store,
        metadata=METADATA,
        golden=golden,
        storage_options=options,
        created=created,
    )
