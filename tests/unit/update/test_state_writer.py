# SPDX-License-Identifier: AGPL-3.0-or-later
"""The states on disk: tried again until they hold; no number of a swap is given twice, whatever the disk does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as StillWaitingError
from dataclasses import replace
from pathlib import Path

import pytest

from edgeagent.core.state import State, ThisRun
from edgeagent.update import state_writer
from edgeagent.update.state_file import load_state
from edgeagent.update.state_writer import RESERVED_EPOCHS, StateWriter
from tests.support.playbook import ref

GOOD = State("yolo", epoch=3, stable_versions=(ref("v1"),))


def wait(condition: Callable[[], bool]) -> None:
    """Until it holds."""
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_what_the_disk_does_not_take_is_tried_again(tmp_path: Path) -> None:
    """Nobody has to save once more for that; who asked is told of the first try."""
    folder = tmp_path / "models"
    writer = StateWriter(folder)
    with pytest.raises(OSError, match="No such file"):
        writer.save(GOOD).result(30)
    assert "No such file" in writer.error
    folder.mkdir()
    wait(lambda: not writer.error)
    assert load_state(folder, "yolo").stable_versions == GOOD.stable_versions
    writer.close([], 30)


def test_who_asks_is_answered_when_it_is_on_disk(tmp_path: Path) -> None:
    """Not before."""
    writer = StateWriter(tmp_path)
    writer.save(GOOD).result(30)
    assert load_state(tmp_path, "yolo").stable_versions == GOOD.stable_versions
    assert writer.durable == {"yolo": GOOD}
    writer.close([], 30)


def test_a_disk_that_hangs_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not who saves, nor the end; what was saved meanwhile is written at once when it goes on, the newest only."""
    goes_on, written = threading.Event(), []

    def hang(_folder: Path, state: State, _reserve: int) -> None:
        goes_on.wait(30)
        written.append(state.epoch)

    monkeypatch.setattr(state_writer, "save_state", hang)
    writer = StateWriter(tmp_path)
    first = writer.save(GOOD)
    wait(lambda: not writer._unsaved)
    later = [writer.save(replace(GOOD, epoch=epoch)) for epoch in (4, 5, 6)]
    with pytest.raises(StillWaitingError):
        first.result(0)
    writer.close([], 0)
    goes_on.set()
    for answer in (first, *later):
        answer.result(30)
    assert written == [3, 6]


def test_numbers_are_reserved_ahead(tmp_path: Path) -> None:
    """What a killed node may have given without being able to save it, its successor doesn't give."""
    writer = StateWriter(tmp_path)
    writer.save(GOOD).result(30)
    given = []
    state = GOOD
    for _ in range(RESERVED_EPOCHS - 2):
        state = replace(state, run=ThisRun(epoch_floor=writer.epoch_floor(state)))
        state = replace(state, epoch=state.next_epoch)
        given.append(state.epoch)
    assert given == list(range(4, 4 + len(given)))  # without a gap
    assert load_state(tmp_path, "yolo").next_epoch > given[-1]
    writer.close([], 30)


def test_numbers_go_on_without_a_disk(tmp_path: Path) -> None:
    """They grow, and those of two runs have none in common: each swap would be one of another, otherwise."""
    runs: list[list[int]] = []
    for _ in range(2):
        writer = StateWriter(tmp_path / "absent")
        with pytest.raises(OSError, match="No such file"):
            writer.save(GOOD).result(30)
        state, given = GOOD, []
        for _ in range(3 * RESERVED_EPOCHS):
            state = replace(state, run=ThisRun(epoch_floor=writer.epoch_floor(state)))
            state = replace(state, epoch=state.next_epoch)
            given.append(state.epoch)
        assert given == sorted(set(given))
        runs.append(given)
        writer.close([], 30)
    assert not set(runs[0]) & set(runs[1])
    assert all(GOOD.epoch < epoch < 2**53 for run in runs for epoch in run)


def test_numbers_go_on_without_a_gap_after_an_end_in_order(tmp_path: Path) -> None:
    """None is reserved any more."""
    writer = StateWriter(tmp_path)
    writer.save(GOOD).result(30)
    writer.close([replace(GOOD, epoch=5)], 30)
    assert load_state(tmp_path, "yolo").next_epoch == 6


def test_the_end_does_not_wait_for_a_disk_that_refuses(tmp_path: Path) -> None:
    """It is tried once more, that is all."""
    writer = StateWriter(tmp_path / "absent")
    writer.save(GOOD)
    writer.close([GOOD], 30)
    assert not writer._thread.is_alive()
    assert writer.error
