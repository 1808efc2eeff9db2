# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the updates of a node wait for each other, over all its models."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace

from edgeagent.core.update_queue import Precedence, QueueEntry, under_way, waits_for


class UpdateQueue:
    """One for all updaters of a node. Everything happens on the event loop's thread; who is next says
    `core.update_queue`. most: updates that may be under way at a time."""

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._turns: list[Turn] = []
        self._numbers = itertools.count(1)

    def enter(self, model: str, precedence: Precedence, give_way: Callable[[], None]) -> Turn:
        """A place at the end; its turn may have come already. give_way: called once, soon, if it is to be given up
        again after it had begun."""
        turn = Turn(self, QueueEntry(next(self._numbers), model, precedence), give_way)
        self._turns.append(turn)
        self.look()
        return turn

    @property
    def waiting(self) -> int:
        """Updates that wait for their turn; preloads aren't counted, which wait as a rule."""
        entries = (turn.entry for turn in self._turns)
        return sum(not e.begun and e.precedence is not Precedence.PRELOAD for e in entries)

    def waits_for(self, entry: QueueEntry) -> str:
        """What an entry that hasn't begun waits for."""
        return waits_for([turn.entry for turn in self._turns], entry)

    def leave(self, turn: Turn) -> None:
        """Make way for the next. Idempotent."""
        if turn in self._turns:
            self._turns.remove(turn)
            self.look()

    def look(self) -> None:
        """Let those begin whose turn it is, and tell those whose turn it isn't any more."""
        may = under_way([turn.entry for turn in self._turns], self._most)
        for turn in self._turns:
            if turn.entry.number in may:
                turn.begin()
            elif turn.entry.begun:
                turn.give_way()


class Turn:
    """The place of one version in the queue; `entry` says how it stands."""

    def __init__(self, queue: UpdateQueue, entry: QueueEntry, give_way: Callable[[], None]) -> None:
        self.entry = entry
        self._queue = queue
        self._give_way: Callable[[], None] | None = give_way
        self._come = asyncio.Event()

    @property
    def waits(self) -> str:
        """What it waits for, "" when it has begun."""
        return "" if self.entry.begun else self._queue.waits_for(self.entry)

    async def come(self) -> None:
        """Return when it is its turn."""
        await self._come.wait()

    def end(self) -> None:
        """It needs its turn, or its place, no longer. Idempotent."""
        self._queue.leave(self)

    def begin(self) -> None:
        """To be called by the queue: its turn has come."""
        if not self._come.is_set():
            self.entry = replace(self.entry, begun=True)
            self._come.set()

    def give_way(self) -> None:
        """To be called by the queue: its turn is another's now. Whoever has it is told after that one has begun."""
        if self._give_way:
            asyncio.get_running_loop().call_soon(self._give_way)
            self._give_way = None
