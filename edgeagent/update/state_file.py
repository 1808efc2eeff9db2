# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a model's state looks like on disk: `<state_dir>/models/<model>.json`, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import structlog

from edgeagent.core.state import State, from_json, to_json
from edgeagent.util.durable import write_durably

_log = structlog.get_logger(__name__)


def load_state(folder: Path, model: str) -> State:
    """The state of the last run; a fresh one when there is none or it can't be read (which is logged).

    A file that makes no sense is kept beside as `<model>.json.unusable`: it says what served, and what was held.
    """
    path = folder / f"{model}.json"
    try:
        return from_json(model, json.loads(path.read_bytes()))
    except FileNotFoundError:
        return State(model)
    except OSError as e:
        _log.error("state.unreadable", path=str(path), why=str(e), note="starting afresh")
    except (ValueError, RecursionError) as e:
        kept = path.with_name(f"{path.name}.unusable")
        _log.error("state.unusable", path=str(path), kept=str(kept), why=str(e), note="starting afresh")
        try:
            path.replace(kept)
        except OSError as error:
            _log.error("state.not_kept", path=str(path), why=str(error))
    return State(model)


def save_state(folder: Path, state: State) -> None:
    """Write the state durably. Raises OSError."""
    write_durably(folder / f"{state.model}.json", json.dumps(to_json(state), indent=1).encode())
