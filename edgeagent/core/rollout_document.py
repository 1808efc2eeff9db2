# SPDX-License-Identifier: AGPL-3.0-or-later
"""The value of a roll-out's key: JSON that anybody may have written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from math import isfinite
from typing import Any, TypeVar

from edgeagent.core.directive import Directive, with_terms
from edgeagent.core.model import MAX_NUMBER, check_name, parse_json
from edgeagent.core.parse import flag, number, one_of, text, whole
from edgeagent.core.rollout import (
    BEGINS,
    CANARIES,
    EVERYBODY,
    MAX_FORGIVEN,
    PLACES,
    Limits,
    Plan,
    Rollout,
    Status,
    wave_size,
)
from edgeagent.core.text import MAX_BY
from edgeagent.errors import RolloutError, UsageError

MAX_ROLLOUT_BYTES = 64 * 1024
MAX_WAVES, MAX_CANARIES, MAX_LABELS = 32, 256, 16
T = TypeVar("T", Plan, Limits)
_LONGEST_S = 30 * 86_400.0

_JSON_NAMES = {"came_from": "from"}
_REQUIRED = ("id", "version", "came_from", "based_on", "salt", "waves", "status", "wave", "open_below")


def encode_rollout(rollout: Rollout) -> bytes:
    """The value to write. Raises UsageError for what `decode_rollout` would not take."""
    doc: dict[str, Any] = {}
    for part in (rollout.plan, rollout.limits, rollout):
        for f in fields(part):
            value = getattr(part, f.name)
            if isinstance(value, float) and not isfinite(value):
                raise UsageError("the roll-out", f"the field {f.name} is {value}", "give a number")
            if f.name in _PARSERS and (f.name in _REQUIRED or value != _default(f)):
                plain = dict(value) if isinstance(value, Mapping) else value
                doc[_JSON_NAMES.get(f.name, f.name)] = list(plain) if isinstance(plain, tuple) else plain
    try:
        encoded = json.dumps(doc, ensure_ascii=False).encode()
        decode_rollout("the roll-out", encoded)
    except RolloutError as e:
        raise UsageError("the roll-out", e.why, "see docs/fleet.md") from e
    except UnicodeEncodeError as e:
        raise UsageError("by or reason", "not valid text", "write it in UTF-8") from e
    return encoded


def _default(f: Field[Any]) -> object:
    return f.default_factory() if f.default_factory is not MISSING else f.default


def decode_rollout(key: str, value: bytes) -> Rollout:
    """Decode the value of a roll-out's key. Fields that it doesn't know are left aside: a newer coordinator may write
    more. Raises RolloutError naming the key and what is wrong."""

    def bad(why: str) -> RolloutError:
        todo = "a newer release may have written it; `edgeagent rollout start --replace-unreadable` writes over it"
        return RolloutError(f"key {key}", why, todo)

    if len(value) > MAX_ROLLOUT_BYTES:
        raise bad(f"the value is {len(value)} bytes, more than {MAX_ROLLOUT_BYTES}")
    try:
        doc = parse_json(value.decode("utf-8"))
    except UnicodeDecodeError as e:
        raise bad(f"the value is not UTF-8 (byte {e.start})") from e
    except (ValueError, RecursionError) as e:
        raise bad(f"the value is broken JSON ({e})") from e
    if not isinstance(doc, dict):
        raise bad("the JSON value is not an object")
    given: dict[str, Any] = {}
    for name, parse in _PARSERS.items():
        said = _JSON_NAMES.get(name, name)
        if said not in doc:
            if name in _REQUIRED:
                raise bad(f"the field {said} is missing")
            continue
        try:
            given[name] = parse(doc[said])
        except UsageError as e:
            raise bad(f"the field {said}: {e.what} is {e.why}") from e
        except ValueError as e:
            raise bad(f"the field {said} {e}") from e
    rollout = Rollout(plan=_taken(Plan, given), limits=_taken(Limits, given), **given)
    try:
        _check_whole(rollout)
    except UsageError as e:
        raise bad(f"the terms: {e.why}") from e
    except (ValueError, RecursionError) as e:
        raise bad(str(e)) from e
    return rollout


def _taken(part: type[T], given: dict[str, Any]) -> T:
    """A part of the document, made of the fields that it takes out of `given`."""
    names = [f.name for f in fields(part) if f.name in given]
    return part(**{name: given.pop(name) for name in names})


def _check_whole(rollout: Rollout) -> None:
    """What one field alone doesn't show. Raises ValueError, UsageError."""
    plan = rollout.plan
    with_terms(Directive("v1"), json.dumps(dict(plan.terms)) if plan.terms else "")
    _check_waves(plan)
    if plan.version == plan.came_from:
        raise ValueError(f"the version is {plan.version}, as is what nodes go back to")
    if rollout.limits.deadline_seconds <= plan.fetch_spread_seconds:
        raise ValueError("deadline_seconds is not above fetch_spread_seconds")
    if not -1 <= rollout.wave < len(plan.waves):
        raise ValueError(f"wave {rollout.wave} is none of the {len(plan.waves)}")
    begun = rollout.wave >= 0
    if rollout.status in (BEGINS if not begun else {Status.PLANNED}) or (rollout.open_below and not begun):
        raise ValueError(
            f"it is {rollout.status} and open_below {rollout.open_below} with wave {rollout.wave}"
        )


