# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two sets of boxes on one picture: a colour and a style of line each, named in the corner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2

from edgeagent.workers.colours import DARK, ORANGE, SKY_BLUE, Colour
from edgeagent.workers.lettering import can_show, printable, put_text, text_size
from edgeagent.workers.tasks.pictures import Comparison

if TYPE_CHECKING:
    from edgeagent.runtimes.port import Image

_DASH = 8


def draw(image: Image, comparison: Comparison) -> Image:
    """A copy of `image` (H×W×3, BGR) with what both versions found: the incumbent's boxes in orange, in whole lines and
    with the text above; the candidate's in blue, dashed and with the text below."""
    picture = image.copy()
    scale = max(0.5, min(image.shape[:2]) / 900)
    thick, size = max(1, round(2.5 * scale)), round(26 * scale)
    for box, label in zip(comparison.incumbent.boxes, comparison.incumbent.labels, strict=True):
        corner, other = _corners(box)
        cv2.rectangle(picture, corner, other, ORANGE, thick)
        _text(picture, label, (corner[0], corner[1] - thick - _height(size)), ORANGE, size)
    for box, label in zip(comparison.candidate.boxes, comparison.candidate.labels, strict=True):
        corner, other = _corners(box)
        _dashed(picture, corner, other, SKY_BLUE, thick)
        _text(picture, label, (corner[0], other[1] + thick), SKY_BLUE, size)
    _legend(picture, comparison, size, thick)
    return picture


def _corners(box: tuple[float, float, float, float, float, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    x1, y1, x2, y2 = (round(v) for v in box[:4])
    return (x1, y1), (x2, y2)


def _dashed(
    picture: Image, corner: tuple[int, int], other: tuple[int, int], colour: Colour, thick: int
) -> None:
    """A rectangle of dashes."""
    (x1, y1), (x2, y2) = corner, other
    dash = _DASH * thick
    for x in range(x1, x2, 2 * dash):
        for y in (y1, y2):
            cv2.line(picture, (x, y), (min(x + dash, x2), y), colour, thick)
    for y in range(y1, y2, 2 * dash):
        for x in (x1, x2):
            cv2.line(picture, (x, y), (x, min(y + dash, y2)), colour, thick)


def _legend(picture: Image, comparison: Comparison, size: int, thick: int) -> None:
    """Which line is whose, at the upper left, on a dark ground."""
    step = _height(size)
    rows = (
        (comparison.incumbent, ORANGE, f"before: {comparison.incumbent.version}"),
        (comparison.candidate, SKY_BLUE, f"new: {comparison.candidate.version}"),
    )
    texts = [f"{text} ({len(version.boxes)})" for version, _, text in rows]
    width = max(text_size(text, size)[0] for text in texts)
    cv2.rectangle(picture, (0, 0), (width + 3 * step, 2 * step + step // 2), DARK, cv2.FILLED)
    for row, ((_, colour, _), text) in enumerate(zip(rows, texts, strict=True)):
        top = row * step + step // 4
        middle = top + step // 2
        if colour == ORANGE:
            cv2.line(picture, (step // 2, middle), (2 * step, middle), colour, thick)
        else:
            _dashed(picture, (step // 2, middle), (2 * step, middle), colour, thick)
        _text(picture, text, (2 * step + step // 2, top), colour, size)


def _height(size: int) -> int:
    return text_size("", size)[1]


def _text(picture: Image, text: str, at: tuple[int, int], colour: Colour, size: int) -> None:
    """Its upper left corner at x, y, and as far to the left, down or up as it takes to be inside the picture. Dark
    letters below, to the right, keep it readable on anything."""
    shown = printable(text) if can_show(printable(text)) else text.encode("ascii", "replace").decode()
    wide, high = text_size(shown, size)
    height, width = picture.shape[:2]
    x, y = max(0, min(at[0], width - wide)), max(0, min(at[1], height - high))
    put_text(picture, shown, (x + 1, y + 1), size, DARK)
    put_text(picture, shown, (x, y), size, colour)
