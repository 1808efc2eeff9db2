# SPDX-License-Identifier: AGPL-3.0-or-later
"""Thresholds of the gates: those of the node, and those that a directive sets in their place."""

from __future__ import annotations

import re

import pytest

from edgeagent.config.verdict import GatesConfig
from edgeagent.errors import UsageError


def test_all_gates_with_thresholds_are_there() -> None:
    """By name, also where none is set."""
    assert set(GatesConfig().limits({})) == {"golden", "latency", "memory", "replay"}


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (
            {"gold": {"min_recall": 0.9}},
            "gates.gold of the intent: is no gate with thresholds; use one of golden",
        ),
        ({"golden": {"min_recal": 0.9}}, "gates.golden.min_recal of the intent"),
    ],
)
def test_a_threshold_that_there_is_none_of_is_an_error(asked: dict[str, dict[str, float]], why: str) -> None:
    """Never taken for one that is kept."""
    with pytest.raises(UsageError, match=re.escape(why)):
        GatesConfig().limits(asked)
