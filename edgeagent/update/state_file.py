# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a model's state looks like on disk: `<state_dir>/models/<model>.json`, whole or not at all.

Beside it lies the state before, `<model>.json.before`, for a disk that damages what it holds.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import structlog

from edgeagent.core.state import State, VersionRef, from_json, to_json
from edgeagent.util.durable import keep_copy, write_durably

_TICKS_A_SECOND = 64
_RANDOM_BITS = 14
_log = structlog.get_logger(__name__)


def load_state(
    folder: Path, model: str, known_good: Callable[[], tuple[VersionRef, ...]] = lambda: ()
) -> State:
    """The state of the last run; a fresh one at the first start.

    Where the file is damaged or can't be read, the state before it; where that is no better, one that knows only
    `known_good`: the versions in the cache that were stable here, oldest first. Either is logged. A file that makes no
    sense is kept beside as `<model>.json.unusable`: it says what served, and what was held.
    """
    path = folder / f"{model}.json"
    before, unusable = _before(path), _unusable(path)
    if not any(file.exists() for file in (path, before, unusable)):
        return State(model)
    if state := _read(path, model):
        return state
    with suppress(OSError):
        if path.is_file():
            path.replace(unusable)
    state = _read(before, model) or State(model, stable_versions=known_good())
    good = state.last_known_good
    _log.error("state.recovered", model=model, version=good.version if good else None, kept=str(unusable))
    # What was saved last is lost, and with it which numbers were given.
    return replace(state, epoch=epoch_by_clock(state.epoch))


def save_state(folder: Path, state: State, reserved_epochs: int = 0) -> None:
    """Write the state durably; see `to_json`. Raises OSError: then the file is as it was."""
    path = folder / f"{state.model}.json"
    data = json.dumps(to_json(state, reserved_epochs), indent=1).encode()
    with suppress(
        OSError
    ):  # a nicety: what hinders it hinders the state itself, too, or isn't worth a failure
        keep_copy(path, _before(path))
    write_durably(path, data)


def epoch_by_clock(last: int) -> int:
    """A number above `last` that no run of this node has given: of this instant, with a random part. Below 2^53."""
    return max(int(time.time() * _TICKS_A_SECOND) << _RANDOM_BITS, last + 1) + secrets.randbits(_RANDOM_BITS)


def _before(path: Path) -> Path:
    return path.with_name(f"{path.name}.before")


def _unusable(path: Path) -> Path:
    return path.with_name(f"{path.name}.unusable")


def _read(path: Path, model: str) -> State | None:
    """What the file holds; None when that is no state of this model, or can't be read."""
    try:
        return from_json(model, json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as e:
        _log.error("state.unusable", path=str(path), why=str(e))
        return None
