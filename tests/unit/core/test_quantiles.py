# SPDX-License-Identifier: AGPL-3.0-or-later
"""Quantiles are values that were seen."""

from __future__ import annotations

import pytest

from edgeagent.core.quantiles import quantile


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 3.0), (0.95, 4.0), (1.0, 4.0)])
def test_a_quantile_is_one_of_the_values(share: float, value: float) -> None:
    """Also at the ends."""
    assert quantile([1.0, 2.0, 3.0, 4.0], share) == value
