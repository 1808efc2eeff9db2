# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a version has to prove before the swap and after it: every threshold, window and statistic, in one place.

`update.gates` holds the thresholds of the gates, each of which a directive may set by name (`gates` in the key's
value); `update.shadow`, `update.probation`, `update.sentinel` the watches; `update.switch` the moment of the swap.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator

from edgeagent.core.between_parts import Region
from edgeagent.core.directive_fields import Thresholds
from edgeagent.core.golden import GoldenLimits
from edgeagent.core.schedule import parse_window
from edgeagent.errors import UsageError
from edgeagent.util.settings import Fraction, Seconds, Section

Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
"""Of a test: 0 and 1 would leave nothing to chance."""


class GoldenGateConfig(Section):
    """Thresholds on labelled pictures, at the pipelines' own confidence and IoU.

    What each means, and how to choose it: `core.golden.GoldenLimits`, and docs/operating.md.
    """

    min_recall: Fraction = GoldenLimits.min_recall
    max_false_boxes: float = Field(default=GoldenLimits.max_false_boxes, ge=0, le=300, allow_inf_nan=False)
    overlap: float = Field(default=GoldenLimits.overlap, ge=0.1, le=0.95, allow_inf_nan=False)
    drop: float = Field(default=GoldenLimits.drop, ge=0.005, le=1, allow_inf_nan=False)
    p_value: float = Field(default=GoldenLimits.p_value, ge=0, le=0.5, allow_inf_nan=False)
    min_lost: int = Field(default=int(GoldenLimits.min_lost), ge=1, le=1_000_000)
    max_overlap_drop: Fraction = GoldenLimits.max_overlap_drop
    max_score_drop: Fraction = GoldenLimits.max_score_drop
    max_more_false: float = Field(default=GoldenLimits.max_more_false, ge=0, le=300, allow_inf_nan=False)
    min_map50: Fraction | None = None
    min_map50_95: Fraction | None = None
    max_pictures: int = Field(default=int(GoldenLimits.max_pictures), ge=1, le=100_000)
    max_seconds: Seconds = GoldenLimits.max_seconds


class LatencyGateConfig(Section):
    """How slow a version may be on this node: p95 of a frame, from its letterbox to its boxes, without waits.

    budget_ms: milliseconds that it must keep to, whatever serves. Without one it must not miss the frame interval of
    the fastest live pipeline, unless what serves is about as slow. max_ratio: of how many times the time of what serves
    it may take, measured in turns; differences of less than 2 ms don't count.
    """

    budget_ms: float | None = Field(default=None, gt=0, le=86_400_000, allow_inf_nan=False)
    max_ratio: float = Field(default=2.0, ge=1, le=1000, allow_inf_nan=False)


class MemoryGateConfig(Section):
    """Whether a version has room beside the one that serves: in memory, and on the GPU that it runs on.

    reserve_mb: megabytes that must stay free when both are loaded. margin: of how many times what loading it took in
    the preparing worker there has to be room.
    """

    reserve_mb: float = Field(default=64.0, ge=0, le=1 << 24, allow_inf_nan=False)
    margin: float = Field(default=1.2, ge=1, le=100, allow_inf_nan=False)


class ReplayGateConfig(Section):
    """How far a version may differ from what serves, on the line's recent frames (`update.recent_frames`).

    frames: so many are looked at, evenly over time; min_frames, min_objects: with fewer frames, or objects that the
    active version finds on them, nothing is told, and nothing passes. max_more: how many times as many objects as that;
    max_empty: share of the frames on which only the active version finds something, less the opposite. lost, moved,
    renamed, weaker, lost_anyway: shares of the objects of a class, as in `PairLimits`; alpha: chance that an equal
    version is refused.
    """

    frames: int = Field(default=200, ge=1, le=10_000)
    min_frames: int = Field(default=100, ge=1, le=10_000)
    min_objects: int = Field(default=30, ge=1, le=1_000_000)
    max_more: float = Field(default=3.0, ge=1, le=1000, allow_inf_nan=False)
    max_empty: Fraction = 0.1
    lost: Share = 0.05
    lost_anyway: Share = 0.2
    moved: Share = 0.25
    renamed: Share = 0.1
    weaker: Share = 0.25
    alpha: Share = 0.001


class GatesConfig(Section):
    """Thresholds, by gate."""

    golden: GoldenGateConfig = GoldenGateConfig()
    latency: LatencyGateConfig = LatencyGateConfig()
    memory: MemoryGateConfig = MemoryGateConfig()
    replay: ReplayGateConfig = ReplayGateConfig()

    def limits(self, asked: Thresholds) -> Mapping[str, Mapping[str, float]]:
        """The thresholds in force, by gate and name: these, and what a directive asks for in their place; one that has
        no value is left out. Raises UsageError for a gate, a threshold or a value that there is none of."""
        own = self.model_dump()
        for gate, thresholds in asked.items():
            if gate not in own:
                raise UsageError(
                    f"gates.{gate} of the intent",
                    "is no gate with thresholds",
                    f"use one of {', '.join(own)}",
                )
            own[gate] |= thresholds
        try:
            merged = GatesConfig.model_validate(own)
        except ValidationError as e:
            first = e.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise UsageError(f"gates.{where} of the intent", first["msg"], "see docs/interface.md") from e
        return {
            gate: {name: float(value) for name, value in limits.items() if value is not None}
            for gate, limits in merged.model_dump().items()
        }


