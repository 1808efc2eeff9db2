# SPDX-License-Identifier: AGPL-3.0-or-later
"""The preparing worker's answers, without its process: who is to blame, and what passes by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from edgeagent.workers import prepare
from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.messages import Control


class PaperChannel:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[Control] = []

    def send(self, message: Control) -> None:
        """To the node."""
        self.said.append(message)


def answer(task: str, **settings: Any) -> Control:
    """What the worker says to a task at its end."""
    channel = PaperChannel()
    prepare.serve(cast("WorkerChannel", channel), Control("settings", {"task": task, **settings}))
    return channel.said[-1]


def test_a_version_that_vanished_from_the_cache_may_come_back(tmp_path: Path) -> None:
    """Somebody's `rm`, or a broken file that was cleared away: the next try fetches it."""
    said = answer("gates", cache=str(tmp_path), model="yolo", version="v1", digest="sha256:" + "0" * 64)
    assert (said.op, said.body["transient"]) == ("failed", True)
    assert "yolo/v1: is not in the cache any more" in said.body["why"]


def test_a_failing_disk_is_no_fault_of_the_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Wherever it is met."""

    def full(*_: object) -> dict[str, Any]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepare, "_benchmark", full)
    said = answer("measure")
    assert (said.op, said.body["transient"]) == ("failed", True)
    assert "No space left on device" in said.body["why"]


def test_weights_that_can_not_be_read_stay_so(tmp_path: Path) -> None:
    """Not to be tried again as they are."""
    (tmp_path / "w.onnx").write_bytes(b"these are no weights")
    said = answer("inspect", weights=str(tmp_path / "w.onnx"))
    assert (said.op, said.body["transient"]) == ("failed", False)


def test_the_reference_leaves_what_the_others_are_compared_with(tmp_path: Path) -> None:
    """Boxes go through a file: there may be more of them than a message holds."""
    settings = {"folder": str(tmp_path), "confidence": 0.25, "tolerance": {"iou": 0.9, "score": 0.02}}
    boxes = [[[1.0 * i, 1.0, 1.0 * i + 50, 50.0, 0.5, 0.0] for i in range(0, 30_000, 100)]]
    assert prepare._parity(settings, boxes, is_reference=True) is None
    found = prepare._parity(settings, boxes, is_reference=False)
    assert found is not None
    assert (found["objects"], found["missing"], found["extra"]) == (300, 0, 0)
    found = prepare._parity(settings, [boxes[0][:-1]], is_reference=False)
    assert found is not None
    assert found["missing"] == 1
