# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way back to a snapshot."""

from __future__ import annotations

from edgeagent.core.restore import Return, returns_of
from edgeagent.core.snapshot import Snapshot
from edgeagent.core.state import VersionRef

V1, V2 = VersionRef("v1", "sha256:1"), VersionRef("v2", "sha256:2")


def snapshot(**served: dict[str, VersionRef]) -> Snapshot:
    """What each node served, by model."""
    return Snapshot("s", "2026-11-29T10:00:00Z", "anna", served)


def test_most_nodes_decide_and_the_others_would_be_pinned() -> None:
    """Each model on its own."""
    taken = snapshot(a={"yolo": V1, "seg": V2}, b={"yolo": V1}, c={"yolo": V2})
    assert returns_of(taken, {}, {}) == [
        Return("seg", V2, 1, {}),
        Return("yolo", V1, 2, {"c": V2}),
    ]


def test_of_two_on_as_many_nodes_current_stays() -> None:
    """Else the name decides, so that it is the same each time."""
    taken = snapshot(a={"yolo": V1}, b={"yolo": V2})
    assert returns_of(taken, {"yolo": "v1"}, {})[0].target == V1
    assert returns_of(taken, {"yolo": "v9"}, {})[0].target == V2


def test_pins_of_today_count() -> None:
    """Who is pinned to what it served needs nothing; who is pinned to something else does."""
    taken = snapshot(a={"yolo": V1}, b={"yolo": V1}, c={"yolo": V2}, d={"yolo": V1})
    pinned = {"yolo": {"a": "v9", "c": "v2", "d": "v1"}}
    assert returns_of(taken, {}, pinned)[0].pins == {"a": V1}


def test_a_digest_that_one_node_didnt_know() -> None:
    """It is the same version: another one knew."""
    taken = snapshot(a={"yolo": VersionRef("v1", "")}, b={"yolo": V1}, c={"yolo": V2})
    back = returns_of(taken, {}, {})[0]
    assert (back.target, back.nodes) == (V1, 2)
