# SPDX-License-Identifier: AGPL-3.0-or-later
"""The presence of nodes, on each kind of store that has leases."""

from __future__ import annotations

import json
from typing import Any, cast

from edgeagent.core.presence import holder_of
from edgeagent.fleet.presence import Announcer, presence_key
from edgeagent.intent.port import KeyValueStore
from edgeagent.observe.bus import Bus
from tests.support.intent_sources import Backend

KEY = presence_key("press-07")


class Process:
    """One that takes itself for press-07."""

    def __init__(self, store: KeyValueStore, instance: str) -> None:
        self._value = json.dumps({"node": "press-07", "instance": instance}).encode()
        self._announcer = Announcer(store, "press-07", cast("Any", None), Bus(), instance=instance)

    def look(self) -> str:
        """What is wrong with its id after one look."""
        self._announcer.announce(lambda ts: self._value)
        return self._announcer.conflict


def holder(leasing: Backend) -> str:
    """Whose the key is."""
    return holder_of(leasing.store.get(KEY).value or b"").instance


def test_a_node_that_is_started_again_has_its_key_at_once(leasing: Backend) -> None:
    """Although the lease of the process before it goes on; nothing is wrong with its id."""
    assert Process(leasing.another(), "before").look() == ""
    node = Process(leasing.store, "after")
    assert [node.look() for _ in range(3)] == ["", "", ""]
    assert holder(leasing) == "after"


def test_two_nodes_with_one_id(leasing: Backend) -> None:
    """Both say it, and the key rests with one of them, unwritten."""
    first, second = Process(leasing.store, "first"), Process(leasing.another(), "second")
    first.look()
    second.look()
    assert "another process writes" in first.look()
    assert "another process writes" in second.look()
    before = leasing.store.get(KEY)
    for _ in range(3):
        assert second.look()
        assert first.look()
    assert leasing.store.get(KEY) == before
    assert holder(leasing) == "first"
