# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a prepared version is, where the path of a version hands it over to the path of a frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeagent.core.model import Contract
from edgeagent.core.state import VersionRef
from edgeagent.core.tuning import Trial
from edgeagent.runtimes.variants import Variant


@dataclass(frozen=True)
class Artifact:
    """A prepared version: what an engine worker loads. provisional: as it was published, for want of a verdict on what
    is fastest here."""

    ref: VersionRef
    weights: Path
    contract: Contract
    variant: Variant
    trials: tuple[Trial, ...] = ()
    companions: Mapping[str, str] = field(default_factory=dict)
    imgsz: tuple[int, int] | None = None
    compiled: Path | None = None
    provisional: bool = False
