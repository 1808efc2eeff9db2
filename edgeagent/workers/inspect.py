# SPDX-License-Identifier: AGPL-3.0-or-later
"""Look at a weights file in a throw-away process: what it says of itself, without trusting it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from edgeagent.core.model import Contract
from edgeagent.errors import WeightsError
from edgeagent.runtimes.port import ModelMetadata
from edgeagent.workers.messages import Control, Message
from edgeagent.workers.process import Exit, WorkerProcess

_TIMEOUT_S = 120.0


def inspect_weights(path: Path) -> ModelMetadata:
    """The facts of a `.onnx` or `.pt` file. Blocks; not to be called from a running event loop.

    Raises WeightsError when the file can't be read, or kills or outlasts the process that reads it.
    """
    answer = asyncio.run(_ask(path))
    if answer.op != "done":
        raise WeightsError(answer.body["what"], answer.body["why_alone"], answer.body["todo"])
    return ModelMetadata(Contract.from_values(answer.body["contract"]), answer.body["format"])


async def _ask(path: Path) -> Control:
    answer: asyncio.Future[Control] = asyncio.get_running_loop().create_future()

    def refused(why: str) -> Control:
        return Control("failed", {"what": f"weights {path}", "why_alone": why, "todo": "export them again"})

    def say(control: Control) -> None:
        if not answer.done():
            answer.set_result(control)

    def heard(message: Message) -> None:
        if isinstance(message, Control):
            say(message)

    def ended(how: Exit) -> None:
        say(refused(f"the process that read it ended: {how}"))

    worker = WorkerProcess(
        "inspect",
        "edgeagent.workers.prepare",
        Control("settings", {"task": "inspect", "weights": str(path.resolve())}),
        heard,
        ended,
    )
    try:
        return await asyncio.wait_for(answer, _TIMEOUT_S)
    except TimeoutError:
        return refused(f"reading it took more than {_TIMEOUT_S:g} s")
    finally:
        await worker.end()
