# SPDX-License-Identifier: AGPL-3.0-or-later
"""Frozen dataclasses as JSON values and back, by their type hints; what comes in is checked, for it isn't trusted.

Known are `None`, bool, int (64 bits), float (finite), str (text that UTF-8 can hold, of MAX_CHARS at most), FreeText
(which is cut, and loses its secrets), Path, Enum, Literal, Any (JSON as it is), `tuple[X, ...]`, `tuple[X, Y]`,
`Mapping[str, X]`, unions of these, and dataclasses of these.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from math import isfinite
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from edgeagent.core.text import FreeText, clean

MAX_CHARS = 4096
T = TypeVar("T")
Decoder = Callable[[Any, str], Any]
"""The value that a JSON value stands for; the second argument says where it stands. Raises ValueError."""


def to_json(value: object) -> Any:
    """`value` as JSON values. Raises ValueError for what has no JSON form, such as NaN."""
    match value:
        case Enum():
            return to_json(value.value)
        case None | bool():
            return value
        case str():
            # What can't be written as UTF-8 (a file's name, in an error) is not worth losing the message for.
            return value.encode("utf-8", "replace").decode()
        case int():
            return int(value)
        case float() if isfinite(value):
            return float(value)
        case Path():
            return str(value)
        case Mapping():
            return {str(key): to_json(item) for key, item in value.items()}
        case tuple() | list():
            return [to_json(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in fields(value) if f.init}
    raise ValueError(f"{value!r} of type {type(value).__name__} has no JSON form")


def from_json(kind: type[T], doc: Any) -> T:
    """The value of type `kind` that `to_json` made `doc` of. Raises ValueError naming the field and what is wrong."""
    decode: Decoder = _decoder(kind)  # type: ignore[arg-type]  # a class is hashable
    value: T = decode(doc, kind.__name__)
    return value


@cache
def _decoder(hint: Any) -> Decoder:
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _union([_decoder(arg) for arg in args])
    if origin is Literal:
        return _literal(args)
    if origin is tuple:
        return _tuple(args)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(_decoder(args[1]))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint)
    if is_dataclass(hint):
        return _dataclass(hint)
    raise TypeError(f"no way to decode {hint}")


def _dataclass(kind: Any) -> Decoder:
    hints = get_type_hints(kind, include_extras=True)
    decoders = {f.name: _decoder(hints[f.name]) for f in fields(kind) if f.init}

    def decode(doc: Any, where: str) -> Any:
        if not isinstance(doc, dict) or doc.keys() != decoders.keys():
            got = f"has {', '.join(map(str, doc))[:200]}" if isinstance(doc, dict) else "is no object"
            raise ValueError(f"{where} {got}, not the fields {', '.join(decoders)}")
        return kind(**{name: decoder(doc[name], f"{where}.{name}") for name, decoder in decoders.items()})

    return decode


def _union(decoders: list[Decoder]) -> Decoder:
    def decode(doc: Any, where: str) -> Any:
        reasons = []
        for decoder in decoders:
            try:
                return decoder(doc, where)
            except ValueError as e:
                reasons.append(str(e))
        raise ValueError(reasons[0])

    return decode


def _literal(allowed: tuple[Any, ...]) -> Decoder:
    def decode(doc: Any, where: str) -> Any:
        if not isinstance(doc, str) or doc not in allowed:
            raise ValueError(f"{where} is none of {', '.join(allowed)}")
        return doc

    return decode


def _tuple(args: tuple[Any, ...]) -> Decoder:
    endless = args[1:] == (...,)
    decoders = [_decoder(arg) for arg in (args[:1] if endless else args)]

    def decode(doc: Any, where: str) -> Any:
        if not isinstance(doc, list) or not (endless or len(doc) == len(decoders)):
            raise ValueError(f"{where} is no list" + ("" if endless else f" of {len(decoders)}"))
        each = decoders * len(doc) if endless else decoders
        return tuple(
            decoder(item, f"{where}[{i}]") for i, (decoder, item) in enumerate(zip(each, doc, strict=True))
        )

    return decode


def _mapping(decoder: Decoder) -> Decoder:
    def decode(doc: Any, where: str) -> Any:
        if not isinstance(doc, dict):
            raise ValueError(f"{where} is no object")
        return {_text(key, where): decoder(item, f"{where}[{key!r:.40}]") for key, item in doc.items()}

    return decode


def _enum(kind: type[Enum]) -> Decoder:
    def decode(doc: Any, where: str) -> Any:
        try:
            return kind(doc)
        except (ValueError, TypeError) as e:
            raise ValueError(f"{where} is no {kind.__name__}") from e

    return decode


def _text(doc: Any, where: str) -> str:
    if not isinstance(doc, str):
        raise ValueError(f"{where} is no text")
    try:
        doc.encode()
    except UnicodeEncodeError as e:
        raise ValueError(f"{where} is no text in UTF-8") from e
    if len(doc) > MAX_CHARS:
        raise ValueError(f"{where} has {len(doc)} characters, at most {MAX_CHARS}")
    return doc


def _free_text(doc: Any, where: str) -> str:
    return _text(clean(doc), where) if isinstance(doc, str) else _raise(f"{where} is no text")


def _path(doc: Any, where: str) -> Path:
    if not isinstance(doc, str) or "\0" in doc:
        raise ValueError(f"{where} is no path")
    try:
        os.fsencode(doc)
    except UnicodeEncodeError as e:
        raise ValueError(f"{where} is no path of this system") from e
    return Path(doc)


def _integer(doc: Any, where: str) -> int:
    if type(doc) is not int or not -(2**63) <= doc < 2**63:
        raise ValueError(f"{where} is no integer of 64 bits")
    return doc


def _number(doc: Any, where: str) -> float:
    if type(doc) is float and isfinite(doc):
        return doc
    return float(_integer(doc, where)) if type(doc) is int else _raise(f"{where} is no finite number")


def _boolean(doc: Any, where: str) -> bool:
    return doc if isinstance(doc, bool) else _raise(f"{where} is neither true nor false")


def _nothing(doc: Any, where: str) -> None:
    if doc is not None:
        raise ValueError(f"{where} is not null")


def _raise(why: str) -> Any:
    raise ValueError(why)


_PLAIN: dict[Any, Decoder] = {
    str: _text,
    FreeText: _free_text,
    int: _integer,
    float: _number,
    bool: _boolean,
    Path: _path,
    NoneType: _nothing,
    Any: lambda doc, where: doc,
}
