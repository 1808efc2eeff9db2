# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose version may be prepared now, over all models of a node: so many updates at a time, then those that wait."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from edgeagent.core.state import PrepareMode, State


class Precedence(IntEnum):
    """What a preparation is worth beside others."""

    BESIDE = 0  # a rebuild of what serves: neither waits nor counts, so that no update waits for it
    AT_ONCE = 1  # a line waits for it, or goes back to what has served well: never waits, and counts
    UPDATE = 2  # first come, first served
    PRELOAD = 3  # only where no update needs the place; gives it up as soon as one does


@dataclass(frozen=True)
class QueueEntry:
    """A version that is prepared, or waits for that. number: in the order of arrival."""

    number: int
    model: str
    precedence: Precedence
    begun: bool = False


def precedence_of(mode: PrepareMode, version: str, state: State) -> Precedence:
    """Of a version that is to be prepared for the model of `state`."""
    if mode in _ASIDE:
        return _ASIDE[mode]
    goes_back = any(ref.version == version for ref in state.stable_versions)
    line_waits = state.active is None
    return Precedence.AT_ONCE if mode is PrepareMode.BOOT or line_waits or goes_back else Precedence.UPDATE


_ASIDE = {PrepareMode.REBUILD: Precedence.BESIDE, PrepareMode.PRELOAD: Precedence.PRELOAD}


def under_way(entries: Sequence[QueueEntry], most: int) -> frozenset[int]:
    """The numbers of those that are to be under way now. most: so many that count, at a time.

    An update that has begun goes on. A preload gives way to each update that is there, also to one of its own model.
    """
    may = {e.number for e in entries if e.precedence <= Precedence.AT_ONCE or (_is_update(e) and e.begun)}
    updates = [e for e in entries if e.precedence in (Precedence.AT_ONCE, Precedence.UPDATE)]
    free = most - sum(e.number in may for e in updates)
    line = waiting(e for e in updates if e.number not in may)
    may |= {e.number for e in line[: max(free, 0)]}
    busy = {e.model for e in updates}
    preloads = [e for e in entries if e.precedence is Precedence.PRELOAD and e.model not in busy]
    preloads.sort(key=lambda e: (not e.begun, e.number))
    return frozenset(may | {e.number for e in preloads[: max(most - len(updates), 0)]})


def waiting(entries: Iterable[QueueEntry]) -> list[QueueEntry]:
    """Those that haven't begun, the next one first."""
    return sorted((e for e in entries if not e.begun), key=lambda e: (e.precedence, e.number))


def waits_for(entries: Sequence[QueueEntry], entry: QueueEntry) -> str:
    """What an entry that hasn't begun waits for, and at which place among those that don't come after it."""
    does = {Precedence.PRELOAD: "preloaded"}
    others = [
        f"{e.model} is being {does.get(e.precedence, 'updated')}"
        for e in entries
        if e.begun and e.precedence is not Precedence.BESIDE
    ]
    line = [e for e in waiting(entries) if e.precedence <= entry.precedence]
    return f"for its turn: {', '.join(others)}; place {line.index(entry) + 1} of {len(line)}"


def _is_update(entry: QueueEntry) -> bool:
    return entry.precedence is Precedence.UPDATE
