# SPDX-License-Identifier: AGPL-3.0-or-later
"""What gates judge by on a node, and what a gate found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeagent.core.model import Contract

Figure = int | float | str


@dataclass(frozen=True)
class GateTerms:
    """What gates judge by beside the version itself: the contract of what serves (None: nothing does), and the
    operator's leave to change it."""

    active_contract: Contract | None = None
    allow_new_contract: bool = False


@dataclass(frozen=True)
class GateResult:
    """What one gate found. figures: what it measured, by name; limits: what these were held against; reasons: what
    speaks against the version, in words, empty when it passed."""

    name: str
    passed: bool
    figures: Mapping[str, Figure] = field(default_factory=dict)
    limits: Mapping[str, Figure] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    @property
    def failure(self) -> str:
        """Which gate refused and why, in one line; "" when it passed."""
        return "" if self.passed else f"gate {self.name}: {'; '.join(self.reasons)}"
