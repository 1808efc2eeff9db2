# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much of the lines may be looked at through the API."""

from __future__ import annotations

from pydantic import Field

from edgeagent.util.settings import Section


class PreviewConfig(Section):
    """Limits of the pictures that the API shows of what the cameras see.

    max_viewers: at a time, over all pipelines; 0: nobody sees any. max_fps: pictures a second of one viewer; max_width:
    pixels; quality: of JPEG.
    """

    max_viewers: int = Field(default=8, ge=0, le=64)
    max_fps: float = Field(default=10.0, gt=0, le=60, allow_inf_nan=False)
    max_width: int = Field(default=1280, ge=64, le=8192)
    quality: int = Field(default=75, ge=10, le=100)
