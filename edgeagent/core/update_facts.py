# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an update cost the line that it was made under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class UpdateFacts:
    """Of all pipelines on the model, from the first work on a version to the record that this stands in.

    seconds: so long. frames: with a result. lost: captured, and without one; dropped: the same, by reason.
    longest_gap_ms: between two results of one pipeline, None before there were two. memory_before, memory_after:
    resident bytes of the model's engine workers, at the beginning and at the end.
    """

    seconds: float
    frames: int
    lost: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    longest_gap_ms: float | None = None
    memory_before: int = 0
    memory_after: int = 0
