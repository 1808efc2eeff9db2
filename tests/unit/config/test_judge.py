# SPDX-License-Identifier: AGPL-3.0-or-later
"""`update.judge`: each threshold stands once, and reaches whoever decides."""

from __future__ import annotations

import pytest

from edgeagent.config import ConfigError, parse_config
from edgeagent.config.judge import JudgeConfig
from edgeagent.core.health import HealthLimits
from edgeagent.core.pair_pace import PaceLimits
from edgeagent.core.pairs import PairLimits
from edgeagent.core.past import PastLimits


def test_every_limit_has_its_field_and_its_default() -> None:
    """None is missing, and none says something else."""
    judge = JudgeConfig()
    assert judge.pairs.limits() == PairLimits()
    assert judge.pace.limits() == PaceLimits()
    assert judge.health.limits() == HealthLimits()
    assert judge.past.limits() == PastLimits()


def test_a_threshold_is_taken() -> None:
    """As it was written."""
    config = parse_config({"update": {"judge": {"pairs": {"alpha": 0.01}, "health": {"growth_mb": 500}}}})
    assert config.update.judge.pairs.limits() == PairLimits(alpha=0.01)
    assert config.update.judge.health.limits().growth_mb == 500


@pytest.mark.parametrize("alpha", [0, 1, -1, "nan"])
def test_a_threshold_out_of_range_is_a_mistake(alpha: object) -> None:
    """A test at level 0 never says anything, one at level 1 always."""
    with pytest.raises(ConfigError, match="alpha"):
        parse_config({"update": {"judge": {"pairs": {"alpha": alpha}}}})
