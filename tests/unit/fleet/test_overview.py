# SPDX-License-Identifier: AGPL-3.0-or-later
"""The fleet as a node shows it: what was read of the config store, and how often that is asked."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any, cast

import pytest

from edgeagent.core.fleet_report import Report
from edgeagent.core.leader import Leader, encode_leader
from edgeagent.core.rollout import COORDINATOR_KEY, Status, archive_key, rollout_key
from edgeagent.core.rollout_document import encode_rollout
from edgeagent.errors import NotFoundError, UnavailableError
from edgeagent.fleet.overview import FRESH_S, FleetOverview, NoFleet, OverviewReader
from edgeagent.status.fleet_overview import FleetAnswer
from tests.support.fleet_keys import is_there, says
from tests.support.fleets import a_rollout
from tests.support.memory_store import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    """A fleet of three nodes, one of them silent and one without a model."""
    store = MemoryStore()
    is_there(store, "n1", "n3")
    says(store, "n1", Report("v2", state="STABLE", frames=100))
    says(store, "n2", Report("v1", state="STABLE"))
    return store


def overview_of(store: MemoryStore, is_leading: bool = False) -> FleetOverview:
    """On that store, with its clock."""
    reader = OverviewReader(cast("Any", store), ["yolo"])
    return FleetOverview(reader, lambda: is_leading, store.clock)


def asked(overview: FleetOverview) -> dict[str, Any]:
    """One answer."""
    return dict(json.loads(asyncio.run(overview.overview())))


def test_what_it_has(store: MemoryStore) -> None:
    """Nodes, roll-outs and the leader, in the form that the schema describes, with no field beyond it."""
    store.put(rollout_key("yolo"), encode_rollout(a_rollout(Status.ROLLING)))
    store.put(COORDINATOR_KEY, encode_leader(Leader("x", "press-07", 12, 1.0)))
    found = asked(overview_of(store, is_leading=True))
    assert (found["leader"], found["coordinating"], found["idle"]) == ("press-07", True, ["n3"])
    assert [(n["node"], n["present"], n["version"]) for n in found["nodes"]] == [
        ("n1", True, "v2"),
        ("n2", False, "v1"),
    ]
    (rollout,) = found["rollouts"]
    assert (rollout["model"], rollout["rollout"]["status"], len(rollout["waves"])) == ("yolo", "rolling", 4)
    assert json.loads(FleetAnswer.model_validate(found).model_dump_json()) == found


def test_a_node_without_a_report(store: MemoryStore) -> None:
    """Its presence has some of it; the schema takes that, too."""
    store = MemoryStore()
    is_there(store, "n1", yolo={"active": {"version": "v1"}, "state": "STABLE"})
    (node,) = FleetAnswer.model_validate(asked(overview_of(store))).nodes
    assert (node.reports, node.version, node.golden) == (False, "v1", -1.0)


def test_the_last_that_ended(store: MemoryStore) -> None:
    """Without one in force it is shown; another is looked for once `current` was written."""
    store.put(archive_key("yolo", "r1"), encode_rollout(replace(a_rollout(Status.DONE), id="r1")))
    overview = overview_of(store)
    assert [r["rollout"]["id"] for r in asked(overview)["rollouts"]] == ["r1"]
    store.put(archive_key("yolo", "r2"), encode_rollout(replace(a_rollout(Status.DONE), id="r2")))
    store.put("/models/yolo/current", b"v2")
    store.now += FRESH_S
    assert [r["rollout"]["id"] for r in asked(overview)["rollouts"]] == ["r2"]


def test_what_cannot_be_read(store: MemoryStore) -> None:
    """One broken document is said, and hides nothing else; a leader that doesn't say who it is leads even so."""
    store.put(rollout_key("yolo"), b"{")
    store.put(COORDINATOR_KEY, b"\xff")
    found = asked(overview_of(store))
    assert (found["leader"], found["rollouts"], len(found["nodes"])) == ("?", [], 2)
    assert "/models/yolo/rollout" in found["broken"]["yolo"]


def test_it_is_read_once_in_five_seconds(store: MemoryStore) -> None:
    """Whoever asks meanwhile gets the same, be it an error."""
    overview = overview_of(store)
    first = asked(overview)
    store.away = True
    assert asked(overview) == first
    store.now += FRESH_S
    with pytest.raises(UnavailableError, match="away"):
        asked(overview)
    store.away = False
    with pytest.raises(UnavailableError):
        asked(overview)
    store.now += FRESH_S
    assert asked(overview) == first


def test_no_fleet() -> None:
    """A store without leases has none, which is said."""
    with pytest.raises(NotFoundError, match=r"folder.*etcd or ZooKeeper"):
        asyncio.run(NoFleet("file:///intents").overview())
