# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was found out about one way to run a version on a node: how fast it is, and how like its source."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import comb


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
    without one; least_iou, most_score: of the pairs. differing: frames on which something is beyond the tolerance;
    differing_at_most: the share of all such frames of which that makes one sure (`most_share`).
    """

    frames: int
    objects: int
    missing: int
    extra: int
    least_iou: float
    most_score: float
    differing: int = 0
    differing_at_most: float = 1.0

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

    ms: of one frame, letterbox to NMS, the least of some, or None with the reason `why`; parity: with the source;
    turns: in how many it was timed; waited: for which share of the time of the first it waited for a processor.
    """

    variant: str
    ms: float | None
    why: str = ""
    parity: Parity | None = None
    turns: int = 1
    waited: float = 0.0


def most_share(found: int, of: int, confidence: float = 0.95) -> float:
    """The largest share of all pictures that may be like the `found` ones `of` some that were looked at: the upper
    bound of Clopper and Pearson. Without any it is 1 - 0.05^(1/of), about 3 / of ("rule of three").

    It speaks of pictures that come as those that were looked at; what never came then is not among them.
    """
    if found >= of:
        return 1.0
    low, high = found / of, 1.0
    for _ in range(50):
        share = (low + high) / 2
        as_few = sum(comb(of, i) * share**i * (1 - share) ** (of - i) for i in range(found + 1))
        low, high = (share, high) if as_few > 1 - confidence else (low, share)
    return high
