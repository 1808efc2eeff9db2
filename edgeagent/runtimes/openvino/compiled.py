# SPDX-License-Identifier: AGPL-3.0-or-later
"""What OpenVINO has compiled, as a file: the next worker that serves the network loads it in half the time.

The first line is JSON, what the network says of itself; OpenVINO's own form follows, which it refuses itself when
another version or processor made it. The node keeps the file beside its tuning result, under a hash
(`update.tuning_cache`).
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from edgeagent.core.model import Contract
from edgeagent.runtimes.port import ModelMetadata

_MAX_HEADER_BYTES = 16 << 20


class CompiledFile(NamedTuple):
    """What such a file holds."""

    content: bytes
    metadata: ModelMetadata


def write_compiled(path: Path, content: bytes, metadata: ModelMetadata) -> None:
    """Write the file whole or not at all. Raises OSError."""
    unfinished = path.with_name(path.name + ".part")
    try:
        with unfinished.open("wb") as file:
            file.write(json.dumps(_header(metadata)).encode() + b"\n")
            file.write(content)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _header(metadata: ModelMetadata) -> dict[str, object]:
    return {  # names on disk
        "contract": asdict(metadata.contract),
        "format": metadata.format,
        "head": metadata.layout,
        "batches": metadata.batches,
    }


def read_compiled(path: Path) -> CompiledFile:
    """Raises OSError, ValueError (is no such file)."""
    with path.open("rb") as file:
        line = file.readline(_MAX_HEADER_BYTES)
        content = file.read()
    try:
        said: Any = json.loads(line)
        metadata = ModelMetadata(
            Contract.from_values(said["contract"]), said["format"], said["head"], said["batches"]
        )
    except (KeyError, TypeError, RecursionError) as e:
        raise ValueError(f"{path} is no compiled network") from e
    return CompiledFile(content, metadata)
