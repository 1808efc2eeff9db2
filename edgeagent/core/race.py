# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which of several ways to run a version is fastest, from timings that were taken in turns.

Those in the race are timed one after the other, over and over (A B C A B C …), so that whatever the machine does
meanwhile meets all of them alike; two are compared turn by turn. Who is surely slower than the leader is out, and the
race ends when only the leader is left, or its turns are used up. That is a racing algorithm (Maron and Moore,
"Hoeffding Races", 1994; Birattari et al., "A Racing Algorithm for Configuring Metaheuristics", 2002), with Student's t
on the logarithms of the quotients: there are few turns, and what disturbs a time multiplies it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt
from statistics import fmean, stdev

WORTH = 0.9
"""To how much of the time of another, nearer to the source, a way must come to be taken instead. What is nearer to the
source loads sooner."""
CALM = 0.1
"""The most share of its time for which a way may have waited for a processor in a turn that counts as calm."""
MAX_TURNS = 8
_LEAST_TURNS = 3
_FIRST_LOOK = (
    2.0  # by which factor a time of one or two turns on a calm machine may be off; on a busy one by any
)
_T_99 = (9.92, 5.84, 4.60, 4.03, 3.71, 3.50, 3.36)
"""Student's t, 99 % on both sides, from 3 turns on: a race looks up to eight times at a handful of ways, and is to be
right in nineteen of twenty."""


@dataclass(frozen=True)
class Turn:
    """One turn. ms: by name, the least time of some frames; waited: the most share of its time for which one of them
    waited for a processor."""

    ms: Mapping[str, float]
    waited: float = 0.0

    @property
    def is_calm(self) -> bool:
        """Whether the machine had a processor free for it."""
        return self.waited <= CALM


@dataclass(frozen=True)
class Standing:
    """How a race stands. leader: who is ahead; open: who may turn out to be the better choice all the same."""

    leader: str
    open: tuple[str, ...]


def standing(order: Sequence[str], turns: Sequence[Turn]) -> Standing:
    """order: who takes part, the nearest to the source first; at least one. Who has had no turn yet is open."""
    leader = order[0]
    for name in order[1:]:
        both = _both(name, leader, turns)
        if both and fmean(_quotients(name, leader, both)) < log(WORTH):
            leader = name
    at = order.index(leader)
    still = tuple(
        name
        for i, name in enumerate(order)
        if name != leader and _may_win(name, leader, turns, log(WORTH) * (1 if i > at else -1))
    )
    return Standing(leader, still)


def is_settled(order: Sequence[str], turns: Sequence[Turn]) -> bool:
    """Whether there is no use in more turns on a calm machine: the order is clear, or those that are left are about as
    fast as each other. Turns on a busy one settle nothing, and where there is no choice there is nothing to settle."""
    calm = [turn for turn in turns if turn.is_calm]
    if len(order) < 2:
        return True
    return bool(calm) and (len(calm) >= MAX_TURNS or not standing(order, calm).open)


def _both(name: str, leader: str, turns: Sequence[Turn]) -> list[Turn]:
    return [turn for turn in turns if {name, leader} <= turn.ms.keys()]


def _quotients(name: str, leader: str, turns: Sequence[Turn]) -> list[float]:
    """Logarithms of what `name` took over what `leader` took."""
    return [log(turn.ms[name] / turn.ms[leader]) for turn in turns]


def _may_win(name: str, leader: str, turns: Sequence[Turn], needed: float) -> bool:
    """Whether the true quotient of the two may lie below `needed` (a logarithm)."""
    both = _both(name, leader, turns)
    quotients = _quotients(name, leader, both)
    if len(both) < _LEAST_TURNS:
        is_calm = bool(both) and all(turn.is_calm for turn in both)
        return not is_calm or fmean(quotients) - log(_FIRST_LOOK) < needed
    t = _T_99[min(len(both) - _LEAST_TURNS, len(_T_99) - 1)]
    return fmean(quotients) - t * stdev(quotients) / sqrt(len(both)) < needed
