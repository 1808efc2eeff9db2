# SPDX-License-Identifier: AGPL-3.0-or-later
"""What counts as a detection of a model (`models`), whichever version serves."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edgeagent.core.detection_settings import DetectionSettings
from edgeagent.util.settings import Fraction, Polygon, Section

ClassName = Annotated[str, Field(min_length=1, max_length=128)]


class ModelConfig(Section):
    """Of one model, on all its pipelines; what the fields mean is said at `core.detection_settings`."""

    confidence: dict[ClassName, Fraction] = Field(default={}, max_length=1000)
    iou: Fraction | None = None
    region: Polygon | None = None
    min_size: Fraction = 0.0

    def settings(self) -> DetectionSettings:
        """The same, for whoever applies them."""
        return DetectionSettings(tuple(sorted(self.confidence.items())), self.iou, self.region, self.min_size)
