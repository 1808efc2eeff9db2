# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node's side of preparing a candidate: a throw-away worker that fetches, verifies and runs the gates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeagent.core.lifecycle import Stage
from edgeagent.core.model import Contract
from edgeagent.core.state import Goal, Ref
from edgeagent.pipeline.frame import Frame
from edgeagent.serving.engine import Artifact
from edgeagent.workers.messages import Control, Message, Ring
from edgeagent.workers.process import Exit, WorkerProcess

_MODULE = "edgeagent.workers.prepare"
_WATCH_S = 0.1
_FINGERPRINT_S = 60.0


class RefusedError(Exception):
    """The candidate can't go on. `transient`: the network's doing; `fingerprint`: of what the store holds."""

    def __init__(self, why: str, transient: bool = False, fingerprint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.transient = transient
        self.fingerprint = fingerprint


@dataclass(frozen=True)
class PrepareSettings:
    """What a preparing worker needs to know. Times in seconds, memory in bytes."""

    store_url: str
    storage_options: dict[str, Any]
    timeout_s: float
    cache: Path
    backend: str
    device: str
    threads: int
    fetch_s: float
    gate_s: float
    memory_limit: int


@dataclass
class Report:
    """How far a preparation is, for status: stage, gate, and the file being fetched in bytes."""

    stage: Stage = Stage.FETCHING
    gate: str = ""
    file: str = ""
    done: int = 0
    total: int = 0
    resumed: int = 0


class Preparation:
    """One candidate in one preparing worker."""

    def __init__(
        self,
        model: str,
        goal: Goal,
        settings: PrepareSettings,
        active_contract: Contract | None,
        recent_frames: Callable[[], Sequence[Frame]],
        on_stage: Callable[[Stage, str], None],
    ) -> None:
        self.report = Report()
        self.worker: WorkerProcess | None = None
        self.version = goal.version
        self._model = model
        self._goal = goal
        self._settings = settings
        self._active_contract = active_contract
        self._recent_frames = recent_frames
        self._on_stage = on_stage
        self._lent: list[Frame] = []
        self._progress_at = time.monotonic()
        self._outcome: asyncio.Future[Artifact]

    async def run(self) -> Artifact:
        """Fetch, verify and pass the gates. Raises RefusedError. The worker is gone when this ends or is cancelled."""
        s = self._settings
        self._outcome = asyncio.get_running_loop().create_future()
        self.worker = WorkerProcess(
            "prepare",
            _MODULE,
            {
                "task": "candidate",
                "low_priority": True,
                "model": self._model,
                "version": self._goal.version,
                "known_good": self._goal.known_good,
                "digest": self._goal.digest,
                "allow_new_contract": self._goal.allow_new_contract,
                "active_contract": asdict(self._active_contract) if self._active_contract else None,
                "cache": str(s.cache),
                "backend": s.backend,
                "device": s.device,
                "threads": s.threads,
                **_store_settings(s),
            },
            self._heard,
            self._ended,
        )
        try:
            while not self._outcome.done():
                await asyncio.wait([self._outcome], timeout=_WATCH_S)
                self._check_limits(self.worker)
            return self._outcome.result()
        finally:
            self._outcome.cancel()  # if it is still open, nobody waits for it any more
            await asyncio.shield(self.worker.end())
            for frame in self._lent:
                frame.release()
            self._lent.clear()

    def _heard(self, message: Message) -> None:
        if not isinstance(message, Control) or self._outcome.done():
            return
        self._progress_at = time.monotonic()
        body = message.body
        match message.op:
            case "stage":
                self.report = Report(stage=Stage(body["stage"]))
                self._on_stage(self.report.stage, body["digest"])
            case "gate":
                self.report.gate = body["name"]
            case "progress":
                r = self.report
                r.file, r.done, r.total, r.resumed = (
                    body["file"],
                    body["done"],
                    body["total"],
                    body["resumed"],
                )
            case "frames?":
                self._lend_frames()
            case "prepared":
                contract = Contract.from_values(body["contract"])
                ref = Ref(self._goal.version, body["digest"])
                self._outcome.set_result(Artifact(ref, Path(body["weights"]), body["format"], contract))
            case "failed":
                self._outcome.set_exception(RefusedError(body["why"], body["transient"], body["fingerprint"]))

    def _lend_frames(self) -> None:
        assert self.worker is not None
        rings: set[int] = set()
        for frame in self._recent_frames():
            self._lent.append(frame.retain())
            if frame.ring.id not in rings:
                rings.add(frame.ring.id)
                self.worker.send(
                    Ring(frame.ring.id, frame.ring.slots, frame.ring.slot_bytes), [frame.ring.fd]
                )
        where = [
            {"ring": f.ring.id, "slot": f.slot, "height": f.height, "width": f.width} for f in self._lent
        ]
        self.worker.send(Control("frames", {"frames": where}))

    def _ended(self, how: Exit) -> None:
        if not self._outcome.done():
            where = f"gate {self.report.gate}" if self.report.gate else self.report.stage.lower()
            # While it only fetches, no weights have been touched: the end is the machine's doing.
            transient = self.report.stage is Stage.FETCHING
            self._outcome.set_exception(
                RefusedError(f"{where}: the preparing worker ended: {how}", transient)
            )

    def _check_limits(self, worker: WorkerProcess) -> None:
        s, quiet = self._settings, time.monotonic() - self._progress_at
        limit = s.fetch_s if self.report.stage in (Stage.FETCHING, Stage.VERIFYING) else s.gate_s
        memory = worker.memory_bytes()
        if quiet > limit:
            worker.kill(f"no progress for {limit:g} s")
        elif memory > s.memory_limit:
            worker.kill(f"it took {memory >> 20} MB of memory, the limit is {s.memory_limit >> 20} MB")


async def store_fingerprint(model: str, version: str, settings: PrepareSettings) -> str:
    """What the store holds under a version now; "" when that can't be told."""
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def say(value: str) -> None:
        if not answer.done():
            answer.set_result(value)

    def heard(message: Message) -> None:
        if isinstance(message, Control):
            say(message.body.get("value", ""))

    worker = WorkerProcess(
        "prepare",
        _MODULE,
        {
            "task": "fingerprint",
            "low_priority": True,
            "model": model,
            "version": version,
            **_store_settings(settings),
        },
        heard,
        lambda _how: say(""),
    )
    try:
        return await asyncio.wait_for(answer, _FINGERPRINT_S)
    except TimeoutError:
        return ""
    finally:
        await asyncio.shield(worker.end())


def _store_settings(s: PrepareSettings) -> dict[str, Any]:
    return {"store_url": s.store_url, "storage_options": s.storage_options, "timeout_s": s.timeout_s}
