# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one place where frames and models meet: the reference that the frame path reads, and its leases.

Readers take a counted reference; a swap replaces it, and whoever swapped waits for the old readers off the frame
path (the habit of TensorFlow Serving's FastReadDynamicPtr). All on the event loop's thread: no locks.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from edgeagent.core.contract import ClassMap, Names
from edgeagent.serving.engine_process import Engine


@dataclass(slots=True)
class Lease:
    """The right to use one engine for one frame, and what its result is to be marked with."""

    engine: Engine
    epoch: int
    classes: ClassMap
    _slot: Slot | None

    def release(self) -> None:
        """Give it back. Raises ValueError if that was done already: another frame's engine would go too early."""
        if self._slot is None:
            raise ValueError(f"this lease of {self.engine.ref.version} was given back already")
        slot, self._slot = self._slot, None
        slot.give_back(self.engine)


class Slot:
    """The engine that the next frame goes to; and which ids its classes have in the records."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.epoch = 0
        self.classes = ClassMap()
        self._leases: dict[Engine, int] = {}
        self._drained: dict[Engine, asyncio.Event] = {}

    def lease(self) -> Lease:
        """A lease of the engine that serves now. There must be one."""
        assert self.engine is not None
        self._leases[self.engine] = self._leases.get(self.engine, 0) + 1
        return Lease(self.engine, self.epoch, self.classes, self)

    def give_back(self, engine: Engine) -> None:
        """One lease less; see Lease.release."""
        self._leases[engine] -= 1
        if not self._leases[engine]:
            del self._leases[engine]
            if engine in self._drained:
                self._drained.pop(engine).set()

    def swap(self, engine: Engine, epoch: int, names: Names = ()) -> None:
        """From the next lease on, it is this engine. Nothing waits. names: of the classes by the ids that they are to
        have in the records, () for the version's own."""
        own = engine.artifact.contract.names
        self.engine, self.epoch = engine, epoch
        self.classes = ClassMap.onto(names, own) if names else ClassMap.of(own)

    def stop(self) -> None:
        """From now on nothing serves; what was leased is finished, and frames wait, or are left out."""
        self.engine = None

    async def drained(self, engine: Engine) -> None:
        """Return when the last lease of an engine that was swapped out is back."""
        assert engine is not self.engine
        if engine in self._leases:
            await self._drained.setdefault(engine, asyncio.Event()).wait()
