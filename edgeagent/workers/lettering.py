# SPDX-License-Identifier: AGPL-3.0-or-later
"""Text on a picture, in any script for which the machine has a font: OpenCV's own letters are those of ASCII.

Pillow brings a font for Latin letters. For others the machine's are looked through, once, when the first text comes
that needs one; what no font can show is said by whoever draws (`can_show`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.runtimes.port import Image
    from edgeagent.workers.colours import Colour

_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")
_GOOD = (
    *("notosanscjk", "sourcehansans", "wqy-microhei", "wqy-zenhei", "droidsansfallback", "notosanssc"),
    *("dejavusans.", "notosans-regular", "liberationsans-regular", "freesans."),
)
"""Beginnings of file names that are looked at first: they hold the most letters."""
_SUFFIXES = (".ttf", ".ttc", ".otf")
_MAX_FILES = 5000
_MAX_FONTS = 40
_NO_LETTER = "\uffff"  # which no font has: it shows what stands for a missing one
_ANY_SIZE = 16

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def can_show(text: str) -> bool:
    """Whether some font has all letters of `text`."""
    return _font_file(text) is not None


def printable(text: str) -> str:
    """`text` with a space for each control character, such as one that turns the direction of writing."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def text_size(text: str, size: int) -> tuple[int, int]:
    """Width and height in pixels of a line of text; the height is the same for all texts of one font and size."""
    mask = _mask(text, size)
    return mask.shape[1], mask.shape[0]


def put_text(image: Image, text: str, at: tuple[int, int], size: int, colour: Colour) -> None:
    """Write one line onto `image` (H×W×3, BGR), its upper left corner `at` x, y; what lies outside is cut off.

    size: of the letters, pixels.
    """
    mask = _mask(text, size)
    x, y = at
    left, top = max(0, -x), max(0, -y)
    right, bottom = min(mask.shape[1], image.shape[1] - x), min(mask.shape[0], image.shape[0] - y)
    if right <= left or bottom <= top:
        return
    share = mask[top:bottom, left:right, None].astype(np.uint16)
    part = image[y + top : y + bottom, x + left : x + right]
    part[:] = (part * (255 - share) + np.array(colour, np.uint16) * share) // 255


@lru_cache(512)
def _mask(text: str, size: int) -> NDArray[np.uint8]:
    """How much of each pixel the letters cover, 0 to 255."""
    font = _font(_font_file(text) or "", size)
    left, _, right, _ = font.getbbox(text)
    ascent, descent = font.getmetrics() if isinstance(font, ImageFont.FreeTypeFont) else (size, size // 4)
    picture = PillowImage.new("L", (max(1, round(right - left)), ascent + descent))
    ImageDraw.Draw(picture).text((-left, 0), text, fill=255, font=font)
    return np.asarray(picture, np.uint8)


@lru_cache(64)
def _font(file: str, size: int) -> Font:
    """The font of a file; "" is Pillow's own. Raises OSError."""
    return ImageFont.truetype(file, size) if file else ImageFont.load_default(size)


@lru_cache(1024)
def _font_file(text: str) -> str | None:
    """The first font that has every letter of `text`: "" is Pillow's own; None when there is none."""
    letters = set(text) - {" "}
    if text.isascii():
        return ""
    return next((file for file in ("", *_font_files()) if _has(file, letters)), None)


def _has(file: str, letters: set[str]) -> bool:
    try:
        font = _font(file, _ANY_SIZE)
        missing = _drawn(font, _NO_LETTER)
        return all(_drawn(font, letter) != missing for letter in letters)
    except (OSError, ValueError):  # no font, or none for this letter
        return False


def _drawn(font: Font, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


@lru_cache(1)
def _font_files() -> tuple[str, ...]:
    """Those of the machine, the most promising first."""
    found = sorted(_walk(), key=lambda file: (_rank(file), file))
    return tuple(found[:_MAX_FONTS])


def _walk() -> Iterator[str]:
    looked_at = 0
    for root in _FOLDERS:
        for folder, _, names in os.walk(os.path.expanduser(root)):
            for name in names:
                looked_at += 1
                if looked_at > _MAX_FILES:
                    return
                if name.lower().endswith(_SUFFIXES):
                    yield str(Path(folder, name))


def _rank(file: str) -> int:
    name = Path(file).name.lower()
    return next((place for place, start in enumerate(_GOOD) if name.startswith(start)), len(_GOOD))
