# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gate `contract`: what pipelines rely on is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeagent.core.gating import GateTerms
from edgeagent.core.model import Contract
from edgeagent.core.verified import VerifiedVersion
from edgeagent.gates import contract
from edgeagent.runtimes.port import ModelMetadata

ACTIVE = Contract("detect", ("scratch", "dent", "label"), (640, 640), 32)


def version(claimed: Contract, file_format: str = "onnx") -> VerifiedVersion:
    """What its manifest claims."""
    return VerifiedVersion("yolo", "v2", "sha256:2", claimed, file_format, Path("w"))


def check(candidate: Contract, active: Contract | None = ACTIVE, allow_new: bool = False) -> tuple[str, ...]:
    """What speaks against a candidate whose manifest says the truth."""
    metadata = ModelMetadata(candidate, "onnx", "v8")
    return contract.check(version(candidate), metadata, GateTerms(active, allow_new)).reasons


def test_the_same_contract_passes() -> None:
    """Nothing speaks against it."""
    assert check(ACTIVE) == ()


def test_another_input_size_passes() -> None:
    """640 to 320 is a real update."""
    assert check(replace(ACTIVE, imgsz=(320, 320))) == ()


def test_the_first_version_sets_the_contract() -> None:
    """Nothing serves that it could break."""
    assert check(replace(ACTIVE, names=("other",)), active=None) == ()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ("dent", "scratch", "label"),
            "the same names in another order): class 0 is 'scratch' in the active version",
        ),
        (("scratch", "label", "dent"), "class 1 is 'dent' in the active version, 'label' in the candidate"),
        (("scratch", "dent"), "the active version has 3, the candidate 2"),
        (("scratch", "dent", "hole"), "class 2 is 'label' in the active version, 'hole' in the candidate"),
    ],
)
def test_other_class_names_are_refused(names: tuple[str, ...], said: str) -> None:
    """With the first index that differs; a permutation is called one."""
    (failure,) = check(replace(ACTIVE, names=names))
    assert said in failure
    assert ("another order" in failure) == (sorted(names) == sorted(ACTIVE.names))


def test_a_new_contract_can_be_allowed() -> None:
    """By the operator, in so many words."""
    assert check(replace(ACTIVE, names=("other",)), allow_new=True) == ()


def test_another_task_is_refused() -> None:
    """Against the active version, and because nothing here serves it."""
    failures = check(replace(ACTIVE, task="segment"), allow_new=True)
    assert failures == ("task is segment, this edgeagent serves detect",)
    assert len(check(replace(ACTIVE, task="segment"))) == 2


@pytest.mark.parametrize(
    "lie",
    [
        replace(ACTIVE, names=("dent", "scratch", "label")),
        replace(ACTIVE, imgsz=(320, 320)),
        replace(ACTIVE, stride=64),
    ],
)
def test_a_manifest_that_says_other_than_the_weights_is_refused(lie: Contract) -> None:
    """Even when a new contract is allowed, even as the first version."""
    terms = GateTerms(allow_new_contract=True)
    (failure,) = contract.check(version(lie), ModelMetadata(ACTIVE, "onnx", "v8"), terms).reasons
    assert "the manifest" in failure
    assert "the weights" in failure


def test_another_format_than_the_manifest_says_is_refused() -> None:
    """The file is not what was published."""
    metadata = ModelMetadata(ACTIVE, "onnx", "v8")
    (failure,) = contract.check(version(ACTIVE, "pt"), metadata, GateTerms(ACTIVE)).reasons
    assert "format pt" in failure


def test_an_input_that_is_no_multiple_of_the_stride_is_refused() -> None:
    """Its grids would not cover the picture."""
    (failure,) = check(replace(ACTIVE, imgsz=(650, 640)))
    assert "650×640 is no multiple of stride 32" in failure


def test_what_a_manifest_claims_is_judged_before_the_weights_are_there() -> None:
    """By what pipelines rely on, not by the size of the input."""
    assert contract.changes(GateTerms(ACTIVE), replace(ACTIVE, imgsz=(320, 320))) == []
    (failure,) = contract.changes(GateTerms(ACTIVE), replace(ACTIVE, names=("dent", "scratch", "label")))
    assert "another order" in failure


def test_the_form_that_serves_must_be_of_the_same_classes() -> None:
    """A ready file is not the weights that the manifest speaks of; its input may be another."""
    form = ModelMetadata(replace(ACTIVE, imgsz=(384, 640)), "onnx", "v8")
    assert contract.check_form(ACTIVE, form) == []
    (failure,) = contract.check_form(
        ACTIVE, replace(form, contract=replace(ACTIVE, names=("scratch", "dent")))
    )
    assert "its onnx form" in failure


def test_it_tells_what_it_compared() -> None:
    """In figures, and what they were held against; nothing where anything goes."""
    metadata = ModelMetadata(ACTIVE, "onnx", "v8")
    found = contract.check(version(ACTIVE), metadata, GateTerms(replace(ACTIVE, names=("other",))))
    assert found.figures == {"task": "detect", "classes": 3, "input": "640×640", "stride": 32}
    assert (found.passed, found.limits) == (False, {"task": "detect", "classes": 1})
    assert contract.check(version(ACTIVE), metadata, GateTerms()).limits == {}
