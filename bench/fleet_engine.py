# SPDX-License-Identifier: AGPL-3.0-or-later
"""An engine that only pretends, for many nodes in one process: what a real one takes time for takes its time here, and
what a version comes to is said by its name.

`install` puts these in the place of the real ones; the updater, the reconciler and all that is above them are real.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeagent.core.gating import GateResult
from edgeagent.core.lifecycle import Stage
from edgeagent.core.model import Contract
from edgeagent.core.state import Goal, PrepareMode
from edgeagent.core.verified import VerifiedVersion
from edgeagent.runtimes.variants import Variant
from edgeagent.serving.artifact import Artifact
from edgeagent.serving.engine_process import EngineUser
from edgeagent.update import updater
from edgeagent.update.preparation import PreparationContext, RefusedError
from edgeagent.update.trial_runner import PrepareSettings
from edgeagent.workers.tasks.engine import LoadPlan

REFUSED, FAILS = "refused", "fails"
"""A version whose name ends so is refused by a gate, or fails on probation, on so many nodes in a hundred as it says
before that: `v3-20-refused`; without a number on all."""
_CONTRACT = Contract("detect", ("scratch",), (64, 64), 32)
_VARIANT = Variant("onnxruntime", "cpu", "fp32", "onnx")


@dataclass(frozen=True)
class Times:
    """What is pretended to take so many seconds. probation: from the swap to STABLE."""

    fetch: float = 0.5
    gates: float = 0.5
    load: float = 0.5
    probation: float = 1.0

    @property
    def in_all(self) -> float:
        """From the intent to STABLE, if nothing else took time."""
        return self.fetch + self.gates + self.load + self.probation


@dataclass(frozen=True)
class Pretence(PrepareSettings):
    """The settings of a preparation that knows on which node it is."""

    node: str = ""
    times: Times = field(default_factory=Times)


def fate(version: str, node: str) -> str:
    """REFUSED, FAILS, or "" for a good end."""
    rest, _, kind = version.rpartition("-")
    if kind not in (REFUSED, FAILS):
        return ""
    share = rest.rpartition("-")[2]
    percent = int(share) if share.isdigit() else 100
    place = int(hashlib.sha256(f"{version} {node}".encode()).hexdigest()[:8], 16) % 100
    return kind if place < percent else ""


class PretendedPreparation:
    """Stands for Preparation."""

    def __init__(
        self, model: str, goal: Goal, mode: PrepareMode, settings: Pretence, context: PreparationContext
    ) -> None:
        self.report = None
        self._model = model
        self._goal = goal
        self._mode = mode
        self._settings = settings
        self._context = context

    def room(self) -> tuple[dict[str, float], bool]:
        """There is enough."""
        return {}, False

    def pauses(self, why: str) -> None:
        """No step is begun anew here."""

    async def run(self) -> Artifact:
        """After its time. Raises RefusedError."""
        version, times = self._goal.version, self._settings.times
        digest = digest_of(version)
        if self._mode is PrepareMode.UPDATE:  # else it lies here, and is known to be good
            await asyncio.sleep(times.fetch)
        for stage in (Stage.VERIFYING, Stage.PREPARING, Stage.GATING):
            self._context.on_stage(stage, digest, ())
        self._context.on_backend(_VARIANT.backend)
        if self._mode is PrepareMode.UPDATE:
            await asyncio.sleep(times.gates)
        if fate(version, self._settings.node) == REFUSED:
            raise RefusedError("gate golden: recall 0.10 of scratch, and 0.80 is asked for")
        verified = VerifiedVersion(self._model, version, digest, _CONTRACT, "onnx", Path("weights.onnx"))
        plan = LoadPlan(_VARIANT, verified.weights, {}, 1, 1, None)
        return Artifact(verified, plan, gates=(GateResult("golden", True, {"recall": 0.9}),))


class PretendedEngine:
    """Stands for Engine."""

    times = Times()

    def __init__(self, artifact: Artifact, _settings: Any, user: EngineUser, *_: Any) -> None:
        self.artifact, self.ref = artifact, artifact.ref
        self.name, self.ready, self.worker = "pretended", False, None
        self.in_flight, self.max_batch, self.at_once, self.frame_ms = 0, 1, 1, 8.0
        self._user = user

    async def load(self, urgent: bool) -> None:
        """After its time."""
        await asyncio.sleep(self.times.load)
        self.ready = True

    def answer_within(self, seconds: float | None) -> None:
        """Nobody asks it anything."""

    def forget_ring(self, ring: int) -> None:
        """It knows none."""

    async def retire(self) -> None:
        """At once."""
        self.ready = False


class PretendedSpare:
    """Stands for SpareEngine."""

    worker = None

    def wait(self, backend: str, soon: bool = False, urgent: bool = False) -> None:
        """There is none."""

    async def end(self) -> None:
        """There is none."""


def digest_of(version: str) -> str:
    """Of a version that nobody has published."""
    return f"sha256:{hashlib.sha256(version.encode()).hexdigest()}"


def install(times: Times) -> None:
    """From now on every updater of this process has these."""
    PretendedEngine.times = times
    for name, stands_in in (
        ("Preparation", PretendedPreparation),
        ("Engine", PretendedEngine),
        ("SpareEngine", PretendedSpare),
    ):
        assert hasattr(updater, name)
        setattr(updater, name, stands_in)
