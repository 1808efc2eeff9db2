# SPDX-License-Identifier: AGPL-3.0-or-later
"""Parsers of the values of untrusted JSON: each gives the value or raises ValueError, saying what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable

from edgeagent.core.text import MAX_BY, clean


def text(value: object) -> str:
    """Cut and without secrets: nobody need say more, and everybody reads it."""
    if not isinstance(value, str):
        raise ValueError("is not text")
    return clean(value, MAX_BY)


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("is not true or false")
    return value


def one_of(*allowed: str) -> Callable[[object], str]:
    """A parser for these texts."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"is none of {', '.join(allowed)}")
        return value

    return parse


def number(least: float, most: float) -> Callable[[object], float]:
    """A parser for numbers of that range, both ends included."""

    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise ValueError(f"is not a number from {least:g} to {most:g}")
        return float(value)

    return parse


def whole(least: int, most: int) -> Callable[[object], int]:
    """A parser for whole numbers of that range, both ends included."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"is not a whole number from {least} to {most}")
        return value

    return parse
