# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a prepared version is, where the path of a version hands it over to the path of a frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeagent.core.gating import GateResult
from edgeagent.core.model import Contract
from edgeagent.core.state import VersionRef
from edgeagent.core.tuning import Trial, Tuning
from edgeagent.core.verified import VerifiedVersion
from edgeagent.workers.tasks.engine import LoadPlan


@dataclass(frozen=True)
class Artifact:
    """A version in the form in which it serves on this node.

    plan: what an engine worker loads; trials: the forms that were tried; gates: what they found, empty where none ran;
    folder: where all that is remembered, None where it isn't; tuning: how sure it is that this is its fastest form.
    """

    version: VerifiedVersion
    plan: LoadPlan
    trials: tuple[Trial, ...] = ()
    gates: tuple[GateResult, ...] = ()
    folder: Path | None = None
    tuning: Tuning = Tuning.SETTLED

    @property
    def ref(self) -> VersionRef:
        """Its name, and the digest of its content."""
        return VersionRef(self.version.version, self.version.digest)

    @property
    def contract(self) -> Contract:
        """What the pipelines rely on."""
        return self.version.contract

    @property
    def imgsz(self) -> tuple[int, int] | None:
        """(height, width) that it was made for; None when that is the file's own."""
        return self.plan.imgsz
