# SPDX-License-Identifier: AGPL-3.0-or-later
"""Quantiles of what was measured."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of all lie below: one of them, nothing is interpolated. ordered: ascending, not
    empty."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
