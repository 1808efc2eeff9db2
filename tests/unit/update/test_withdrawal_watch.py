# SPDX-License-Identifier: AGPL-3.0-or-later
"""A version that is withdrawn while it serves goes on, and it is said."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from edgeagent.config import Config, ModelStoreConfig
from edgeagent.core.state import VersionRef
from edgeagent.core.store_documents import Withdrawal
from edgeagent.store.remote import RemoteStore
from edgeagent.store.withdrawals import find_withdrawal, let_in, withdraw
from edgeagent.update import trial_runner, withdrawal_watch
from edgeagent.update.withdrawal_watch import WithdrawalWatch
from edgeagent.update.worker_task import TaskFailedError
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.tasks.prepare import StoreAccess, Withdrawn
from tests.support.published import publish_bytes


def serving(version: str | None) -> Any:
    """An updater on which this version serves."""
    ref = VersionRef(version, f"sha256:{version}") if version else None
    return SimpleNamespace(state=SimpleNamespace(active=ref))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteStore:
    """yolo/v1 is published; what a worker would find out is found out here."""
    publish_bytes(str(tmp_path), "v1", b"weights", tmp_path)
    remote = RemoteStore(str(tmp_path))

    async def find(versions: Sequence[tuple[str, str]], store: Any, limits: Any) -> Sequence[str] | None:
        assert store.url == str(tmp_path)
        found = [((w := find_withdrawal(remote, *version)) and w.reason) or "" for version in versions]
        return None if (tmp_path / "away").exists() else found

    monkeypatch.setattr(withdrawal_watch, "find_withdrawn", find)
    return remote


def test_what_serves_and_was_withdrawn_is_said_once(store: RemoteStore, tmp_path: Path) -> None:
    """In the log, and by `reason` until it is let in, or another version serves."""
    config = Config(model_store=ModelStoreConfig(url=str(tmp_path)))
    updaters = {"yolo": serving("v1"), "caps": serving(None)}
    watch = WithdrawalWatch(config, updaters)

    def look() -> tuple[str, list[str]]:
        with capture_logs() as logs:
            asyncio.run(watch.look())
        return watch.reason("yolo"), [log["event"] for log in logs]

    assert watch.reason("yolo") == ""
    assert look() == ("", [])
    withdraw(store, "yolo", "v1", Withdrawal("finds no dents", "eve", ""))
    assert look() == ("finds no dents", ["version.withdrawn"])
    assert look() == ("finds no dents", [])
    (tmp_path / "away").touch()
    assert look() == ("finds no dents", [])
    (tmp_path / "away").unlink()
    updaters["yolo"] = serving("v2")
    assert watch.reason("yolo") == ""
    updaters["yolo"] = serving("v1")
    let_in(store, "yolo", "v1")
    assert look() == ("", ["version.let_in"])
    assert watch.reason("caps") == ""


def test_where_nothing_serves_nobody_is_asked(store: RemoteStore, tmp_path: Path) -> None:
    """No worker is started for nothing."""
    watch = WithdrawalWatch(Config(model_store=ModelStoreConfig(url="/nowhere")), {"yolo": serving(None)})
    asyncio.run(watch.look())
    assert watch.reason("yolo") == ""


def test_it_looks_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After times that differ from node to node."""
    waits: list[float] = []
    looks: list[int] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise asyncio.CancelledError

    async def look() -> None:
        looks.append(len(waits))

    watch = WithdrawalWatch(Config(), {})
    monkeypatch.setattr(watch, "look", look)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch.run())
    assert looks == [1, 2]
    assert 60 <= waits[0] <= 600
    assert all(600 <= wait <= 1200 for wait in waits[1:])


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (Withdrawn(("", "finds no dents")), ("", "finds no dents")),
        (Withdrawn(("",)), None),
        (TaskFailedError("no answer", transient=True), None),
        (OSError(11, "no process"), None),
    ],
)
def test_what_a_worker_finds(monkeypatch: pytest.MonkeyPatch, answer: Any, found: Any) -> None:
    """Of each version that was asked for; None when that can't be told."""
    asked: list[Any] = []

    class PaperTask:
        """Stands for a worker."""

        def __init__(self, task: Any, limits: Any) -> None:
            asked.append(task.versions)

        async def run(self, expected: type) -> Any:
            assert expected is Withdrawn
            if isinstance(answer, Exception):
                raise answer
            return answer

    monkeypatch.setattr(trial_runner, "WorkerTask", PaperTask)
    versions = [("yolo", "v1"), ("caps", "v2")]
    store = StoreAccess("/store", {}, 5.0)
    assert asyncio.run(trial_runner.find_withdrawn(versions, store, WorkerLimits(1, 1, 1))) == found
    assert asked == [tuple(versions)]
