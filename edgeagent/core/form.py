# SPDX-License-Identifier: AGPL-3.0-or-later
"""In which form a version serves on a node, and what it lacks there."""

from __future__ import annotations

from dataclasses import dataclass

from edgeagent.core.model import Contract
from edgeagent.core.tuning import Tuning


@dataclass(frozen=True)
class FrameSizes:
    """(height, width) of the frames that the pipelines of a model have sent; `complete` when each has sent some."""

    seen: frozenset[tuple[int, int]] = frozenset()
    complete: bool = True


@dataclass(frozen=True)
class Form:
    """How a version was made to run on this node.

    contract: what the version promises. imgsz: (height, width) of the input that it was made for, None for files that
    keep the one that they were published with. tuning: how sure it is that this is its fastest form.
    """

    contract: Contract
    imgsz: tuple[int, int] | None = None
    tuning: Tuning = Tuning.SETTLED

    def lacks(self, frames: FrameSizes) -> str:
        """Why the version should be rebuilt for these frames; "" when it is in the form that it should have."""
        if misfit := self.misfit(frames):
            return misfit
        return "its tuning result is provisional" if self.tuning is Tuning.PROVISIONAL else ""

    def misfit(self, frames: FrameSizes) -> str:
        """What makes it serve these frames worse than it could, for all that is known; "" when nothing does."""
        if self.tuning is Tuning.UNCONVERTED:
            return "it serves as it was published"
        if self.imgsz is None or not frames.seen:
            return ""
        needed = self.contract.fitted(frames.seen)
        too_small = needed[0] > self.imgsz[0] or needed[1] > self.imgsz[1]
        # A camera that hasn't sent a frame yet may need what the others don't; what these lack, they lack without it.
        if not too_small and (needed == self.imgsz or not frames.complete):
            return ""
        return f"its input is {_size(self.imgsz)}, the frames need {_size(needed)}"


def _size(size: tuple[int, int]) -> str:
    height, width = size
    return f"{width}×{height}"
