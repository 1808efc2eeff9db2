# SPDX-License-Identifier: AGPL-3.0-or-later
"""The list of the lean install says what `pyproject.toml` says, but for what it is meant to leave out."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = {"matplotlib", "torch", "torchvision", "ultralytics"}


def name_of(requirement: str) -> str:
    """`torch` of `torch>=2.6`."""
    return requirement.partition(">")[0].partition("=")[0]


def test_the_lean_list_is_the_whole_one_without_the_heavy_packages() -> None:
    """A bound that is raised in one place is raised in the other."""
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    lean = [
        line for line in (ROOT / "requirements-lean.txt").read_text("utf-8").splitlines() if line[0] != "#"
    ]
    assert {name_of(requirement) for requirement in whole} >= LEFT_OUT
    assert lean == [requirement for requirement in whole if name_of(requirement) not in LEFT_OUT]
