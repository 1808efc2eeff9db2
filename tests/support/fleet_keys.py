# SPDX-License-Identifier: AGPL-3.0-or-later
"""What nodes and coordinators of a fleet have written into a config store, for tests of those who read it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from edgeagent.core.fleet_report import Report, encode_report, report_key
from edgeagent.core.rollout import Rollout, rollout_key
from edgeagent.core.rollout_document import decode_rollout, encode_rollout
from edgeagent.fleet.presence import presence_key
from edgeagent.intent.port import KeyValueStore


def is_there(store: KeyValueStore, *nodes: str, **models: Any) -> None:
    """Nodes announce themselves. models: as a presence has them."""
    for node in nodes:
        store.put(presence_key(node), json.dumps({"node": node, "models": models}).encode())


def says(store: KeyValueStore, node: str, report: Report, model: str = "yolo") -> None:
    """A node reports."""
    store.put(report_key(node, model), encode_report(report))


def rollout_now(store: KeyValueStore, model: str = "yolo") -> Rollout:
    """The roll-out as it stands under its key."""
    entry = store.get(rollout_key(model))
    assert entry.value is not None
    return decode_rollout(entry.key, entry.value)


def moves(store: KeyValueStore, model: str = "yolo", **fields: Any) -> Rollout:
    """A coordinator carries the roll-out on."""
    rollout = replace(rollout_now(store, model), **fields)
    store.put(rollout_key(model), encode_rollout(rollout))
    return rollout
