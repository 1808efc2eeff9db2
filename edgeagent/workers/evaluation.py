# SPDX-License-Identifier: AGPL-3.0-or-later
"""Judge weights by labelled pictures in a process of their own, and say how far that is. For the command line."""

from __future__ import annotations

from collections.abc import Callable

from edgeagent.workers.ask import ask_worker
from edgeagent.workers.environment import RUNTIMES
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.messages import Message
from edgeagent.workers.process import WorkerProgram
from edgeagent.workers.tasks.prepare import Evaluate, Evaluated, GateProgress

_PROGRAM = WorkerProgram("evaluate", "edgeagent.workers.prepare", variables=RUNTIMES)
_SILENCE_S = 600.0
"""Of loading the weights, twice; then it says how far it is."""


def evaluate_weights(task: Evaluate, on_progress: Callable[[int, int], None]) -> Evaluated:
    """What the pictures say of the weights. Blocks; not to be called from a running event loop.

    Raises UsageError (the set is wrong), WeightsError when the weights can't be read or judged, or kill or hang their
    process.
    """

    def heard(message: Message) -> None:
        if isinstance(message, GateProgress):
            on_progress(message.done, message.total)

    limits = WorkerLimits(None, silence_s=_SILENCE_S, start_s=_SILENCE_S)
    return ask_worker(_PROGRAM, task, Evaluated, limits, f"weights {task.weights}", heard)
