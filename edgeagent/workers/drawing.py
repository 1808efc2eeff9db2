# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two sets of boxes on one picture: a colour and a style of line each, named in the corner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeagent.workers.tasks.pictures import Comparison

if TYPE_CHECKING:
    from edgeagent.runtimes.port import Image

Colour = tuple[int, int, int]
_ORANGE, _BLUE = (0, 159, 230), (233, 180, 86)
"""BGR; two that also those can tell apart who can't tell red from green (Okabe and Ito, 2008)."""
_DARK = (20, 20, 20)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_DASH = 9


def draw(image: Image, comparison: Comparison) -> Image:
    """A copy of `image` (H×W×3, BGR) with what both versions found: the incumbent's boxes in orange, in whole lines and
    with the text above; the candidate's in blue, dashed and with the text below."""
    picture = image.copy()
    scale = max(0.4, min(image.shape[:2]) / 1200)
    thick = max(1, round(2 * scale))
    for box, label in zip(comparison.incumbent.boxes, comparison.incumbent.labels, strict=True):
        corner, other = _corners(box)
        cv2.rectangle(picture, corner, other, _ORANGE, thick)
        _text(picture, label, (corner[0], corner[1] - 4), _ORANGE, scale)
    below = round(22 * scale) + 4
    for box, label in zip(comparison.candidate.boxes, comparison.candidate.labels, strict=True):
        corner, other = _corners(box)
        _dashed(picture, corner, other, _BLUE, thick)
        _text(picture, label, (corner[0], other[1] + below), _BLUE, scale)
    _legend(picture, comparison, scale, thick)
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


def _legend(picture: Image, comparison: Comparison, scale: float, thick: int) -> None:
    """Which line is whose, at the upper left, on a dark ground."""
    step = round(30 * scale)
    rows = (
        (comparison.incumbent, _ORANGE, f"before: {comparison.incumbent.version}"),
        (comparison.candidate, _BLUE, f"new: {comparison.candidate.version}"),
    )
    texts = [f"{text} ({len(version.boxes)})" for version, _, text in rows]
    width = max(cv2.getTextSize(text, _FONT, scale, 1)[0][0] for text in texts)
    cv2.rectangle(picture, (0, 0), (width + 3 * step, 2 * step + step // 2), _DARK, cv2.FILLED)
    for row, ((_, colour, _), text) in enumerate(zip(rows, texts, strict=True), 1):
        middle = row * step - step // 4
        if colour == _ORANGE:
            cv2.line(picture, (step // 2, middle), (2 * step, middle), colour, thick)
        else:
            _dashed(picture, (step // 2, middle), (2 * step, middle), colour, thick)
        _text(picture, text, (2 * step + step // 2, row * step), colour, scale)


def _text(picture: Image, text: str, at: tuple[int, int], colour: Colour, scale: float) -> None:
    """As far to the left, down or up as it takes to be inside the picture. OpenCV's letters are those of ASCII; others
    become question marks. Dark ones below, to the right, keep them readable on anything."""
    shown = text.encode("ascii", "replace").decode()
    height, width = picture.shape[:2]
    x = max(0, min(at[0], width - cv2.getTextSize(shown, _FONT, scale, 1)[0][0] - 4))
    y = int(np.clip(at[1], round(20 * scale), height - 4))
    cv2.putText(picture, shown, (x + 1, y + 1), _FONT, scale, _DARK, 1, cv2.LINE_AA)
    cv2.putText(picture, shown, (x, y), _FONT, scale, colour, 1, cv2.LINE_AA)
