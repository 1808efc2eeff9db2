# SPDX-License-Identifier: AGPL-3.0-or-later
"""Class ids stay what they are downstream, whatever order the classes of a version stand in."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.contract import ClassMap, continues, in_force, in_order, map_for, names_after, objections
from edgeagent.core.gating import ClassTerms, GateTerms
from edgeagent.core.model import Contract

IN_FORCE = ("scratch", "dent", "label")
CLASSES = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=6, unique=True).map(tuple)
ANY = st.lists(st.sampled_from("abc"), max_size=5).map(tuple)


def terms(
    mode: str = "same",
    *,
    serving: tuple[str, ...] = IN_FORCE,
    names: tuple[str, ...] = (),
    added: tuple[str, ...] = (),
    dropped: tuple[str, ...] = (),
    anew: bool = False,
) -> GateTerms:
    """A version with the classes `serving` serves under the contract `names`."""
    contract = Contract("detect", serving, (64, 64), 32)
    classes = ClassTerms(mode, added, dropped)
    return GateTerms(contract, allow_new_contract=anew, classes=classes, names_in_force=names)


def box(cls: float) -> tuple[float, float, float, float, float, float]:
    """One of this class."""
    return (1.0, 2.0, 3.0, 4.0, 0.5, cls)


def test_equal_names_in_another_order_keep_their_ids() -> None:
    """What the version calls 0, downstream calls 2."""
    found = ClassMap.onto(IN_FORCE, ("label", "scratch", "dent"))
    assert (found.names, found.ids) == (IN_FORCE, (2, 0, 1))
    assert found.boxes([box(0.0), box(2.0)]) == (box(2), box(1))
    assert not found.is_identity


def test_the_same_order_costs_nothing() -> None:
    """Its boxes pass as they are."""
    found = ClassMap.onto(IN_FORCE, IN_FORCE)
    assert found == ClassMap.of(IN_FORCE)
    assert found.is_identity
    assert found.boxes([box(1.0)]) == (box(1.0),)


@pytest.mark.parametrize("cls", [-1.0, 3.0, math.nan, math.inf])
@pytest.mark.parametrize("own", [IN_FORCE, ("label", "dent", "scratch")])
def test_a_class_that_the_version_does_not_have_is_a_fault(own: tuple[str, ...], cls: float) -> None:
    """Of that frame, mapped or not; also when the contract in force has more classes than the version."""
    with pytest.raises(ValueError, match="a class that the model doesn't have"):
        ClassMap.onto((*IN_FORCE, "hole"), own).boxes([box(0.0), box(cls)])


@given(CLASSES, CLASSES)
def test_each_class_keeps_its_name(names: tuple[str, ...], own: tuple[str, ...]) -> None:
    """The name of an id is that of the version's class, and what had an id keeps it."""
    found = ClassMap.onto(names, own)
    assert tuple(found.names[id] for id in found.ids) == own
    assert continues(found.names, names)
    assert len(set(found.names)) == len(found.names)


@given(ANY, ANY)
def test_names_that_stand_twice_are_different_classes(names: tuple[str, ...], own: tuple[str, ...]) -> None:
    """No two classes of a version get one id."""
    found = ClassMap.onto(names, own)
    assert len(set(found.ids)) == len(own)
    assert tuple(found.names[id] for id in found.ids) == own


@given(st.lists(CLASSES, min_size=1, max_size=6))
def test_over_a_chain_of_versions_no_id_changes_its_meaning(versions: list[tuple[str, ...]]) -> None:
    """Whatever comes, goes and comes back: a name has one id, an id one name, for as long as the contract is in
    force."""
    names: tuple[str, ...] = ()
    meaning: dict[int, str] = {}
    for own in versions:
        names = names_after(names, own, anew=False)
        for id, name in zip(ClassMap.onto(names, own).ids, own, strict=True):
            assert meaning.setdefault(id, name) == name
    assert len(set(meaning.values())) == len(meaning)


@given(CLASSES, CLASSES)
def test_two_maps_one_after_the_other_are_one(names: tuple[str, ...], own: tuple[str, ...]) -> None:
    """Mapped onto a contract, then onto one that continues it, or at once."""
    first = ClassMap.onto(names, own)
    second = ClassMap.onto((*first.names, "new"), first.names)
    at_once = ClassMap.onto((*first.names, "new"), own)
    boxes = [box(float(id)) for id in range(len(own))]
    assert second.boxes(first.boxes(boxes)) == at_once.boxes(boxes)


