# SPDX-License-Identifier: AGPL-3.0-or-later
"""What gates judge by on a node, and what a gate found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeagent.core.model import Contract
from edgeagent.core.text import FreeText, cut

Figure = int | float | FreeText


@dataclass(frozen=True)
class PlugIn:
    """A gate that another package brings: the name of its entry point, `module:attribute`, and that package's
    version."""

    name: str
    value: str
    version: str


@dataclass(frozen=True)
class ClassTerms:
    """How class names may differ from those of the contract in force. mode: same, in the same order; remap, in any
    order; extend, in any order, and those in `added` may come, those in `dropped` may be missing."""

    mode: str = "same"
    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class GateTerms:
    """What gates judge by beside the version itself.

    active_contract: of what serves, None: nothing does; names_in_force: the class names by their ids in the records
    (see `core.contract`), () where these are the active version's own; allow_new_contract, classes: the operator's
    leave to change that. interval_ms: between two frames of the fastest live pipeline, 0 without one. may_stop: what
    serves may be stopped first where there is no room for two; freed_by_stop: bytes of memory, and of GPU memory, that
    this gives back. plug_ins: the gates of other packages.
    confidence, iou: the pipelines' own, the lowest confidence where they differ.
    limits: thresholds by gate and name, as configured, or as the directive says. golden: the labelled pictures of this
    site, a data.yaml or a folder; None: it has none; golden_digest: what tells them as they were when the preparation
    began. replay: folders with the line's recent frames; none: they aren't kept. asked: the gates that the directive
    names. active_digest: of what serves, "" when nothing does.
    """

    active_contract: Contract | None = None
    allow_new_contract: bool = False
    plug_ins: tuple[PlugIn, ...] = ()
    classes: ClassTerms = ClassTerms()
    confidence: float = 0.25
    iou: float = 0.45
    limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    golden: Path | None = None
    names_in_force: tuple[str, ...] = ()
    replay: tuple[Path, ...] = ()
    interval_ms: float = 0.0
    may_stop: bool = False
    freed_by_stop: tuple[int, int] = (0, 0)
    golden_digest: str = ""
    asked: tuple[str, ...] = ()
    active_digest: str = ""


@dataclass(frozen=True)
class GateResult:
    """What one gate found. figures: what it measured, by name; limits: what these were held against, under the same
    names; reasons: what speaks against the version, in words, none when it passed."""

    name: str
    passed: bool
    figures: Mapping[str, Figure] = field(default_factory=dict)
    limits: Mapping[str, Figure] = field(default_factory=dict)
    reasons: tuple[FreeText, ...] = ()

    @classmethod
    def judged(
        cls,
        name: str,
        reasons: Sequence[str],
        figures: Mapping[str, Figure] | None = None,
        limits: Mapping[str, Figure] | None = None,
    ) -> GateResult:
        """Passed, if nothing speaks against the version."""
        return cls(name, not reasons, figures or {}, limits or {}, tuple(reasons))

    @property
    def failure(self) -> str:
        """Which gate refused, and why, in one line; "" when it passed."""
        return "" if self.passed else cut(f"gate {self.name}: {'; '.join(self.reasons)}")
