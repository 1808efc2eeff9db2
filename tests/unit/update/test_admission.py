# SPDX-License-Identifier: AGPL-3.0-or-later
"""When the work on a version may begin: its moment, its turn, and what is said of that."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from edgeagent.core.directive import Directive
from edgeagent.core.events import Event, PrepareCandidate, StageReached
from edgeagent.core.state import Goal, PrepareMode
from edgeagent.core.update_queue import Precedence
from edgeagent.store.cache import Cache
from edgeagent.store.fetch import fetch_version
from edgeagent.store.remote import RemoteStore
from edgeagent.update import admission
from edgeagent.update.admission import Admission
from edgeagent.update.trial_runner import PrepareSettings
from edgeagent.update.update_queue import UpdateQueue
from tests.support.on_loop import on_loop
from tests.support.published import publish_bytes

ROLLOUT = "/models/yolo/rollout@r1"


class Desk:
    """Admissions to one queue, and what they report."""

    def __init__(self, cache: Path, spread_s: float = 0.0, most: int = 1) -> None:
        self.queue = UpdateQueue(most)
        self.settings = cast("PrepareSettings", SimpleNamespace(cache=cache, fetch_spread_s=spread_s))
        self.said: list[tuple[int, str]] = []
        self.came: list[int] = []

    def admit(
        self,
        id: int,
        model: str = "yolo",
        intent_id: str = "key@1",
        mode: PrepareMode = PrepareMode.UPDATE,
        precedence: Precedence = Precedence.UPDATE,
    ) -> Admission:
        """Of a version v1 of this model."""
        command = PrepareCandidate(id, Goal(Directive("v1", intent_id)), mode)
        return Admission(model, command, self.settings, self.queue, lambda: precedence, self._heard)

    async def begin(self, one: Admission, id: int) -> asyncio.Task[None]:
        """Let it come, and do nothing else for now."""

        async def come() -> None:
            await one.come()
            self.came.append(id)

        task = asyncio.create_task(come())
        await settle()
        return task

    def _heard(self, event: Event) -> None:
        assert isinstance(event, StageReached)
        self.said.append((event.id, event.stage.value))


async def settle() -> None:
    """Let all that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


@on_loop
async def test_one_update_at_a_time(tmp_path: Path) -> None:
    """The next begins when the one before is over, in the order of arrival; what waits is ASPIRED and says so."""
    desk = Desk(tmp_path)
    works = {n: desk.admit(n, f"m{n}") for n in (1, 2, 3)}
    for n, work in works.items():
        await desk.begin(work, n)
    assert (desk.came, desk.queue.waiting) == ([1], 2)
    assert works[1].waits == ""
    assert works[3].waits == "for its turn: m1 is being updated; place 2 of 2"
    assert desk.said == [(2, "ASPIRED"), (3, "ASPIRED")]
    works[1].end()
    works[1].end()  # once more changes nothing
    await settle()
    assert desk.came == [1, 2]
    assert desk.said[2:] == [(2, "FETCHING")]
    assert works[3].waits == "for its turn: m2 is being updated; place 1 of 1"
    works[2].end()
    await settle()
    assert (desk.came, desk.queue.waiting) == ([1, 2, 3], 0)


@on_loop
async def test_what_is_cancelled_while_it_waits_leaves_the_queue(tmp_path: Path) -> None:
    """Those after it come sooner."""
    desk = Desk(tmp_path)
    works = {n: desk.admit(n, f"m{n}") for n in (1, 2, 3)}
    tasks = {n: await desk.begin(work, n) for n, work in works.items()}
    tasks[2].cancel()
    works[2].end()
    works[1].end()
    await settle()
    assert desk.came == [1, 3]


@on_loop
async def test_a_start_and_a_rebuild_wait_for_nobody(tmp_path: Path) -> None:
    """A start is waited for, a rebuild isn't."""
    desk = Desk(tmp_path)
    start = desk.admit(2, "m2", mode=PrepareMode.BOOT, precedence=Precedence.AT_ONCE)
    rebuild = desk.admit(3, "m3", mode=PrepareMode.REBUILD, precedence=Precedence.BESIDE)
    for n, work in ((1, desk.admit(1, "m1")), (2, start), (3, rebuild), (4, last := desk.admit(4, "m4"))):
        await desk.begin(work, n)
    assert desk.came == [1, 2, 3]
    assert last.waits == "for its turn: m1 is being updated, m2 is being updated; place 1 of 1"


@on_loop
async def test_a_wave_does_not_fetch_in_the_same_instant(tmp_path: Path) -> None:
    """Meanwhile others may be updated; a plain intent, and what is known to be good, have no spread."""
    desk = Desk(tmp_path, spread_s=3600.0)
    waits = desk.admit(1, intent_id=ROLLOUT)
    task = await desk.begin(waits, 1)
    while not waits.waits:
        await asyncio.sleep(0)
    assert waits.waits.startswith("fetches in ")
    assert waits.waits.endswith(" s")
    assert desk.said == [(1, "ASPIRED")]
    await desk.begin(desk.admit(2, "m2"), 2)
    await desk.begin(
        desk.admit(3, intent_id=ROLLOUT, mode=PrepareMode.BOOT, precedence=Precedence.AT_ONCE), 3
    )
    assert desk.came == [2, 3]
    task.cancel()


@pytest.mark.parametrize("chance", [0.0, 1e-9])
def test_when_its_moment_has_come_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chance: float
) -> None:
    """To its turn."""
    monkeypatch.setattr(admission.random, "random", lambda: chance)

    async def scenario() -> None:
        desk = Desk(tmp_path, spread_s=60.0)
        one = desk.admit(1, intent_id=ROLLOUT)
        assert await one.come() is (chance > 0)
        assert one.waits == ""
        assert desk.said == ([(1, "ASPIRED"), (1, "FETCHING")] if chance else [])

    asyncio.run(scenario())


def test_what_is_in_the_cache_need_not_be_fetched(tmp_path: Path) -> None:
    """It was preloaded, or served here once."""
    store = tmp_path / "store"
    store.mkdir()
    publish_bytes(str(store), "v1", b"weights", tmp_path)
    cache = Cache(tmp_path / "cache")
    remote = RemoteStore(str(store), timeout_s=5, storage_options={})
    fetch_version(remote, cache, "yolo", "v1", lambda _: None)

    async def scenario() -> None:
        desk = Desk(cache.root, spread_s=3600.0)
        assert await desk.admit(1, intent_id=ROLLOUT).come() is False

    asyncio.run(scenario())
