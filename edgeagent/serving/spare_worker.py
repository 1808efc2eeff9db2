# SPDX-License-Identifier: AGPL-3.0-or-later
"""A worker that waits for what it is to do: when that is known, Python and the libraries are in memory already.

Starting them takes longer than loading the weights of a small model.
"""

from __future__ import annotations

import asyncio

import structlog

from edgeagent.runtimes.registry import runtime
from edgeagent.workers.process import WorkerProcess, WorkerProgram

_log = structlog.get_logger(__name__)


def libraries_of(*backends: str, soon: bool = False) -> tuple[str, ...]:
    """The modules that they import when they load, of those that may wait with them imported; of all, when they are
    needed soon."""
    rows = [runtime(backend) for backend in dict.fromkeys(backends)]
    return tuple(row.runtime.partition(":")[0] for row in rows if row and (row.preload or soon))


class SpareWorker:
    """At most one worker that waits. All on the event loop's thread."""

    def __init__(self) -> None:
        self.worker: WorkerProcess | None = None
        self._program: WorkerProgram | None = None

    def start(self, program: WorkerProgram) -> None:
        """Start one that runs `program`, unless such a one waits. Whoever needs one does without it when there is no
        process, descriptor or memory to be had."""
        if self.worker and self.worker.alive:
            if self._program == program:
                return
            self.worker.kill("another runtime serves")
        self._program = program
        try:
            self.worker = WorkerProcess(program, None, lambda message: None, lambda how: None)
        except OSError as e:
            _log.warning("spare_worker.not_started", kind=program.kind, why=str(e))

    def take(self) -> WorkerProcess | None:
        """The one that waits, for `WorkerProcess.adopt`; from now on it is the taker's."""
        worker, self.worker = self.worker, None
        return worker if worker and worker.alive else None

    async def end(self) -> None:
        """Kill it, and return when it is gone."""
        worker = self.take()
        if worker:
            await asyncio.shield(worker.end("not needed"))
