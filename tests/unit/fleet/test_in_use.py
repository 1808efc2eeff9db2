# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which versions are needed: by keys, nodes and snapshots; what can't be read might name any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeagent.core.fleet_report import Report
from edgeagent.core.rollout import Status, rollout_key
from edgeagent.core.rollout_document import encode_rollout
from edgeagent.core.snapshot import Snapshot
from edgeagent.core.state import VersionRef
from edgeagent.errors import ConflictError, DirectiveError, IntegrityError, RolloutError
from edgeagent.fleet.in_use import needed_by_fleet, needed_by_snapshots
from edgeagent.fleet.presence import presence_key
from edgeagent.store.remote import RemoteStore
from edgeagent.store.snapshots import write_snapshot
from tests.support.fleet_keys import is_there, says
from tests.support.memory_store import MemoryStore
from tests.support.rollouts import a_rollout


def test_all_that_names_a_version() -> None:
    """Of this model; silent nodes and nodes of earlier releases, too."""
    keys = MemoryStore()
    keys.put("/models/yolo/current", b'{"version": "v5", "by": "eve"}')
    keys.put("/models/yolo/pins/n1", b"v3")
    keys.put("/models/caps/current", b"c1")
    rollout = a_rollout(version="v6", came_from="v5", id="r7", status=Status.ABORTING)
    keys.put(rollout_key("yolo"), encode_rollout(rollout))
    is_there(keys, "n1", yolo={"active": {"version": "v3"}})
    says(keys, "n1", Report("v3", before="v2"))
    for n in range(2, 7):
        says(keys, f"n{n}", Report("v5", before="v4"))
    says(keys, "n9", Report("c1"), "caps")
    is_there(keys, "old", yolo={"active": {"version": "v1"}})
    is_there(keys, "empty", yolo={"active": None})
    assert needed_by_fleet(keys, "yolo") == {
        "v5": ["current", "roll-out r7", "serves on n2, n3, n4 and 2 more"],
        "v3": ["pin of n1", "serves on n1"],
        "v6": ["roll-out r7"],
        "v2": ["served before on n1"],
        "v4": ["served before on n2, n3, n4 and 2 more"],
        "v1": ["serves on old"],
    }


def test_a_roll_out_that_has_ended_needs_nothing() -> None:
    """Its version is `current`, or isn't wanted."""
    keys = MemoryStore()
    keys.put(rollout_key("yolo"), encode_rollout(a_rollout(status=Status.DONE)))
    assert needed_by_fleet(keys, "yolo") == {}


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("/models/yolo/current", b"{", DirectiveError),
        ("/models/yolo/pins/n1", b"@stable", DirectiveError),
        ("/models/yolo/rollout", b"{", RolloutError),
        ("/edgeagent/reports/n1/yolo", b"{", RolloutError),
        ("/edgeagent/nodes/n1", b"{", ConflictError),
        ("/edgeagent/nodes/n1", json.dumps({"models": {"caps": {}}, "left_out": 2}).encode(), ConflictError),
    ],
)
def test_what_cannot_be_read_might_name_any(key: str, value: bytes, error: type[Exception]) -> None:
    """It is said, and what is to be done; nothing goes meanwhile."""
    keys = MemoryStore()
    keys.put(key, value)
    with pytest.raises(error):
        needed_by_fleet(keys, "yolo")


def test_a_node_that_reports_may_leave_things_out_of_its_presence() -> None:
    """It reports on each of its models; one that only has another model says so."""
    keys = MemoryStore()
    keys.put(presence_key("n1"), json.dumps({"models": {}, "left_out": 9}).encode())
    says(keys, "n1", Report("c1"), "caps")
    is_there(keys, "n2", caps={"active": {"version": "c1"}})
    assert needed_by_fleet(keys, "yolo") == {}


def test_snapshots_need_what_they_would_bring_back(tmp_path: Path) -> None:
    """Of this model; one that can't be read might name any version."""
    store = RemoteStore(str(tmp_path))
    nodes = {"n1": {"yolo": VersionRef("v1", "")}, "n2": {"yolo": VersionRef("v1", "")}}
    write_snapshot(store, Snapshot("monday", "", "", nodes | {"n3": {"caps": VersionRef("c1", "")}}))
    assert needed_by_snapshots(store, "yolo") == {"v1": ["snapshot monday"]}
    store.put("_snapshots/tuesday.json", b"{")
    with pytest.raises(IntegrityError, match=r"snapshot tuesday: .*remove this one from the store"):
        needed_by_snapshots(store, "yolo")
