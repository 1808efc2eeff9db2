# SPDX-License-Identifier: AGPL-3.0-or-later
"""A version that is taken back for a frame, and the frame that fails on the version before, too."""

from __future__ import annotations

from edgeagent.core.events import FrameAtFault, ProbationBreached, RetireEngine, Swap
from tests.support.playbook import Playbook, begun, intent, ref, summary


def test_a_frame_that_fails_on_both_quarantines_nobody() -> None:
    """The version is tried again after a while, which grows; a frame that only it failed on keeps it refused."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    for delay in (30.0, 60.0):
        node.passes()
        assert node.crashes("v2") == [Swap(ref("v1"), node.state.epoch), RetireEngine(ref("v2"))]
        assert rejected(node) == ["v2"]
        assert node.on(FrameAtFault(ref("v1"))) == []
        assert node.on(FrameAtFault(ref("v2"))) == []
        assert (rejected(node), node.records[-1].result) == ([], "cleared")
        assert node.on(FrameAtFault(ref("v2"))) == []
        assert node.after(delay - 1) == []
        assert begun(node.after(1)) == ["v2"]
    node.passes()
    node.crashes("v2")
    assert rejected(node) == ["v2"]


def test_a_frame_that_is_found_at_fault_late_has_the_version_tried_at_once() -> None:
    """The while to wait is over by then."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    node.crashes("v2")
    assert node.after(31) == []
    assert begun(node.on(FrameAtFault(ref("v2")))) == ["v2"]


def test_what_pairs_say_is_not_taken_back_for_a_frame() -> None:
    """Only who was taken back for a failure can be cleared by a frame."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    node.on(ProbationBreached(ref("v2"), "lost 9 of 20 dents", summary(100, 30)))
    assert node.on(FrameAtFault(ref("v2"))) == []
    assert rejected(node) == ["v2"]


def rejected(node: Playbook) -> list[str]:
    """The versions that are refused."""
    return [r.version for r in node.state.rejections]
