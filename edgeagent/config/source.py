# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a pipeline's frames come from: `pipelines[].source` of the configuration."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from edgeagent.util.settings import Seconds, Section

SOURCE_SCHEMES = ("rtsp", "rtsps", "http", "https", "file", "synthetic")
_LIVE_SCHEMES = ("rtsp", "rtsps", "http", "https", "synthetic")


def default_live(url: str) -> bool:
    """Whether a source drops the older frame when the engine is busy, if its configuration doesn't say.

    True for cameras, streams and the synthetic line (it stands in for a camera); false for files and folders.
    """
    return urlsplit(url).scheme in _LIVE_SCHEMES or url.removeprefix("file://").startswith("/dev/")


class SourceConfig(Section):
    """Where frames come from. fps: pace of a file or folder, None for its own; stall_seconds: no frame for
    so long means that the source is gone and is opened again; max_age_seconds: a frame of a live source that is older
    is not inferred; trust_timestamps: the times in a stream tell how old its frames are; watch: pictures that are put
    into the folder later are frames too."""

    url: str
    fps: float | None = Field(default=None, gt=0, le=1000, allow_inf_nan=False)
    loop: bool = False
    watch: bool = False
    live: bool | None = None
    stall_seconds: Seconds = 10.0
    max_age_seconds: Seconds = 2.0
    trust_timestamps: bool = True

    @property
    def is_live(self) -> bool:
        """`live`, or what suits the kind of source."""
        return default_live(self.url) if self.live is None else self.live

    @field_validator("watch")
    @classmethod
    def _watch(cls, watch: bool, info: ValidationInfo) -> bool:
        url = info.data.get("url", "")
        if watch and "://" in url and not url.startswith("file://"):
            raise ValueError("needs a folder as source.url")
        if watch and info.data.get("loop"):
            raise ValueError("a folder that is watched has no end at which it could loop")
        return watch

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        scheme = urlsplit(url).scheme if "://" in url else ""
        if not url.strip() or "\0" in url:
            raise ValueError("is empty; allowed: a URL, a device such as /dev/video0, a file or a folder")
        if "://" in url and scheme not in SOURCE_SCHEMES:
            raise ValueError(
                f"{scheme}:// is not a known source; allowed: {', '.join(SOURCE_SCHEMES)}, or a path"
            )
        return url
