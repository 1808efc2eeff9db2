# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which taps are listened to for sinks that want pictures, and who looks after their folders."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeagent.core.pictures import PictureQuota
from edgeagent.serving.tap import Tap
from edgeagent.update import snapshots
from edgeagent.update.picture_writer import PictureWriter
from edgeagent.update.snapshots import Snapshots
from edgeagent.workers.tasks.pictures import ArchiveAccess

FOLDER = ArchiveAccess(Path("/pictures"), PictureQuota(1 << 20, 60.0, 100, 0))
SINK = SimpleNamespace(folder=lambda: (FOLDER.root, FOLDER.quota))


def a_line(*sinks: object) -> Any:
    """A pipeline of yolo with sinks that want pictures."""
    return SimpleNamespace(config=SimpleNamespace(model="yolo"), sinks=SimpleNamespace(picturing=sinks))


def room(tap: Tap) -> bool:
    """Whether somebody else may look on."""
    try:
        tap.subscribe(lambda frame, record: None, fps=1.0, frames=1).close()
    except ValueError:
        return False
    return True


class Writer:
    """Does nothing, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.swept: list[tuple[ArchiveAccess, ...]] = []

    def sweep(self, archives: tuple[ArchiveAccess, ...]) -> None:
        self.swept.append(archives)

    async def close(self) -> None:
        pass


def test_a_tap_is_listened_to_while_a_sink_wants_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """And by nobody else; one that has no room just now is asked again, and nothing fails of it."""
    monkeypatch.setattr(snapshots, "AGAIN_S", 0.0)

    async def work() -> None:
        lines: dict[str, Any] = {}
        seen = Snapshots(lines, lambda: cast("PictureWriter", Writer()))
        tap = Tap(frames=1)
        seen.follow({"yolo": tap})
        other = tap.subscribe(lambda frame, record: None, fps=1.0, frames=1)
        lines["line-1"] = a_line(SINK)
        seen.follow({"yolo": tap})
        other.close()
        while room(tap):
            await asyncio.sleep(0)
        lines["line-1"] = a_line()
        seen.follow({"yolo": tap})
        assert room(tap)
        await seen.close()

    asyncio.run(work())


def test_folders_are_looked_after_while_no_picture_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Again and again, as long as there is a sink that has one."""
    monkeypatch.setattr(snapshots, "SWEEP_S", 0.0)

    async def work() -> None:
        lines, writer = {"line-1": a_line()}, Writer()
        seen = Snapshots(lines, lambda: cast("PictureWriter", writer))
        seen.follow({"yolo": Tap()})
        assert seen._sweep is None  # nobody has pictures: nothing is started
        lines["line-1"] = a_line(SINK)
        seen.follow({"yolo": Tap()})
        while len(writer.swept) < 2:
            await asyncio.sleep(0)
        assert set(writer.swept) == {(FOLDER,)}
        await seen.close()

    asyncio.run(work())
