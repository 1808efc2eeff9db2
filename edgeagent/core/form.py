# SPDX-License-Identifier: AGPL-3.0-or-later
"""In which form a version serves on a node, and in which it should."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FrameSizes:
    """(height, width) of the frames that the pipelines of a model have sent; `complete` when each has sent some."""

    seen: frozenset[tuple[int, int]] = frozenset()
    complete: bool = True
