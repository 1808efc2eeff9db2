# SPDX-License-Identifier: AGPL-3.0-or-later
"""One question to a throw-away preparing worker, from a program without an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from edgeagent.errors import UsageError, WeightsError
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.messages import Message
from edgeagent.workers.process import Exit, WorkerProcess, WorkerProgram
from edgeagent.workers.tasks.prepare import Task, TaskFailed

A = TypeVar("A")


def ask_worker(
    program: WorkerProgram,
    task: Task,
    expected: type[A],
    limits: WorkerLimits,
    subject: str,
    on_message: Callable[[Message], None] = lambda message: None,
) -> A:
    """The answer of type `expected` to `task`. subject: for the message when the worker ends without one. on_message:
    whatever it says on its way. Blocks; not to be called from a running event loop.

    Raises UsageError where the worker says that what it was given is wrong; WeightsError for whatever else it fails by,
    or when it ends, or is ended by its limits.
    """
    answer = asyncio.run(_ask(program, task, expected, limits, subject, on_message))
    if isinstance(answer, TaskFailed):
        error = UsageError if answer.wrong_input else WeightsError
        raise error(answer.what, answer.why, answer.todo)
    return answer


async def _ask(
    program: WorkerProgram,
    task: Task,
    expected: type[A],
    limits: WorkerLimits,
    subject: str,
    on_message: Callable[[Message], None],
) -> A | TaskFailed:
    answer: asyncio.Future[A | TaskFailed] = asyncio.get_running_loop().create_future()

    def settle(found: A | TaskFailed) -> None:
        if not answer.done():
            answer.set_result(found)

    def heard(message: Message) -> None:
        if isinstance(message, (expected, TaskFailed)):
            settle(message)
        else:
            on_message(message)

    def ended(how: Exit) -> None:
        why = f"the process that read it ended: {how}"
        settle(TaskFailed(subject, why, "export them again", transient=False))

    worker = WorkerProcess(program, task, heard, ended, limits)
    try:
        return await answer
    finally:
        await worker.end()
