# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can be asked of a source, and what contradicts itself."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from edgeagent.config import SourceConfig


@pytest.mark.parametrize("url", ["/srv/uploads", "file:///srv/uploads", "uploads"])
def test_a_folder_may_be_watched(url: str) -> None:
    """It is lossless, like any folder."""
    source = SourceConfig(url=url, watch=True)
    assert source.watch
    assert not source.is_live


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({"url": "rtsp://camera/1"}, "needs a folder as source.url"),
        ({"url": "synthetic://conveyor"}, "needs a folder as source.url"),
        ({"url": "/srv/uploads", "loop": True}, "no end at which it could loop"),
    ],
)
def test_what_can_t_be_watched(source: dict[str, Any], why: str) -> None:
    """Said at once, with the reason."""
    with pytest.raises(ValidationError, match=why):
        SourceConfig.model_validate({**source, "watch": True})
