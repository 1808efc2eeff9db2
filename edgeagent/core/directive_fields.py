# SPDX-License-Identifier: AGPL-3.0-or-later
"""The optional fields of a directive: a parser for each, which raises ValueError and says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeagent.core.model import MAX_NUMBER, is_name
from edgeagent.core.parse import flag, number, one_of, text

CLASSES = ("same", "remap", "extend")
MOMENTS = ("now", "between-parts", "window")
APPROVALS = ("auto", "manual")
MAX_SECONDS = 30 * 86_400.0
MAX_FRAMES = 100_000_000
MAX_NAMES = 1000
"""Of classes that a directive names."""
MAX_THRESHOLDS = 64
"""Of a gate, and gates that it names."""

Thresholds = Mapping[str, Mapping[str, float]]
"""By gate and name."""


@dataclass(frozen=True)
class ShadowTerms:
    """How long a version is to be seen beside the one that serves: so many seconds, or frames, whichever is over
    first; both None: as the node is configured."""

    seconds: float | None = None
    frames: int | None = None


@dataclass(frozen=True)
class ProbationTerms:
    """For how many seconds a version is to be watched after the swap."""

    seconds: float


def _tag(value: object) -> str:
    if value != "" and not is_name(value):
        raise ValueError("is not the name of a tag, without its @")
    return str(value)


def _class_names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(
        isinstance(v, str) and 0 < len(v) <= 200 for v in value
    ):
        raise ValueError("is not a list of class names")
    if len(value) > MAX_NAMES:
        raise ValueError(f"has {len(value)} class names, at most {MAX_NAMES}")
    if len(set(value)) != len(value):
        raise ValueError("names a class twice")
    return tuple(value)


def _object(value: object, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"is not an object with {' or '.join(known)}")
    if unknown := sorted(set(value) - set(known)):
        raise ValueError(f"has the unknown fields {', '.join(unknown)[:200]} (known are {', '.join(known)})")
    return value


def _shadow(value: object) -> ShadowTerms | None:
    if value is None:
        return None
    doc = _object(value, ("seconds", "frames"))
    seconds, frames = doc.get("seconds"), doc.get("frames")
    if frames is not None and type(frames) is not int:
        raise ValueError("has frames that are not a whole number")
    return ShadowTerms(
        None if seconds is None else _in_range(seconds, "seconds", MAX_SECONDS),
        None if frames is None else int(_in_range(frames, "frames", MAX_FRAMES)),
    )


def _probation(value: object) -> ProbationTerms | None:
    if value is None:
        return None
    doc = _object(value, ("seconds",))
    return ProbationTerms(_in_range(doc.get("seconds"), "seconds", MAX_SECONDS))


def _in_range(value: object, what: str, most: float) -> float:
    try:
        return number(0, most)(value)
    except ValueError as e:
        raise ValueError(f"{what} {e}") from e


def _gates(value: object) -> Thresholds:
    """The names are checked where the gates are known."""
    if not isinstance(value, dict) or not all(isinstance(limits, dict) for limits in value.values()):
        raise ValueError('is not an object such as {"golden": {"min_recall": 0.9}}')
    if len(value) > MAX_THRESHOLDS or any(len(limits) > MAX_THRESHOLDS for limits in value.values()):
        raise ValueError(f"has more than {MAX_THRESHOLDS} entries")
    parsed: dict[str, dict[str, float]] = {}
    for gate, limits in value.items():
        parsed[_short(gate)] = {
            _short(name): _finite(limit, f"{gate:.40}.{name:.40}") for name, limit in limits.items()
        }
    return parsed


def _short(name: str) -> str:
    if not 0 < len(name) <= 64:
        raise ValueError("has a name that is empty, or of more than 64 characters")
    return name


def _finite(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_NUMBER:
        raise ValueError(f"says {what} is something else than a number of at most {MAX_NUMBER}")
    return float(value)


PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "by": text,
    "reason": text,
    "tag": _tag,
    "allow_new_contract": flag,
    "allow_slow": flag,
    "again": flag,
    "classes": one_of("", *CLASSES),
    "add_classes": _class_names,
    "drop_classes": _class_names,
    "shadow": _shadow,
    "probation": _probation,
    "at": one_of("", *MOMENTS),
    "approval": one_of("", *APPROVALS),
    "gates": _gates,
    "preload": flag,
}
"""In the order of `Directive`."""
