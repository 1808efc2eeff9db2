# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a version has to prove before the swap and after it: every threshold, window and statistic, in one place.

`update.gates` holds the thresholds of the gates, each of which a directive may set by name (`gates` in the key's
value); `update.shadow`, `update.probation`, `update.sentinel` the watches; `update.switch` the moment of the swap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, ValidationError

from edgeagent.core.directive_fields import Thresholds
from edgeagent.errors import UsageError
from edgeagent.util.settings import Section


class GoldenGateConfig(Section):
    """Thresholds on labelled pictures, at the pipelines' own confidence and IoU."""


class LatencyGateConfig(Section):
    """How slow a version may be on this node."""


class MemoryGateConfig(Section):
    """How much of the machine's memory a version may take."""


class ReplayGateConfig(Section):
    """How far a version may differ from what serves, on the line's recent frames."""


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


class ShadowConfig(Section):
    """A new version beside the one that serves, on the same frames, before the swap. Off when both are 0.

    seconds, frames: it is over after so many, whichever comes first; 0: not limited by that.
    """

    seconds: float = Field(default=0.0, ge=0, le=2_592_000, allow_inf_nan=False)
    frames: int = Field(default=0, ge=0, le=100_000_000)


class ProbationConfig(Section):
    """The watch after a swap, during which the version before stays warm."""

    seconds: float = Field(default=60.0, ge=0, le=86_400, allow_inf_nan=False)


class SentinelConfig(Section):
    """The watch over a stable version. roll_back: one that keeps failing goes back by itself to the version before."""

    roll_back: bool = True


class SwitchConfig(Section):
    """When a version that has proved itself takes over. approval: manual waits for `edgeagent approve`."""

    at: Literal["now", "between-parts", "window"] = "now"
    approval: Literal["auto", "manual"] = "auto"
