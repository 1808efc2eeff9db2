# SPDX-License-Identifier: AGPL-3.0-or-later
"""The class contract in force outlives the versions under it: over swaps, roll-backs, rebuilds and restarts."""

from __future__ import annotations

from typing import Any

from edgeagent.core.directive import Directive
from edgeagent.core.events import PromoteRequested, RollbackRequested, StageReached, Swap
from edgeagent.core.form import Form
from edgeagent.core.lifecycle import Stage
from edgeagent.core.model import Contract
from edgeagent.core.state import from_json
from tests.support.playbook import PROVEN, UNPROVEN, Playbook, digest_of, intent, ref

A, B = ("scratch", "dent"), ("dent", "scratch")
Names = tuple[str, ...]


class Line(Playbook):
    """Versions with class names of their own."""

    def __init__(self, own: dict[str, Names]) -> None:
        super().__init__()
        self.own = own
        self.revision = 0
        self.swaps: list[Swap] = []

    def comes(self, names: Names = ()) -> Names:
        """The candidate comes; under which names its ids stand from then on."""
        c = self.state.candidate
        assert c is not None
        self.reaches(*(PROVEN if c.goal.known_good else UNPROVEN))
        own = self.own[c.goal.version]
        form = Form(Contract("detect", own, (64, 64), 32))
        acts = self.on(StageReached(c.id, Stage.READY, digest_of(c.goal.version), form=form))
        return self.swapped(acts, own)

    def swapped(self, acts: list[Any], own: Names) -> Names:
        """What the swap among these says."""
        (swap,) = (act for act in acts if isinstance(act, Swap))
        return swap.names or own

    def update(self, version: str, *, proves: bool = True, **fields: Any) -> Names:
        """It is written into the key, comes, and proves itself."""
        self.revision += 1
        self.on(intent(version, self.revision, **fields))
        names = self.comes()
        if proves:
            self.after(self.policy.probation_s)
        return names

    def goes_back(self) -> Names:
        """On the operator's word; a swap to the standby, or a load."""
        acts = self.on(RollbackRequested("Ada"))
        active = self.state.active
        if any(isinstance(act, Swap) for act in acts):
            assert active
            return self.swapped(acts, self.own[active.version])
        return self.comes()


def test_a_remapped_version_serves_under_the_ids_of_the_one_before() -> None:
    """And so do those after it, in whichever order."""
    node = Line({"v1": A, "v2": B, "v3": B, "v4": A})
    assert node.update("v1") == A
    assert node.update("v2", classes="remap") == A
    assert node.update("v3") == A
    assert node.update("v4") == A


def test_a_roll_back_keeps_the_ids() -> None:
    """To the standby, and to one that is loaded again; also of a version on probation that fails."""
    node = Line({"v1": A, "v2": B})
    node.update("v1")
    node.update("v2", proves=False, classes="remap")
    assert node.goes_back() == A
    node.update("v2", classes="remap", again=True)
    assert node.goes_back() == A
    node = Line({"v1": B, "v2": A})
    node.update("v1")
    assert node.update("v2", proves=False, classes="remap") == B
    acts = node.crashes("v2")
    assert node.swapped(acts, B) == B


def test_an_id_that_was_given_is_given_to_no_other_class() -> None:
    """Not after a roll-back, not after a version without it, not after a restart."""
    node = Line({"v1": A, "v2": (*A, "hole"), "v3": ("crack", *B), "v4": (*A, "hole")})
    node.update("v1")
    assert node.update("v2", proves=False, classes="extend", add_classes=("hole",)) == (*A, "hole")
    node.crashes("v2")
    assert node.state.active == ref("v1")
    node.state = from_json("yolo", node.saved)
    node.after(0)
    assert node.comes() == (*A, "hole")
    node.after(node.policy.probation_s)
    assert node.update("v3", classes="extend", add_classes=("crack",)) == (*A, "hole", "crack")
    with_hole = node.update("v4", classes="extend", add_classes=("hole",), drop_classes=("crack",))
    assert with_hole == (*A, "hole", "crack")


def test_a_new_contract_begins_with_the_version_that_may() -> None:
    """What was before comes back under its own."""
    node = Line({"v1": A, "v2": B, "v3": ("other",)})
    node.update("v1")
    node.update("v2", classes="remap")
    assert node.update("v3", allow_new_contract=True) == ("other",)
    assert node.goes_back() == A
    node.after(node.policy.probation_s)
    assert node.state.active == ref("v2")


def test_a_restart_serves_under_the_same_ids() -> None:
    """The last known good version, by what was saved; an intent of the node after it, too."""
    node = Line({"v1": A, "v2": B, "v3": B})
    node.update("v1")
    node.update("v2", classes="remap")
    node.state = from_json("yolo", node.saved)
    node.after(0)
    assert node.comes() == A
    node.on(PromoteRequested(Directive("v3", "api@1", "Ada")))
    assert node.comes() == A


def test_a_state_of_an_earlier_release_has_the_versions_own_ids() -> None:
    """As they were in its records."""
    node = Line({"v1": A, "v2": B})
    node.update("v1")
    node.update("v2", allow_new_contract=True)
    saved = {**node.saved}
    del saved["classes"]
    node.state = from_json("yolo", saved)
    assert node.state.contracts == {}
    node.after(0)
    assert node.comes() == B
    assert node.goes_back() == A


def test_only_what_may_serve_again_is_remembered() -> None:
    """Of versions that are stable; in memory also of what serves, and what stays warm."""
    versions = {f"v{n}": A for n in range(8)}
    node = Line(versions)
    for version in versions:
        node.update(version)
    assert set(node.state.contracts) <= {*node.state.stable_versions, ref("v4")}
    assert len(node.saved["classes"]) == node.policy.keep_stable


def test_while_nothing_serves_names_that_are_known_keep_their_ids() -> None:
    """A start without a version that works; others begin a contract of their own."""
    for own, names in ((B, A), (("other",), ("other",))):
        node = Line({"v1": A, "v2": own})
        node.update("v1")
        node.state = from_json("yolo", node.saved)
        node.after(0)
        node.fails("weights don't load")
        node.revision = 7
        assert node.update("v2") == names
