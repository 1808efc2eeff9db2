# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a gate is, and what it may ask for.

A gate runs in the preparing worker, at the lowest priority: it may take time and memory, within the limits of
`update.gate_seconds` (without a word) and `update.candidate_memory_mb`. The node imports gates too, to ask what they
judge by: a module of a gate imports numpy, OpenCV and runtimes inside its functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.core.gating import GateResult, GateTerms
from edgeagent.core.memory import Loading
from edgeagent.core.tuning import Parity, Tolerance
from edgeagent.core.verified import VerifiedVersion
from edgeagent.errors import MissingExtraError

__all__ = ["ActiveVersion", "Gate", "GateContext", "GateResult", "GateTerms"]

if TYPE_CHECKING:
    from edgeagent.runtimes.detection.detector import Detector
    from edgeagent.runtimes.port import Image, ModelMetadata


@dataclass
class ActiveVersion:
    """What serves, to compare with. key: tells it, and the way in which it is loaded, from all others; load: it, as it
    serves."""

    key: str
    load: Callable[[], Detector]

    @cached_property
    def detector(self) -> Detector:
        """Loaded when it is first asked for, beside the candidate. Raises WeightsError."""
        return self.load()


def _not_measured() -> Loading | None:
    """Where nobody measures."""
    return None


def _nobody_waits(done: int, total: int) -> None:
    """Where nobody watches."""


@dataclass
class GateContext:
    """A version on trial. What is costly is made when a gate first asks for it, and shared by those after it.

    terms: what serves, and leave to change it. parity: what its form for this node found beside its source; None when
    it is the source that is to serve. load: the version as it is to serve. see_frames: the line's recent frames.
    active: what serves, None: nothing does. on_progress(done, total): to be called now and then by a gate that takes
    more than some seconds, else its silence is taken for a hang. folder: where a gate may keep what it has measured.
    loading: what loading the version took, once it was.
    golden: the files of the golden set that came with the version, by their path in it.
    """

    version: VerifiedVersion
    terms: GateTerms
    parity: Parity | None
    tolerance: Tolerance
    load: Callable[[], Detector]
    see_frames: Callable[[], Sequence[Image]]
    active: ActiveVersion | None = None
    on_progress: Callable[[int, int], None] = _nobody_waits
    folder: Path | None = None
    loading: Callable[[], Loading | None] = _not_measured
    golden: Mapping[str, Path] = field(default_factory=dict)

    @cached_property
    def metadata(self) -> ModelMetadata:
        """What the published weights say of themselves.

        Where the package that reads the source isn't installed, an alternate says it: no other could serve here.
        Raises WeightsError, MissingExtraError when no file of the version can be read.
        """
        from edgeagent.runtimes.inspect import read_metadata

        version = self.version
        try:
            return read_metadata(version.weights, version.format, version.companions)
        except MissingExtraError:
            for fmt, path in version.alternates.items():
                with suppress(MissingExtraError):
                    said = read_metadata(path, fmt, version.companions)
                    return replace(said, format=version.format)
            raise

    @cached_property
    def detector(self) -> Detector:
        """The version as it is to serve, loaded. Raises WeightsError."""
        return self.load()

    @cached_property
    def frames(self) -> Sequence[Image]:
        """What the cameras have seen last, one a pipeline: H×W×3, BGR, read-only by custom. May be empty."""
        return self.see_frames()


def _always(context: GateContext) -> bool:
    return True


def _nothing(terms: GateTerms) -> object:
    return None


@dataclass(frozen=True)
class Gate:
    """One check that a version must pass before it may serve.

    run: what it found; a WeightsError counts as a refusal, an UnavailableError as a trouble that passes. applies:
    whether there is anything to check. inputs: what it judges by beside the version, as JSON values or dataclasses: a
    version that has passed passes again without being looked at, as long as these are the same.
    """

    name: str
    run: Callable[[GateContext], GateResult]
    applies: Callable[[GateContext], bool] = _always
    inputs: Callable[[GateTerms], object] = _nothing
