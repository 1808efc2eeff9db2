# SPDX-License-Identifier: AGPL-3.0-or-later
"""How often a second version may look at the frames of a line: as often as the line doesn't feel it.

Times of served frames are kept in two heaps: of frames that were in work while the second version was, and of those
that had the machine to themselves. As long as the slow ones of the former are about as fast as those of the latter, the
pace rises; when they are slower, it falls at once (additive increase, multiplicative decrease, as in TCP), until so few
served frames meet the second version that the slowest hundredth doesn't show it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from edgeagent.core.quantiles import quantile


@dataclass(frozen=True)
class PaceLimits:
    """Pairs a second of all pipelines on a model: the least, the most, and with how many it begins. slower: how many
    times as long the served frames may take, at the quantile that is compared."""

    least_fps: float = 0.5
    most_fps: float = 8.0
    first_fps: float = 4.0
    slower: float = 1.1


_QUANTILE = 0.95
_LEAST, _BESIDE, _ALONE = 20, 60, 200
"""Frames of each heap that are needed, and that are kept, at most."""
_EVERY, _RECENT = 30, 300
"""Served frames between two looks, and of how many the share is taken that the second version overlapped."""
_FEW = 0.01
"""As few slower frames as this share don't reach the 99th percentile."""
_RISE_FPS, _FALL = 0.5, 0.5


class PairPace:
    """Says when the next pair may be; is told of each served frame."""

    def __init__(self, limits: PaceLimits) -> None:
        self.fps = min(limits.first_fps, limits.most_fps)
        self._limits = limits
        self._alone: deque[float] = deque(maxlen=_ALONE)
        self._beside: deque[float] = deque(maxlen=_BESIDE)
        self._recent: deque[bool] = deque(maxlen=_RECENT)
        self._served = 0

    @property
    def interval_s(self) -> float:
        """Between the beginnings of two pairs, seconds."""
        return 1 / self.fps

    @property
    def slower(self) -> float:
        """How many times as long served frames take beside the second version; 0: too few were seen to say."""
        if min(len(self._alone), len(self._beside)) < _LEAST:
            return 0.0
        return _quantile(self._beside) / max(_quantile(self._alone), 1e-9)

    def served(self, latency_ms: float, overlapped: bool) -> None:
        """A frame was served. overlapped: the second version was at work while this one was."""
        (self._beside if overlapped else self._alone).append(latency_ms)
        self._recent.append(overlapped)
        self._served += 1
        if self._served % _EVERY == 0 and len(self._recent) >= 2 * _EVERY:
            self._look(sum(self._recent) / len(self._recent))

    def _look(self, share: float) -> None:
        slower = self.slower
        if slower > self._limits.slower and share > _FEW:
            self.fps = max(self._limits.least_fps, self.fps * _FALL)
            self._recent.clear()  # what was measured at the pace before says nothing of this one
        elif 0 < slower <= self._limits.slower or share <= _FEW / 2:
            self.fps = min(self._limits.most_fps, self.fps + _RISE_FPS)


def _quantile(times: deque[float]) -> float:
    return quantile(sorted(times), _QUANTILE)
