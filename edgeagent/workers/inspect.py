# SPDX-License-Identifier: AGPL-3.0-or-later
"""Look at a weights file in a throw-away process: what it says of itself, without trusting it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from edgeagent.errors import WeightsError
from edgeagent.runtimes.port import ModelMetadata
from edgeagent.workers.environment import RUNTIMES
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.messages import Message
from edgeagent.workers.process import Exit, WorkerProcess, WorkerProgram
from edgeagent.workers.tasks.prepare import InspectWeights, TaskFailed, WeightsInspected

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
    answer = asyncio.run(_ask(path))
    if isinstance(answer, TaskFailed):
        raise WeightsError(answer.what, answer.why, answer.todo)
    return ModelMetadata(answer.contract, answer.format)


async def _ask(path: Path) -> WeightsInspected | TaskFailed:
    answer: asyncio.Future[WeightsInspected | TaskFailed] = asyncio.get_running_loop().create_future()

    def settle(found: WeightsInspected | TaskFailed) -> None:
        if not answer.done():
            answer.set_result(found)

    def heard(message: Message) -> None:
        if isinstance(message, WeightsInspected | TaskFailed):
            settle(message)

    def ended(how: Exit) -> None:
        why = f"the process that read it ended: {how}"
        settle(TaskFailed(f"weights {path}", why, "export them again", transient=False))

    limits = WorkerLimits(
        _MEMORY_BYTES + _TIMES_ITS_SIZE * _size(path), silence_s=_TIMEOUT_S, start_s=_TIMEOUT_S
    )
    worker = WorkerProcess(_PROGRAM, InspectWeights(path.resolve()), heard, ended, limits)
    try:
        return await answer
    finally:
        await worker.end()


def _size(path: Path) -> int:
    """In bytes; 0 for what isn't there: the worker will say so."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
