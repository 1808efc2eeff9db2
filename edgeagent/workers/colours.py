# SPDX-License-Identifier: AGPL-3.0-or-later
"""Colours, BGR, that those can tell apart, too, who can't tell red from green (Okabe and Ito, 2008)."""

from __future__ import annotations

Colour = tuple[int, int, int]

ORANGE, SKY_BLUE, GREEN, YELLOW = (0, 159, 230), (233, 180, 86), (115, 158, 0), (66, 228, 240)
BLUE, VERMILION, PURPLE = (178, 114, 0), (0, 94, 213), (167, 121, 204)
DARK, LIGHT = (20, 20, 20), (255, 255, 255)
OF_CLASSES = (ORANGE, SKY_BLUE, GREEN, YELLOW, VERMILION, PURPLE, BLUE)


def colour_of(index: int) -> Colour:
    """That of a class; beyond the seventh they begin anew, and the name tells them apart."""
    return OF_CLASSES[index % len(OF_CLASSES)]


def readable_on(ground: Colour) -> Colour:
    """Dark or light, whichever has more contrast on `ground` (relative luminance as WCAG has it)."""
    blue, green, red = (_linear(value / 255) for value in ground)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return DARK if (luminance + 0.05) ** 2 > 1.05 * 0.05 else LIGHT


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)