def _check_waves(plan: Plan) -> None:
    """Raises ValueError."""
    waves = plan.waves
    if CANARIES in waves[1:]:
        raise ValueError(f"waves: {CANARIES} can only be the first")
    if (waves[0] == CANARIES) != bool(plan.canaries or plan.selector):
        raise ValueError(
            f"waves: the first is {CANARIES} where canaries or a selector are given, and only there"
        )
    if plan.mode == "waves" and waves[-1] != EVERYBODY:
        raise ValueError(f"waves: the last is not {EVERYBODY}")
    shares = [float(w.removesuffix("%")) for w in waves if w.endswith("%")]
    counts = [int(w) for w in waves if w != CANARIES and not w.endswith("%")]
    if plan.mode == "ab" and (100 in shares or len(waves) == MAX_WAVES):
        raise ValueError("waves: with mode ab the last is not 100%, which is the one that `advance` opens")
    if any(sorted(set(numbers)) != numbers for numbers in (shares, counts)):
        raise ValueError("waves: they don't grow")
    kinds = [w.endswith("%") for w in waves if w != CANARIES]
    if sorted(kinds) != kinds:
        raise ValueError("waves: a count comes after a share")


def _name(value: object) -> str:
    return check_name("name", value)


def _waves(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_WAVES:
        raise ValueError(f"is not a list of 1 to {MAX_WAVES} waves")
    for wave in value:
        if not isinstance(wave, str):
            raise ValueError('has a wave that is not text such as "5%"')
        wave_size(wave, 1)
    return tuple(value)


def _names(most: int) -> Callable[[object], tuple[str, ...]]:
    def parse(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) > most:
            raise ValueError(f"is not a list of at most {most} names")
        return tuple(check_name("node", name) for name in value)

    return parse


def _labels(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_LABELS:
        raise ValueError(f"is not an object of at most {MAX_LABELS} labels")
    if not all(isinstance(text, str) and len(text) <= MAX_BY for item in value.items() for text in item):
        raise ValueError("has a label that is not text")
    return dict(value)


def _terms(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("is not an object")
    if (
        "preload" in value
    ):  # nodes would take the version up, and leave it when `current` says that it isn't to serve
        raise ValueError("has preload, which is a field of the roll-out itself")
    return value


def _status(value: object) -> Status:
    return Status(one_of(*Status)(value))


_SECONDS, _COUNT = number(0, _LONGEST_S), whole(0, MAX_NUMBER)
_PARSERS: Mapping[str, Callable[[object], Any]] = {
    "id": _name,
    "version": _name,
    "came_from": _name,
    "based_on": text,
    "salt": text,
    "waves": _waves,
    "canaries": _names(MAX_CANARIES),
    "selector": _labels,
    "bake_seconds": _SECONDS,
    "deadline_seconds": number(1, _LONGEST_S),
    "min_frames": _COUNT,
    "min_objects": _COUNT,
    "max_failures": _COUNT,
    "max_refused": number(0, 1),
    "on_failure": one_of("rollback", "pause"),
    "approval": one_of("auto", "manual"),
    "mode": one_of("waves", "ab"),
    "preload": flag,
    "fetch_spread_seconds": _SECONDS,
    "terms": _terms,
    "by": text,
    "reason": text,
    "status": _status,
    "wave": whole(-1, MAX_WAVES),
    "open_below": whole(0, PLACES),
    "cause": text,
    "why": text,
    "forgiven": _names(MAX_FORGIVEN),
    "forgiven_refused": _COUNT,
    "forgiven_evidence": number(0, MAX_NUMBER),
    "advance": flag,
}
assert _PARSERS.keys() == {f.name for part in (Plan, Limits, Rollout) for f in fields(part)} - {
    "plan",
    "limits",
}
