# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gate `contract`: what pipelines rely on is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeagent.core.model import Contract, Manifest, WeightFile
from edgeagent.gates import contract
from edgeagent.runtimes.port import ModelMetadata

ACTIVE = Contract("detect", ("scratch", "dent", "label"), (640, 640), 32)


def manifest(of: Contract, file_format: str = "onnx") -> Manifest:
    file = WeightFile("w", "0" * 64, 1, file_format)
    return Manifest("yolo", "v2", 2, "2026-01-01T00:00:00Z", of, (file,))


def check(candidate: Contract, active: Contract | None = ACTIVE, allow_new: bool = False) -> list[str]:
    return contract.check(manifest(candidate), ModelMetadata(candidate, "onnx", "v8"), active, allow_new)


def test_the_same_contract_passes() -> None:
    """Nothing speaks against it."""
    assert check(ACTIVE) == []


def test_another_input_size_passes() -> None:
    """640 to 320 is a real update."""
    assert check(replace(ACTIVE, imgsz=(320, 320))) == []


def test_the_first_version_sets_the_contract() -> None:
    """Nothing serves that it could break."""
    assert check(replace(ACTIVE, names=("other",)), active=None) == []


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
    assert check(replace(ACTIVE, names=("other",)), allow_new=True) == []


def test_another_task_is_refused() -> None:
    """Against the active version, and because nothing here serves it."""
    failures = check(replace(ACTIVE, task="segment"), allow_new=True)
    assert failures == ["task is segment, this edgeagent serves detect"]
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
    (failure,) = contract.check(manifest(lie), ModelMetadata(ACTIVE, "onnx", "v8"), None, True)
    assert "the manifest" in failure
    assert "the weights" in failure


def test_another_format_than_the_manifest_says_is_refused() -> None:
    """The file is not what was published."""
    (failure,) = contract.check(manifest(ACTIVE, "pt"), ModelMetadata(ACTIVE, "onnx", "v8"), ACTIVE, False)
    assert "format pt" in failure


def test_an_input_that_is_no_multiple_of_the_stride_is_refused() -> None:
    """Its grids would not cover the picture."""
    (failure,) = check(replace(ACTIVE, imgsz=(650, 640)))
    assert "650×640 is no multiple of stride 32" in failure


def test_what_a_manifest_claims_is_judged_before_the_weights_are_there() -> None:
    """By what pipelines rely on, not by the size of the input."""
    assert contract.changes(ACTIVE, replace(ACTIVE, imgsz=(320, 320))) == []
    (failure,) = contract.changes(ACTIVE, replace(ACTIVE, names=("dent", "scratch", "label")))
    assert "another order" in failure


def test_the_form_that_serves_must_be_of_the_same_classes() -> None:
    """A ready file is not the weights that the manifest speaks of; its input may be another."""
    form = ModelMetadata(replace(ACTIVE, imgsz=(384, 640)), "onnx", "v8")
    assert contract.check_form(manifest(ACTIVE, "pt"), form) == []
    (failure,) = contract.check_form(
        manifest(ACTIVE, "pt"), replace(form, contract=replace(ACTIVE, names=("scratch", "dent")))
    )
    assert "its onnx form" in failure
