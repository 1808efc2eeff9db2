# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a section of the configuration is made of, wherever it is declared."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Megabytes = Annotated[int, Field(ge=1, le=1 << 24)]


class Section(BaseModel):
    """A mapping of known fields, each checked; a field that isn't known is a mistake. Frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")
