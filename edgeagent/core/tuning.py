# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was found out about one way to run a version on a node: how fast it is, and how like its source."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Tuning(StrEnum):
    """How sure it is that a version runs here in its best form."""

    UNCONVERTED = "unconverted"  # as it was published: nothing was tried yet
    PROVISIONAL = (
        "provisional"  # chosen from a short look, or on a busy machine: to be confirmed beside the line
    )
    SETTLED = "settled"


@dataclass(frozen=True)
class Tolerance:
    """How alike is alike: least IoU of two boxes that are one, most difference of their scores."""

    iou: float = 0.9
    score: float = 0.02


@dataclass(frozen=True)
class Parity:
    """What a comparison found, over all frames.

    objects: boxes of the reference that count; missing: those without a partner; extra: boxes of the candidate
    without one; least_iou, most_score: of the pairs.
    """

    frames: int
    objects: int
    missing: int
    extra: int
    least_iou: float
    most_score: float

    def failures(self, tolerance: Tolerance) -> list[str]:
        """What is wrong, in numbers; empty when it is the same model."""
        found = []
        if self.missing:
            found.append(f"{self.missing} of {self.objects} objects of the source weights are not found")
        if self.extra:
            found.append(f"{self.extra} objects are found that the source weights don't find")
        if self.most_score > tolerance.score:
            found.append(f"scores differ by up to {self.most_score:.3f} (at most {tolerance.score:g})")
        return found


@dataclass(frozen=True)
class Trial:
    """What came of trying one variant.

    ms: of one frame, letterbox to NMS, the least of some, or None with the reason `why`; parity: with the source.
    """

    variant: str
    ms: float | None
    why: str = ""
    parity: Parity | None = None
