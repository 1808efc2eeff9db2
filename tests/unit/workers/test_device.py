# SPDX-License-Identifier: AGPL-3.0-or-later
"""A V4L2 device, played: what OpenCV gives is a picture only where one was decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeagent.workers.source import UnreadableFrameError
from edgeagent.workers.sources import Device

JPEG = cv2.imencode(".jpg", np.full((12, 16, 3), 200, np.uint8))[1]


class Webcam:
    """What `cv2.VideoCapture` does for a device that sends JPEGs: its own decoder keeps the picture before."""

    def __init__(self, *args: Any) -> None:
        self.sends: list[Any] = [JPEG]
        self._converts, self._before = True, np.zeros((12, 16, 3), np.uint8)

    def isOpened(self) -> bool:
        return True

    def get(self, what: int) -> float:
        return float(cv2.VideoWriter.fourcc(*"MJPG")) if what == cv2.CAP_PROP_FOURCC else 30.0

    def set(self, what: int, value: float) -> bool:
        self._converts = self._converts and what != cv2.CAP_PROP_CONVERT_RGB
        return True

    def grab(self) -> bool:
        return True

    def retrieve(self, out: Any = None) -> tuple[bool, Any]:
        data = self.sends.pop(0)
        return True, self._before if self._converts else np.reshape(data, (1, -1))


def test_a_torn_jpeg_is_unreadable_and_not_the_picture_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Webcams send one now and then; the next is fine."""
    monkeypatch.setattr(cv2, "VideoCapture", Webcam)
    device = Device(Path("/dev/video0"), 0)
    torn = JPEG.copy()
    torn[2:] = 0
    device._video.sends = [JPEG, torn, JPEG]  # type: ignore[attr-defined]
    slot = np.zeros((12, 16, 3), np.uint8)
    assert device.retrieve(slot).mean() == pytest.approx(200, abs=3)
    with pytest.raises(UnreadableFrameError, match="the camera's frame"):
        device.retrieve(slot)
    assert device.retrieve(slot).mean() == pytest.approx(200, abs=3)
