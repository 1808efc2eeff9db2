# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a section of the configuration is made of, wherever it is declared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    field_validator,
)

from edgeagent.core.regions import Region, parse_region

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Megabytes = Annotated[int, Field(ge=1, le=1 << 24)]
Polygon = Annotated[
    Region,
    PlainValidator(parse_region, json_schema_input_type=list[tuple[float, float]]),
    PlainSerializer(Region.as_list, return_type=list[list[float]]),
]
"""A region of a picture: `[[x, y], ...]` in fractions of its width and height."""


class Section(BaseModel):
    """A mapping of known fields, each checked; a field that isn't known is a mistake. Frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TlsConfig(Section):
    """Certificates in PEM files: who is trusted, and who we are.

    ca_file: the authority that is trusted; None for those of the system. cert_file, key_file: who we are.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = Field(default=None, validate_default=True)

    @field_validator("key_file")
    @classmethod
    def _both_or_none(cls, key_file: Path | None, info: ValidationInfo) -> Path | None:
        if (key_file is None) != (info.data.get("cert_file") is None):
            raise ValueError(
                "only one of the two is given; allowed: cert_file and key_file together, or neither"
            )
        return key_file
