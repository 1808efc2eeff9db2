# SPDX-License-Identifier: AGPL-3.0-or-later
"""Lists of versions: who reads the store how often, and what is said when it is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from edgeagent.core.releases import MAX_ITEMS, ReleaseRow
from edgeagent.core.store_documents import Withdrawal
from edgeagent.errors import NotFoundError
from edgeagent.update import version_list
from edgeagent.update.version_list import KEPT_S, MAX_WAITING, VersionList, VersionLists
from edgeagent.update.worker_task import TaskFailedError
from edgeagent.workers.messages import MAX_MESSAGE_BYTES, decode, encode
from edgeagent.workers.tasks.prepare import VersionFound


def a_row(version: str = "v1", **others: Any) -> ReleaseRow:
    """A version of which nothing else is known."""
    fields: dict[str, Any] = dict.fromkeys(
        ("created", "digest", "sequence", "metrics", "note", "withdrawn", "error")
    )
    return ReleaseRow(**{"version": version, "tags": (), **fields, **others})


class Store:
    """Reads as the test says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        self.at_once = self.most_at_once = 0
        self.lists = VersionLists({"yolo": 1, "caps": 1}, self.read, lambda: self.now)

    async def read(self, model: str) -> VersionList:
        self.asked.append(model)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.answers.wait()
        finally:
            self.at_once -= 1
        if self.error:
            raise self.error
        return VersionList((a_row(f"v{len(self.asked)}"),), at=1.0)


def run(work: Callable[[Store], Awaitable[Any]]) -> Any:
    """The result of `work`."""

    async def within() -> Any:
        async with asyncio.timeout(20):
            return await work(Store())

    return asyncio.run(within())


def test_it_is_read_once_for_all_who_ask() -> None:
    """And again only when somebody asks later; one worker at a time."""

    async def work(store: Store) -> None:
        found = await asyncio.gather(*(store.lists.versions(m) for m in ["yolo"] * 3 + ["caps"] * 3))
        assert sorted(store.asked) == ["caps", "yolo"]
        assert store.most_at_once == 1
        assert found[0] is found[2]
        store.now += KEPT_S - 1
        await store.lists.versions("yolo")
        assert len(store.asked) == 2
        store.now += 1
        assert (await store.lists.versions("yolo")).versions[0].version == "v3"

    run(work)


def test_a_store_that_is_away() -> None:
    """What was found before is shown, beside the reason; it isn't asked again at once."""

    async def work(store: Store) -> None:
        await store.lists.versions("yolo")
        store.now += KEPT_S
        for error, why in (
            (TaskFailedError("no route to host"), "no route to host"),
            (OSError("too many open files"), "no worker can be started (too many open files)"),
            (RuntimeError("boom"), "internal error"),
        ):
            store.error = error
            for _ in range(2):
                found = await store.lists.versions("yolo")
                assert found.versions[0].version == "v1"
                assert found.error
                assert found.error.why == why
            store.now += KEPT_S
        assert len(store.asked) == 4
        store.error = None
        assert (await store.lists.versions("yolo")).error is None

    run(work)


def test_a_store_that_hangs_keeps_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks is told so; the API's places stay free, and the node can stop."""
    monkeypatch.setattr(version_list, "WAIT_S", 0.01)

    async def work(store: Store) -> None:
        store.answers.clear()
        found = await asyncio.gather(*(store.lists.versions("yolo") for _ in range(3 * MAX_WAITING)))
        assert {f.error and f.error.why for f in found} == {
            "the store is being read, which takes longer than usual"
        }
        assert store.asked == ["yolo"]
        await store.lists.close()
        assert store.at_once == 0

    run(work)


def test_another_model() -> None:
    """No question to the store: its name would be a path there."""

    async def work(store: Store) -> None:
        with pytest.raises(NotFoundError, match="use one of yolo, caps"):
            await store.lists.versions("../etc")
        assert store.asked == []

    run(work)


def test_however_much_a_version_says_it_fits_a_message() -> None:
    """A manifest may have a megabyte."""
    long = "\U0001f600" * 300_000
    row = a_row(
        created=long,
        tags=tuple(f"tag-{n}" for n in range(10_000)),
        metrics={f"{n}{long[:1000]}": 1.0 for n in range(1000)},
        note=long,
        withdrawn=Withdrawal(long, long, long),
        error=long,
    ).shortened()
    data = encode(VersionFound(row))
    assert len(data) < MAX_MESSAGE_BYTES
    found: Any = decode(data)
    assert (found.row.version, len(found.row.tags), len(found.row.metrics)) == ("v1", MAX_ITEMS, MAX_ITEMS)
    assert decode(encode(VersionFound(a_row()))) == VersionFound(a_row())
