# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a version found, drawn onto a picture: boxes with class and score, and a line that says who, what and when."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2

from edgeagent.workers.colours import DARK, LIGHT, colour_of, readable_on
from edgeagent.workers.lettering import can_show, printable, put_text, text_size

if TYPE_CHECKING:
    from edgeagent.runtimes.port import Image

Box = tuple[float, float, float, float, float, float]
_LABEL_CHARS = 40
_BETWEEN = "  ·  "
_GROUND = 0.65  # how much of the picture the ground of the line hides


@dataclass(frozen=True)
class Findings:
    """What was found on a frame, by which version. boxes: x1, y1, x2, y2 in pixels of the frame, confidence, class,
    best first; names: of the classes, by number; ts: of the frame, Unix seconds."""

    pipeline: str
    version: str
    ts: float
    boxes: tuple[Box, ...]
    names: Mapping[int, str]


class Found(Protocol):
    """A message that says of which frame the boxes are that came before it, and who found them."""

    @property
    def pipeline(self) -> str:
        """Whose frame it is."""

    @property
    def version(self) -> str:
        """Which has found them."""

    @property
    def ts(self) -> float:
        """Of the frame, Unix seconds."""

    @property
    def names(self) -> Mapping[str, str]:
        """Of the classes, by number."""


def findings_of(message: Found, boxes: bytes) -> Findings:
    """boxes: six little-endian float32 each, as in Detected. Raises ValueError."""
    flat = iter(struct.unpack(f"<{len(boxes) // 4}f", boxes))
    found = tuple(zip(flat, flat, flat, flat, flat, flat, strict=True))
    names = {int(index): name for index, name in message.names.items()}
    return Findings(message.pipeline, message.version, message.ts, found, names)


def scaled(image: Image, width: int) -> Image:
    """A picture of `width` pixels at most, its sides in the same relation; a copy, also where it is small enough."""
    if image.shape[1] <= width:
        return image.copy()
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def draw_findings(image: Image, found: Findings, scale: float) -> None:
    """Draw onto `image` (H×W×3, BGR), whose pixels are `scale` of the frame's."""
    size = letter_size(image)
    # The best comes last: it is what stands above the others; and no line goes through a text.
    for draw in (_box, _label):
        for box in reversed(found.boxes):
            draw(image, box, found.names, scale, size)
    _line(image, caption(found), size)


def letter_size(image: Image) -> int:
    """Pixels that letters are high: to be read from afar where the picture fills a screen, and small on a small one."""
    height, width = image.shape[:2]
    return int(max(10, round(min(width / 45, height / 24))))


def label(names: Mapping[int, str], index: int, confidence: float) -> str:
    """What stands at a box: the name of its class, or its number where no font here has the letters."""
    name = printable(names.get(index, ""))[:_LABEL_CHARS].strip()
    return f"{name if name and can_show(name) else f'class {index}'} {confidence:.2f}"


def caption(found: Findings) -> str:
    """Pipeline, version and the node's local time, which tells an old picture from a new one."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.ts))
    return _BETWEEN.join((found.pipeline, found.version, f"{when}.{int(found.ts * 10) % 10}"))


def _box(image: Image, box: Box, names: Mapping[int, str], scale: float, size: int) -> None:
    x1, y1, x2, y2 = (round(v * scale) for v in box[:4])
    thick = max(2, size // 6)
    # A dark rim keeps the line visible on a ground of its own colour.
    cv2.rectangle(image, (x1, y1), (x2, y2), DARK, thick + 2)
    cv2.rectangle(image, (x1, y1), (x2, y2), colour_of(int(box[5])), thick)


def _label(image: Image, box: Box, names: Mapping[int, str], scale: float, size: int) -> None:
    """Above the box, or in it where there is no room above."""
    x1, y1 = (round(v * scale) for v in box[:2])
    index = int(box[5])
    colour, thick = colour_of(index), max(2, size // 6)
    text = label(names, index, box[4])
    width, height = text_size(text, size)
    pad = max(2, size // 5)
    x = max(0, min(x1 - thick, image.shape[1] - width - 2 * pad))
    above = y1 - height - thick
    y = above if above >= 0 else min(max(0, y1), max(0, image.shape[0] - height))
    cv2.rectangle(image, (x, y), (x + width + 2 * pad, y + height), colour, cv2.FILLED)
    put_text(image, text, (x + pad, y), size, readable_on(colour))


def _line(image: Image, text: str, size: int) -> None:
    """At the lower edge, on a dark ground through which the picture shows."""
    shown = _fitting(text, image.shape[1], size)
    _, height = text_size(shown, size)
    top = max(0, image.shape[0] - height - 2)
    strip = image[top:]
    strip[:] = (strip * (1 - _GROUND)).astype(strip.dtype)
    put_text(image, shown, (size // 2, top + 1), size, LIGHT)


def _fitting(text: str, width: int, size: int) -> str:
    """As many parts of the line as the picture has room for: the first goes first."""
    parts = text.split(_BETWEEN)
    while len(parts) > 1 and text_size(_BETWEEN.join(parts), size)[0] > width - size:
        del parts[0]
    return _BETWEEN.join(parts)
