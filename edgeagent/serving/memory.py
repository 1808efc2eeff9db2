# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a model's state looks like on disk: `<state_dir>/models/<model>.json`, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import structlog

from edgeagent.core.state import State, from_json, to_json
from edgeagent.store.files import write_durably

_log = structlog.get_logger(__name__)


def load_state(folder: Path, model: str) -> State:
    """The state of the last run; a fresh one when there is none or it can't be read (which is logged)."""
    path = folder / f"{model}.json"
    try:
        return from_json(model, json.loads(path.read_bytes()))
    except FileNotFoundError:
        return State(model)
    except (OSError, ValueError) as e:
        _log.error("saved state not usable, starting afresh", path=str(path), why=str(e))
        return State(model)


def save_state(folder: Path, state: State) -> None:
    """Write the state durably. Raises OSError."""
    write_durably(folder / f"{state.model}.json", json.dumps(to_json(state), indent=1).encode())