class RecentFramesConfig(Section):
    """Pictures of what the cameras see, kept on the node's disk for the gate `replay`. Off, and nothing is kept,
    unless `keep` is true.

    every_seconds: one of each pipeline; max_bytes, max_age_seconds: of all of them, and of each; min_free_bytes: with
    less free on the disk they go first, and none is kept; jpeg_quality: 1 to 100.
    """

    keep: bool = False
    every_seconds: Seconds = 10.0
    max_bytes: int = Field(default=1 << 30, ge=1 << 20, le=1 << 44)
    max_age_seconds: float = Field(default=86_400.0, gt=0, le=31_536_000, allow_inf_nan=False)
    min_free_bytes: int = Field(default=1 << 30, ge=0, le=1 << 50)
    jpeg_quality: int = Field(default=90, ge=1, le=100)


class DisagreementsConfig(Section):
    """Pictures on which two versions differ most, kept for a person to look at and to label.

    frames: so many of each version, 0: none is kept; apart_seconds: of what a pipeline shows within so many, one;
    max_bytes, max_age_seconds, min_free_bytes, jpeg_quality: as for recent frames, of all versions together.
    """

    frames: int = Field(default=20, ge=0, le=10_000)
    apart_seconds: float = Field(default=2.0, ge=0, le=86_400, allow_inf_nan=False)
    max_bytes: int = Field(default=256 << 20, ge=1 << 20, le=1 << 44)
    max_age_seconds: float = Field(default=2_592_000.0, gt=0, le=31_536_000, allow_inf_nan=False)
    min_free_bytes: int = Field(default=1 << 30, ge=0, le=1 << 50)
    jpeg_quality: int = Field(default=90, ge=1, le=100)


class ShadowConfig(Section):
    """A new version beside the one that serves, on the same frames, before the swap. Off when both are 0.

    seconds, frames: it is over after so many, whichever comes first; 0: not limited by that. needs_evidence: not before
    enough objects were seen to tell that it does no worse; false: the time alone counts, where objects are rare.
    on_breach: what comes of pairs that speak against it.
    """

    seconds: float = Field(default=0.0, ge=0, le=2_592_000, allow_inf_nan=False)
    frames: int = Field(default=0, ge=0, le=100_000_000)
    needs_evidence: bool = True
    on_breach: Literal["refuse", "report"] = "refuse"


class ProbationConfig(Section):
    """The watch after a swap, during which the version before stays warm.

    longest: so many times as long at most, while too little was seen to tell whether it does no worse. on_breach: what
    comes of pairs, or of this line's past, that speak against it; crashes, hangs and the limits of `judge.health` act
    in any case.
    """

    seconds: float = Field(default=60.0, ge=0, le=86_400, allow_inf_nan=False)
    longest: float = Field(default=2.0, ge=1, le=1000, allow_inf_nan=False)
    on_breach: Literal["rollback", "report"] = "rollback"


class SentinelConfig(Section):
    """The watch over a stable version. roll_back: one that keeps failing goes back by itself to the version before.

    golden_hours: between two replays of the golden pictures through the engine that serves, 0: none; without golden
    pictures there is none. golden_differing: share of the pictures on which it may find something else than when it was
    proved, beyond `engine.parity`. on_breach: what comes of more.
    """

    roll_back: bool = True
    golden_hours: float = Field(default=24.0, ge=0, le=8760, allow_inf_nan=False)
    golden_differing: Fraction = 0.05
    on_breach: Literal["report", "rollback"] = "report"


def _window(text: str) -> str:
    parse_window(text)
    return text


def _region(region: Region) -> Region:
    left, top, right, bottom = region
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(
            f"{list(region)} is no region; allowed: [left, top, right, bottom], shares from 0 to 1 of the frame"
        )
    return region


def _zone(name: str) -> str:
    try:
        zone_of(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as e:
        raise ValueError(
            f"{name!r} is no time zone of this machine; allowed: names such as Europe/Berlin"
        ) from e
    return name


def zone_of(name: str) -> tzinfo | None:
    """The time zone of this name; None for "": the machine's, which has another offset in summer than in winter.

    Raises ZoneInfoNotFoundError, ValueError, OSError.
    """
    return ZoneInfo(name) if name else None


class SwitchConfig(Section):
    """When a version that has proved itself takes over. approval: manual waits for `edgeagent approve`.

    between-parts: when no pipeline of the model has a detection in its region for `empty_frames` frames in a row, or
    after max_wait_seconds all the same. regions: by pipeline, [left, top, right, bottom] as shares of the frame; the
    whole frame where none is named. window: in the times of day of `windows`, in the time zone of the site.
    """

    windows: list[Annotated[str, AfterValidator(_window)]] = Field(default=[])  # before at, which needs one
    time_zone: Annotated[str, AfterValidator(_zone)] = ""
    at: Literal["now", "between-parts", "window"] = "now"
    approval: Literal["auto", "manual"] = "auto"
    max_wait_seconds: float = Field(default=300.0, ge=0, le=86_400, allow_inf_nan=False)
    empty_frames: int = Field(default=3, ge=1, le=100_000)
    regions: dict[str, Annotated[Region, AfterValidator(_region)]] = Field(default={})

    @field_validator("at")
    @classmethod
    def _needs_a_window(cls, at: str, info: ValidationInfo) -> str:
        if at == "window" and not info.data.get("windows", "wrong"):
            raise ValueError(
                "window needs a time of day in windows; allowed: now, between-parts, or give one"
            )
        return at
