# SPDX-License-Identifier: AGPL-3.0-or-later
"""Versions that must not serve: what a mixed-up export and a bad disk make of good weights."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

_FLIPS = 3


def permute_names(weights: Path, target: Path) -> tuple[str, ...]:
    """Write `weights` (.onnx) to `target` with its class names moved on by one, and nothing else changed.

    Every shape and every number stays right: only the names tell that class 0 means another thing now.
    Returns the names as they are then. Raises OSError, ValueError when the weights hold no names.
    """
    model = _load(weights)
    entry = next((e for e in model.metadata_props if e.key == "names"), None)
    names = ast.literal_eval(entry.value) if entry else {}
    if entry is None or not isinstance(names, dict) or len(names) < 2:
        raise ValueError(f"{weights} holds no class names to permute")
    moved = [names[(i + 1) % len(names)] for i in range(len(names))]
    entry.value = repr(dict(enumerate(moved)))
    target.write_bytes(model.SerializeToString())
    return tuple(moved)


def copy_with_note(weights: Path, target: Path, note: str) -> None:
    """Write `weights` (.onnx) to `target` with a note in its metadata: the same network, another content."""
    model = _load(weights)
    model.metadata_props.add(key="note", value=note)
    target.write_bytes(model.SerializeToString())


def flip_bits(path: Path) -> list[int]:
    """Flip one bit each in a few bytes spread over the file, as a failing disk does. Returns their offsets."""
    size = path.stat().st_size
    offsets = [size * (i + 1) // (_FLIPS + 1) for i in range(_FLIPS)]
    with path.open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            [byte] = file.read(1)
            file.seek(offset)
            file.write(bytes([byte ^ 0x10]))
        file.flush()
        os.fsync(file.fileno())
    return offsets


def _load(weights: Path) -> ModelProto:
    import onnx

    return onnx.load_model_from_string(weights.read_bytes())