def test_a_contract_can_begin_anew() -> None:
    """With the version that the operator lets do so: its own ids."""
    assert names_after(IN_FORCE, ("dent", "scratch"), anew=True) == ("dent", "scratch")
    assert names_after((), ("dent", "scratch"), anew=False) == ("dent", "scratch")


def test_the_order_of_what_serves_is_that_of_its_ids() -> None:
    """A class that went is not among them."""
    assert in_order(IN_FORCE, ("label", "scratch")) == ("scratch", "label")


def test_two_versions_are_compared_under_one_contract() -> None:
    """Boxes of both with the ids of the records; a class that only one has gets an id of its own."""
    judged = terms("extend", serving=("dent", "scratch", "label"), names=IN_FORCE, added=("hole",))
    assert in_force(judged) == IN_FORCE
    assert map_for(judged, ("dent", "scratch", "label")).ids == (1, 0, 2)
    assert map_for(judged, ("hole", "label")).ids == (3, 2)
    assert map_for(GateTerms(), ("hole", "label")).is_identity


@pytest.mark.parametrize("mode", ["same", "remap", "extend"])
def test_the_same_names_in_the_same_order_are_always_welcome(mode: str) -> None:
    """Whatever the directive says."""
    assert objections(terms(mode), IN_FORCE) == []


def test_another_order_needs_a_word() -> None:
    """And the reason says which."""
    own = ("dent", "scratch", "label")
    (reason,) = objections(terms(), own)
    assert "the same names in another order" in reason
    assert '"classes": "remap"' in reason
    assert objections(terms("remap"), own) == []
    assert objections(terms("extend"), own) == []
    assert objections(terms(anew=True), own) == []


def test_what_serves_mapped_may_be_followed_by_its_like_or_by_the_contracts_order() -> None:
    """Both orders were accepted already; a third is not."""
    own = ("dent", "scratch", "label")
    mapped = terms(serving=own, names=IN_FORCE)
    assert objections(mapped, own) == []
    assert objections(mapped, IN_FORCE) == []
    (reason,) = objections(mapped, ("label", "scratch", "dent"))
    assert "class 0 is 'scratch' in the contract in force" in reason


def test_classes_come_and_go_by_name() -> None:
    """Those that the directive names, and no others."""
    own = ("scratch", "label", "hole")
    assert objections(terms("extend", added=("hole",), dropped=("dent",)), own) == []
    came, went = objections(terms("extend", added=("crack",)), own)
    assert "'hole'" in came
    assert "add_classes" in came
    assert "'dent'" in went
    assert "drop_classes" in went
    assert len(objections(terms("remap"), own)) == 2
    (reason,) = objections(terms(), own)
    assert '"classes": "extend"' in reason


def test_a_class_that_was_dropped_comes_back_by_name_only() -> None:
    """It has an id, and yet programs may have forgotten it."""
    gone = terms("same", serving=("scratch", "label"), names=IN_FORCE)
    assert len(objections(gone, IN_FORCE)) == 1
    assert objections(gone, ("scratch", "label")) == []
    back = terms("extend", serving=("scratch", "label"), names=IN_FORCE, added=("dent",))
    assert objections(back, IN_FORCE) == []
    assert map_for(back, IN_FORCE).is_identity


def test_a_name_that_stands_twice_can_not_be_mapped_by_name() -> None:
    """Nobody can say which is which."""
    (reason,) = objections(terms("remap"), ("dent", "scratch", "dent"))
    assert "'dent' more than once" in reason


def test_without_a_version_that_serves_there_is_nothing_to_object_to() -> None:
    """The first sets the contract."""
    assert objections(GateTerms(), ("other",)) == []


def test_names_that_no_message_holds_are_refused() -> None:
    """A contract goes to a worker together with the names of two versions."""
    many = tuple(f"class {n:04d} {'x' * 30}" for n in range(1400))
    judged = terms("remap", serving=many)
    (reason,) = objections(judged, many[::-1])
    assert "bytes" in reason
    assert objections(judged, many) == []
