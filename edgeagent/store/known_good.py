# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which versions in the cache have served well here: for a node whose state is damaged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edgeagent.core.state import VersionRef
from edgeagent.errors import UsageError
from edgeagent.store.cache import Cache
from edgeagent.util.durable import write_durably


def note_known_good(cache: Cache, model: str, versions: Sequence[VersionRef]) -> None:
    """Remember which versions of `model` have served well, oldest first. Raises OSError."""
    path = _path(cache, model)
    if path.parent.is_dir():  # else none of them is here
        write_durably(path, json.dumps([[r.version, r.digest] for r in versions]).encode())


def known_good(cache: Cache, model: str) -> tuple[VersionRef, ...]:
    """What `note_known_good` was told last, as far as it is whole here; nothing when that can't be read."""
    try:
        noted = [VersionRef(str(v), str(d)) for v, d in json.loads(_path(cache, model).read_bytes())]
        return tuple(ref for ref in noted if cache.lookup(model, ref.version, ref.digest))
    except (OSError, ValueError, TypeError, RecursionError, UsageError):
        return ()


def _path(cache: Cache, model: str) -> Path:
    return cache.root / "versions" / model / "known-good.json"
