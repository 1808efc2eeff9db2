# SPDX-License-Identifier: AGPL-3.0-or-later
"""The alarms of a node on its disk, so that what somebody has acknowledged or shelved is so after a restart, too."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import structlog

from edgeagent.core.alarms.alarm import Alarm, Condition
from edgeagent.core.alarms.book import AlarmBook
from edgeagent.util.codec import from_json, to_json
from edgeagent.util.durable import write_durably

SCHEMA = 1
MAX_BYTES = 16 << 20
_log = structlog.get_logger(__name__)


def load_book(path: Path, keep: int) -> AlarmBook:
    """The alarms that are remembered; none where there is no file. One that can't be read is put aside, and none are
    remembered."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return AlarmBook(keep=keep)
    except OSError as e:
        _log.error("alarms.not_read", path=str(path), why=str(e), note="none are remembered")
        return AlarmBook(keep=keep)
    try:
        return _parse(data, keep)
    except (ValueError, RecursionError, TypeError, LookupError) as e:
        _log.error("alarms.not_read", path=str(path), why=str(e)[:300], note="put aside; none are remembered")
        with suppress(OSError):
            os.replace(path, path.with_suffix(".broken"))
        return AlarmBook(keep=keep)


def save_book(path: Path, book: AlarmBook) -> None:
    """Write it durably; waits for the disk. Raises OSError."""
    doc = {"schema": SCHEMA, "open": [to_json(a) for a in book.open.values()], "past": to_json(book.past)}
    write_durably(path, json.dumps(doc, ensure_ascii=False).encode())


def _parse(data: bytes, keep: int) -> AlarmBook:
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    doc = json.loads(data)
    if not isinstance(doc, dict) or doc.get("schema") != SCHEMA:
        raise ValueError("it is no file of alarms of this release")
    open_alarms = [_alarm(a) for a in doc["open"]]
    past = tuple(_alarm(a) for a in doc["past"])
    return AlarmBook({a.key: a for a in open_alarms}, past[max(0, len(past) - keep) :], keep)


def _alarm(doc: dict[str, Any]) -> Alarm:
    """Of this release or another: what that didn't know has its default, what it knew more is left aside."""
    known = _known(Alarm, doc)
    return from_json(Alarm, known | {"what": _known(Condition, known["what"])})


def _known(kind: type[Any], doc: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for field in fields(kind):
        if field.name in doc:
            known[field.name] = doc[field.name]
        elif field.default is not MISSING:
            known[field.name] = field.default
        elif field.default_factory is not MISSING:
            known[field.name] = field.default_factory()
    return known
