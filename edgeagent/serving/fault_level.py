# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether the frames of a pipeline keep failing, or one did by chance."""

from __future__ import annotations

from edgeagent.serving.engine_process import Engine

FULL = 3.0
"""So many frames that fail in a row fill the level."""
RELIEF = 0.5
"""By so much a frame with a result lowers it: it fills, sooner or later, when more than a third of all frames fail."""


class FaultLevel:
    """The level of one pipeline. Another engine begins anew."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._level = 0.0

    def passed(self, engine: Engine) -> None:
        """A frame has a result."""
        self._look_at(engine)
        self._level = max(0.0, self._level - RELIEF)

    def failed(self, engine: Engine) -> bool:
        """A frame can't be inferred. Whether the level is full with that; then it is empty again."""
        self._look_at(engine)
        self._level += 1.0
        if self._level < FULL:
            return False
        self._level = 0.0
        return True

    def _look_at(self, engine: Engine) -> None:
        if engine is not self._engine:
            self._engine, self._level = engine, 0.0
