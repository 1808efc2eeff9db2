# SPDX-License-Identifier: AGPL-3.0-or-later
"""A roll-out from its beginning to its end, on each kind of store that has leases."""

from __future__ import annotations

import time

from edgeagent.core.directive import current_key
from edgeagent.core.rollout import Limits, Plan, Rollout, Status, archive_key, rollout_key
from edgeagent.core.rollout_document import decode_rollout, encode_rollout
from edgeagent.fleet.coordinator import Coordinator
from edgeagent.fleet.lead import Lead
from edgeagent.intent.port import ABSENT
from tests.support.intent_sources import Backend
from tests.support.pretended_nodes import PretendedNodes

PATIENCE_S = 60.0


def test_a_roll_out_ends_with_current(leasing: Backend) -> None:
    """Led by one of two; the other has nothing to write with."""
    store = leasing.store
    store.put(current_key("yolo"), b"v1")
    nodes = PretendedNodes(store, "yolo", ["n1", "n2", "n3"], lease_s=30.0)
    nodes.act()
    plan = Plan("v2", "v1", store.get(current_key("yolo")).revision, "salt", ("1", "100%"))
    store.put(rollout_key("yolo"), encode_rollout(Rollout("r1", plan, Limits(bake_seconds=0))))
    leads = [Lead(store), Lead(leasing.another())]
    first, second = Coordinator(store, leads[0]), Coordinator(leasing.opened[0], leads[1])  # type: ignore[arg-type]
    give_up = time.monotonic() + PATIENCE_S
    while store.get(rollout_key("yolo")).value is not None:
        assert time.monotonic() < give_up
        for lead in leads:
            lead.look()
        first.look()
        second.look()
        nodes.act()
    assert store.get(rollout_key("yolo")).revision == ABSENT
    assert store.get(current_key("yolo")).value == b"v2"
    archived = store.get(archive_key("yolo", "r1"))
    assert decode_rollout(archived.key, archived.value or b"").status is Status.DONE
    assert (first.state.leads, second.state.leads) == (True, False)
    assert second.state.leader == first.state.leader
    leads[0].resign()
