# SPDX-License-Identifier: AGPL-3.0-or-later
"""From when on a version that runs beside another, or that serves, is taken for worse: `update.judge`.

The defaults stand with what they mean, in `core.pairs`, `core.pair_pace`, `core.health` and `core.past`; docs/safety.md
says how to choose them. A field here has the name, and the unit, of the one there.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edgeagent.core.differences import PairLimits
from edgeagent.core.health import HealthLimits
from edgeagent.core.pair_pace import PaceLimits
from edgeagent.core.past import PastLimits
from edgeagent.util.settings import Fraction, Section

Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
"""Of a test: 0 and 1 would leave nothing to chance."""
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Times = Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class PairsConfig(Section):
    """Two versions on the same frames; see `PairLimits`."""

    alpha: Share = PairLimits.alpha
    min_iou: Share = PairLimits.min_iou
    moved_iou: Share = PairLimits.moved_iou
    found_share: Share = PairLimits.found_share
    score_share: Share = PairLimits.score_share
    least_frames: Count = PairLimits.least_frames
    judge_frames: Count = PairLimits.judge_frames
    least_loss: Fraction = PairLimits.least_loss
    lost: Share = PairLimits.lost
    missed: Share = PairLimits.missed
    lost_anyway: Share = PairLimits.lost_anyway
    moved: Share = PairLimits.moved
    renamed: Share = PairLimits.renamed
    weaker: Share = PairLimits.weaker
    agreement: Share = PairLimits.agreement
    flood_boxes: Count = PairLimits.flood_boxes
    flood_times: Times = PairLimits.flood_times
    blind_frames: Count = PairLimits.blind_frames
    window: Count = PairLimits.window
    unanswered: Share = PairLimits.unanswered

    def limits(self) -> PairLimits:
        """The same, for whoever decides."""
        return PairLimits(**self.model_dump())


class PaceConfig(Section):
    """How often the version that doesn't serve looks at a frame; see `PaceLimits`."""

    least_fps: Rate = PaceLimits.least_fps
    most_fps: Rate = PaceLimits.most_fps
    first_fps: Rate = PaceLimits.first_fps
    slower: Times = PaceLimits.slower

    def limits(self) -> PaceLimits:
        """The same, for whoever decides."""
        return PaceLimits(**self.model_dump())


class HealthConfig(Section):
    """A version that serves, against what the one before did; see `HealthLimits`."""

    windows: Count = HealthLimits.windows
    least_before: Count = HealthLimits.least_before
    least_frames: Count = HealthLimits.least_frames
    slower_p95: Times = HealthLimits.slower_p95
    slower_p99: Times = HealthLimits.slower_p99
    slower_processor: Times = HealthLimits.slower_processor
    slower_ms: Amount = HealthLimits.slower_ms
    dropped: Fraction = HealthLimits.dropped
    failed: Fraction = HealthLimits.failed
    least_failed: Count = HealthLimits.least_failed
    restarts: Count = HealthLimits.restarts
    growth_mb: Amount = HealthLimits.growth_mb
    growth_windows: Count = HealthLimits.growth_windows
    warm_windows: Annotated[int, Field(ge=0, le=1000)] = HealthLimits.warm_windows
    rising: Fraction = HealthLimits.rising
    silence_times: Times = HealthLimits.silence_times
    silence_s: Amount = HealthLimits.silence_s

    def limits(self) -> HealthLimits:
        """The same, for whoever decides."""
        return HealthLimits(**self.model_dump())


class PastConfig(Section):
    """A version that serves, against this line's past, where two engines don't fit; see `PastLimits`."""

    drop: Fraction = PastLimits.drop
    blocks: Count = PastLimits.blocks
    block_seconds: Annotated[float, Field(ge=5, le=3600, allow_inf_nan=False)] = PastLimits.block_seconds
    shift_hours: Annotated[float, Field(ge=1, le=12)] = PastLimits.shift_hours
    least_past: Count = PastLimits.least_past
    least_days: Annotated[int, Field(ge=1, le=7)] = PastLimits.least_days
    least_frames: Count = PastLimits.least_frames

    def limits(self) -> PastLimits:
        """The same, for whoever decides."""
        return PastLimits(**self.model_dump())


class JudgeConfig(Section):
    """Thresholds, by what is compared. patience_seconds: until a frame counts as not answered by the version that
    doesn't serve."""

    pairs: PairsConfig = PairsConfig()
    pace: PaceConfig = PaceConfig()
    patience_seconds: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = 2.0
    health: HealthConfig = HealthConfig()
    past: PastConfig = PastConfig()
