# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which taps are listened to for sinks that want pictures."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeagent.serving.tap import Tap
from edgeagent.update import snapshots
from edgeagent.update.picture_writer import PictureWriter
from edgeagent.update.snapshots import Snapshots


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


def test_a_tap_is_listened_to_while_a_sink_wants_pictures() -> None:
    """And by nobody else; one that has no room just now is asked again, and nothing fails of it."""

    async def work() -> None:
        lines: dict[str, Any] = {}
        seen = Snapshots(lines, lambda: cast("PictureWriter", SimpleNamespace(close=asyncio.Event().wait)))
        tap = Tap(frames=1)
        seen.follow({"yolo": tap})
        other = tap.subscribe(lambda frame, record: None, fps=1.0, frames=1)
        lines["line-1"] = a_line("a sink")
        seen.follow({"yolo": tap})
        other.close()
        while room(tap):
            await asyncio.sleep(0)
        lines["line-1"] = a_line()
        seen.follow({"yolo": tap})
        assert room(tap)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots, "AGAIN_S", 0.0)
        asyncio.run(work())
