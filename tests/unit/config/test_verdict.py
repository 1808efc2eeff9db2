# SPDX-License-Identifier: AGPL-3.0-or-later
"""Thresholds of the gates: those of the node, and those that a directive sets in their place."""

from __future__ import annotations

import re

import pytest

from edgeagent.config import Config
from edgeagent.config.policy import policy_of
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


def test_what_pairs_say_acts_unless_it_is_only_to_be_reported() -> None:
    """Each watch by itself."""
    node = {"node": {"id": "a"}}
    cases: list[tuple[dict[str, object], set[str]]] = [
        ({}, set()),
        ({"probation": {"on_breach": "report"}}, {"probation"}),
        ({"shadow": {"on_breach": "report"}, "probation": {"on_breach": "rollback"}}, {"shadow"}),
    ]
    for update, reports in cases:
        assert policy_of(Config.model_validate({**node, "update": update})).pairs.reports == reports
