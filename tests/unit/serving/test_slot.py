# SPDX-License-Identifier: AGPL-3.0-or-later
"""The slot: one reference, counted leases, and an end to waiting that comes neither early nor never."""

from __future__ import annotations

import asyncio

import pytest

from edgeagent.serving.slot import Slot
from tests.support.routing import FakeEngine


def drained_by_now(slot: Slot, engine: FakeEngine) -> bool:
    """Whether waiting for the last lease would end at once."""

    async def wait() -> bool:
        waiting = asyncio.ensure_future(slot.drained(engine))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        done = waiting.done()
        waiting.cancel()
        return done

    return asyncio.run(wait())


def test_a_lease_is_of_the_engine_and_epoch_at_that_instant() -> None:
    """What is leased before a swap finishes on the old engine, under its epoch."""
    slot, old, new = Slot(), FakeEngine("v1"), FakeEngine("v2")
    slot.swap(old, 1)
    before = slot.lease()
    slot.swap(new, 2)
    after = slot.lease()
    assert (before.engine, before.epoch) == (old, 1)
    assert (after.engine, after.epoch) == (new, 2)


def test_a_lease_is_under_the_class_contract_of_that_instant() -> None:
    """A frame in flight at a swap is marked by what held when it was leased. Engines here have scratch and dent."""
    slot = Slot()
    slot.swap(FakeEngine("v1"), 1)
    own = slot.lease()
    slot.swap(FakeEngine("v2"), 2, ("dent", "label", "scratch"))
    mapped = slot.lease()
    assert own.classes.is_identity
    assert (mapped.classes.names, mapped.classes.ids) == (("dent", "label", "scratch"), (2, 0))


def test_there_must_be_an_engine() -> None:
    """Nobody may lease before the first swap."""
    with pytest.raises(AssertionError):
        Slot().lease()


def test_the_engine_that_serves_can_t_be_drained() -> None:
    """It would never end."""
    slot, engine = Slot(), FakeEngine("v1")
    slot.swap(engine, 1)
    with pytest.raises(AssertionError):
        asyncio.run(slot.drained(engine))


def test_an_engine_without_leases_is_drained_at_once() -> None:
    """Nothing to wait for."""
    slot, old = Slot(), FakeEngine("v1")
    slot.swap(old, 1)
    slot.lease().release()
    slot.swap(FakeEngine("v2"), 2)
    assert drained_by_now(slot, old)


def test_drained_with_the_last_lease_and_not_before() -> None:
    """In whatever order they come back; leases of the new engine don't count."""

    async def scenario() -> None:
        slot, old, new = Slot(), FakeEngine("v1"), FakeEngine("v2")
        slot.swap(old, 1)
        first, second = slot.lease(), slot.lease()
        slot.swap(new, 2)
        other = slot.lease()
        waiting = asyncio.ensure_future(slot.drained(old))
        await asyncio.sleep(0)
        second.release()
        other.release()
        await asyncio.sleep(0)
        assert not waiting.done()
        first.release()
        await asyncio.wait_for(waiting, 1)

    asyncio.run(scenario())


def test_two_may_wait_and_one_may_give_up() -> None:
    """A wait that is cancelled takes nothing from the other."""

    async def scenario() -> None:
        slot, old = Slot(), FakeEngine("v1")
        slot.swap(old, 1)
        lease = slot.lease()
        slot.swap(FakeEngine("v2"), 2)
        one, other = asyncio.ensure_future(slot.drained(old)), asyncio.ensure_future(slot.drained(old))
        await asyncio.sleep(0)
        one.cancel()
        await asyncio.sleep(0)
        lease.release()
        await asyncio.wait_for(other, 1)

    asyncio.run(scenario())


def test_a_lease_given_back_twice_is_a_fault() -> None:
    """It would let another frame's engine go too early; that other lease still counts."""
    slot, engine = Slot(), FakeEngine("v1")
    slot.swap(engine, 1)
    lease, _other = slot.lease(), slot.lease()
    lease.release()
    with pytest.raises(ValueError, match="v1 was given back already"):
        lease.release()
    slot.swap(FakeEngine("v2"), 2)
    assert not drained_by_now(slot, engine)
