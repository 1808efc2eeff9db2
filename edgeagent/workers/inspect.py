# SPDX-License-Identifier: AGPL-3.0-or-later
"""Look at a weights file in a throw-away process: what it says of itself, without trusting it."""

from __future__ import annotations

from pathlib import Path

from edgeagent.runtimes.port import ModelMetadata
from edgeagent.workers.ask import ask_worker
from edgeagent.workers.environment import RUNTIMES
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.process import WorkerProgram
from edgeagent.workers.tasks.prepare import InspectWeights, WeightsInspected

_PROGRAM = WorkerProgram("inspect", "edgeagent.workers.prepare", variables=RUNTIMES)
_TIMEOUT_S = 120.0
_MEMORY_BYTES = 2 << 30
"""Enough for torch; and some times the file on top, as reading it takes."""
_TIMES_ITS_SIZE = 4


def inspect_weights(path: Path) -> ModelMetadata:
    """The facts of a `.onnx` or `.pt` file. Blocks; not to be called from a running event loop.

    Raises WeightsError when the file can't be read, or kills or outlasts the process that reads it, or takes it more
    memory than such a file should.
    """
    limits = WorkerLimits(
        _MEMORY_BYTES + _TIMES_ITS_SIZE * _size(path), silence_s=_TIMEOUT_S, start_s=_TIMEOUT_S
    )
    found = ask_worker(_PROGRAM, InspectWeights(path.resolve()), WeightsInspected, limits, f"weights {path}")
    return ModelMetadata(found.contract, found.format)


def _size(path: Path) -> int:
    """In bytes; 0 for what isn't there: the worker will say so."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
