# SPDX-License-Identifier: AGPL-3.0-or-later
"""The engines of one model on a node: of what serves and what stays warm, of what comes and what goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edgeagent.core.contract import Names
from edgeagent.core.state import VersionRef
from edgeagent.serving.artifact import Artifact
from edgeagent.serving.engine_process import Engine
from edgeagent.serving.slot import Slot


class EngineSet:
    """Every engine that has a worker, and the slot that one of them is in.

    An engine comes from when it is made, while it loads; once it is `offered` it can be taken into the slot, at once or
    out of the shadow; then it is held under its version until it is given up, and drains.
    """

    def __init__(
        self, slot: Slot, engine_of: Callable[[Artifact], Engine], beside_others: bool = False
    ) -> None:
        """engine_of: makes the engine of a prepared version, not loaded. beside_others: other lines of the node are
        served, and go before this one's first version."""
        self._slot = slot
        self.beside_others = beside_others
        self._engine_of = engine_of
        self._coming: set[Engine] = set()
        self._offered: dict[VersionRef, Engine] = {}
        self._shadows: dict[
            Engine, asyncio.Event
        ] = {}  # offered, and to be waited for; set when they are taken
        self._held: dict[VersionRef, Engine] = {}  # active and standby
        self._draining: set[Engine] = set()
        self._ended = asyncio.Event()  # one that drained has ended

    @property
    def all(self) -> list[Engine]:
        """Serving, standby, loading, draining."""
        return [*self._held.values(), *self._coming, *self._draining]

    @property
    def serving(self) -> Engine | None:
        """The engine in the slot; None: a line waits."""
        return self._slot.engine

    @property
    def is_urgent(self) -> bool:
        """Whether a line waits, and nobody's frames are to go before its first one."""
        return self._slot.engine is None and not self.beside_others

    @property
    def backend(self) -> str:
        """Of the version that serves: the next one's is likely the same. "" when nothing does."""
        return self._slot.engine.artifact.plan.variant.backend if self._slot.engine else ""

    @property
    def names(self) -> Names:
        """Of the classes in the records."""
        return self._slot.classes.names

    def held(self, ref: VersionRef) -> Engine | None:
        """The engine of a version that serves or stays warm."""
        return self._held.get(ref)

    def make(self, artifact: Artifact) -> Engine:
        """An engine of this version, which is going to load."""
        engine = self._engine_of(artifact)
        self._coming.add(engine)
        return engine

    def offer(self, engine: Engine) -> None:
        """It has loaded, and can be taken by `swap` or `replace`."""
        self._offered[engine.ref] = engine

    def shadow(self, ref: VersionRef) -> Engine:
        """The engine that was offered for this version: it isn't taken yet, and stays until it is."""
        engine = self._offered[ref]
        self._shadows.setdefault(engine, asyncio.Event())
        return engine

    def is_shadow(self, engine: Engine) -> bool:
        """Whether it is loaded beside what serves, and waits to be taken."""
        return engine in self._shadows

    async def out_of_shadow(self, engine: Engine) -> None:
        """Return when an engine that waits in the shadow was taken; at once for any other."""
        if engine in self._shadows:
            await self._shadows[engine].wait()

    async def end_unless_taken(self, engine: Engine) -> None:
        """End an engine that came in vain; nothing happens to one that was taken."""
        if engine not in self._coming:
            return
        if self._offered.get(engine.ref) is engine:
            del self._offered[engine.ref]
        self._shadows.pop(engine, None)
        # Counted until its worker is gone.
        try:
            await asyncio.shield(engine.retire())
        finally:
            self._coming.discard(engine)

    def swap(self, ref: VersionRef, epoch: int, names: Names = ()) -> None:
        """From the next frame on the engine of this version serves: one that was offered, or the standby. names: of the
        classes in the records, see `Slot.swap`."""
        if ref in self._offered:
            self._held[ref] = self._take(ref)
        self._slot.swap(self._held[ref], epoch, names)

    def replace(self, ref: VersionRef) -> Engine:
        """From the next frame on the engine that was offered for this version serves it. The one before, to drain."""
        before = self._held[ref]
        self._held[ref] = self._take(ref)
        self._slot.swap(self._held[ref], self._slot.epoch, self._slot.classes.names)
        self._draining.add(before)
        return before

    def give_up(self, ref: VersionRef) -> Engine:
        """This version is not needed any more. Its engine, to drain."""
        engine = self._held.pop(ref)
        self._draining.add(engine)
        return engine

    @property
    def held_engines(self) -> list[Engine]:
        """Of what serves, and of what stays warm."""
        return [*self._held.values()]

    def stop(self, ref: VersionRef) -> Engine:
        """What serves, this version, serves no more, and nothing does. Its engine, to drain."""
        self._slot.stop()
        return self.give_up(ref)

    async def gone(self) -> None:
        """Return when no engine drains any more: the memory of all that were given up is free."""
        while self._draining:
            self._ended.clear()
            await self._ended.wait()

    async def drain(self, engine: Engine) -> None:
        """Return when an engine that was given up has finished its frames and its worker is gone."""
        await self._slot.drained(engine)
        await engine.retire()
        self._draining.discard(engine)
        self._ended.set()

    def _take(self, ref: VersionRef) -> Engine:
        engine = self._offered.pop(ref)
        self._coming.discard(engine)
        if engine in self._shadows:
            self._shadows.pop(engine).set()
        return engine
