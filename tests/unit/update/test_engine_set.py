# SPDX-License-Identifier: AGPL-3.0-or-later
"""The engines of one model: each is counted from its start to its end, and taken once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeagent.core.model import Contract
from edgeagent.core.state import VersionRef
from edgeagent.serving.engine_process import Engine
from edgeagent.serving.slot import Slot
from edgeagent.update.engine_set import EngineSet


class PaperEngine:
    """An engine without a worker."""

    def __init__(self, version: str) -> None:
        self.ref = VersionRef(version, f"sha256:{version}")
        self.artifact = SimpleNamespace(contract=Contract("detect", ("dent", "scratch"), (64, 64), 32))
        self.ended = False

    async def retire(self) -> None:
        """Stands for the end of the worker, which takes a moment."""
        await asyncio.sleep(0)
        self.ended = True


def engine(version: str) -> Any:
    """One of this version, which is its own artifact, too."""
    return PaperEngine(version)


def engine_of(artifact: Any) -> Engine:
    """The engine of an artifact."""
    return cast("Engine", artifact)


def ended(e: Engine) -> bool:
    """Whether its worker is gone."""
    return cast("Any", e).ended is True


@pytest.fixture
def engines() -> EngineSet:
    """With v1 in the slot."""
    made, first = EngineSet(Slot(), engine_of), engine("v1")
    made.make(first)
    made.offer(first)
    made.swap(first.ref, 1)
    return made


def test_an_engine_that_came_in_vain_is_ended(engines: EngineSet) -> None:
    """Before it was offered, or after; it is counted until its worker is gone."""

    async def scenario() -> None:
        for offered in (False, True):
            e = engine("v2")
            engines.make(e)
            if offered:
                engines.offer(e)
            assert e in engines.all
            await engines.end_unless_taken(e)
            assert ended(e)
            assert e not in engines.all
        with pytest.raises(KeyError):
            engines.swap(e.ref, 2)

    asyncio.run(scenario())


def test_an_engine_that_was_taken_stays(engines: EngineSet) -> None:
    """It serves, or stays warm."""

    async def scenario() -> None:
        e = engine("v2")
        engines.make(e)
        engines.offer(e)
        engines.swap(e.ref, 2)
        await engines.end_unless_taken(e)
        assert not ended(e)
        assert engines.held(e.ref) is e
        assert [x.ref.version for x in engines.all] == ["v1", "v2"]

    asyncio.run(scenario())


def test_a_rebuilt_engine_takes_the_place_of_the_one_before() -> None:
    """Of the same version, in the same epoch; the one before drains."""

    async def scenario() -> None:
        slot = Slot()
        engines, first, second = EngineSet(slot, engine_of), engine("v1"), engine("v1")
        for e in (first, second):
            engines.make(e)
            engines.offer(e)
            if e is first:
                engines.swap(e.ref, 7, ("scratch", "dent", "hole"))
        lease = slot.lease()
        before = engines.replace(second.ref)
        assert before is first
        assert (slot.engine, slot.epoch) == (second, 7)
        assert (slot.classes.names, slot.classes.ids) == (("scratch", "dent", "hole"), (1, 0))
        draining = asyncio.create_task(engines.drain(before))
        await asyncio.sleep(0)
        assert set(engines.all) == {first, second}
        lease.release()
        await draining
        assert ended(first)
        assert engines.all == [second]

    asyncio.run(scenario())
