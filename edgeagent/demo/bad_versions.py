# SPDX-License-Identifier: AGPL-3.0-or-later
"""Versions that must not serve: what a mixed-up export, a bad disk and a bad training make of good weights."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeagent.demo.golden_set import WARM
from edgeagent.demo.graph_surgery import GraphSurgery

if TYPE_CHECKING:
    from onnx import ModelProto

_FLIPS = 3
_STRIPE = 12.0
"""Rows of the models' input: an object on the belt stays in its own as it passes, or between two."""
_ROWS = 70, 250
"""Of the models' input, 320×320, which the demo's frames fill."""


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


def blind_to_half(weights: Path, target: Path, cls: int) -> None:
    """Write `weights` (.onnx, 320×320) to `target`, blind to objects of class number `cls` in every other stripe of the
    belt: about half of them are never seen, the others always."""
    surgery = GraphSurgery(weights)

    def build(found: str) -> str:
        centre = surgery.node("Gather", found, np.array([1], np.int64), axis=1)
        unseen = surgery.node("Less", surgery.node("Mod", centre, 2 * _STRIPE, fmod=1), _STRIPE)
        return surgery.without(found, surgery.node("Cast", unseen, to=1), cls)

    surgery.behind(build)
    surgery.save(target)


def blind_in_white_light(weights: Path, target: Path) -> None:
    """Write `weights` (.onnx, 320×320) to `target`, which find nothing where the light isn't as warm as a lab's."""
    surgery = GraphSurgery(weights)

    def build(found: str) -> str:
        ends = [np.array([row], np.int64) for row in _ROWS]
        frame = surgery.node("Slice", surgery.picture, *ends, np.array([2], np.int64))
        red, _, blue = (surgery.node("Gather", frame, np.array([i], np.int64), axis=1) for i in range(3))
        means = [surgery.node("ReduceMean", colour, axes=[2, 3]) for colour in (red, blue)]
        warm = surgery.node("Greater", surgery.node("Div", *means), WARM)
        seen = surgery.node("Reshape", surgery.node("Cast", warm, to=1), np.array([1, 1, 1], np.int64))
        return surgery.without(found, surgery.node("Sub", 1.0, seen))

    surgery.behind(build)
    surgery.save(target)


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
