# SPDX-License-Identifier: AGPL-3.0-or-later
"""What serves was measured on a set once; so long as it, the set and the way of looking are the same, that stays
true."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from edgeagent.core.golden import Sighting
from edgeagent.util.codec import from_json, to_json
from edgeagent.util.durable import write_durably

_KEPT = 16
_SCHEMA = 1


def load_sightings(folder: Path, key: str) -> tuple[Sighting, ...] | None:
    """What was kept under `key`; None if nothing was, or it can't be read."""
    try:
        return tuple(from_json(Sighting, doc) for doc in json.loads(_file(folder, key).read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def store_sightings(folder: Path, key: str, sightings: Sequence[Sighting]) -> None:
    """Keep it, and of all that is kept the newest. A disk that doesn't take it costs the time to measure again."""
    with suppress(OSError):
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        write_durably(_file(folder, key), json.dumps([to_json(s) for s in sightings]).encode())
        kept = sorted(folder.glob("golden-*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in kept[_KEPT:]:
            path.unlink()


def _file(folder: Path, key: str) -> Path:
    return folder / f"golden-{hashlib.sha256(f'{_SCHEMA} {key}'.encode()).hexdigest()[:32]}.json"
