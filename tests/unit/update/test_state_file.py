# SPDX-License-Identifier: AGPL-3.0-or-later
"""The state file: what is written is read; what can't be read stops no line, and isn't thrown away."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from edgeagent.core.model import MAX_NUMBER
from edgeagent.core.state import State, from_json, to_json
from edgeagent.update.state_file import load_state, save_state
from tests.support.playbook import Playbook, ref


def served() -> State:
    """As a restart sees it."""
    return from_json("yolo", to_json(Playbook().serves("v1", "v2").state))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """Round trip, a file a model."""
    save_state(tmp_path, served())
    save_state(tmp_path, State("other"))
    assert load_state(tmp_path, "yolo") == served()
    assert load_state(tmp_path, "other") == State("other")


def test_a_first_start_says_nothing(tmp_path: Path) -> None:
    """There is no state yet, and no reason to warn of it."""
    with capture_logs() as logs:
        assert load_state(tmp_path, "yolo") == State("yolo")
    assert logs == []


DAMAGED = [
    b"",
    b"{",
    b"\xff\xff",
    b"\x00" * 4096,
    b"null",
    b"[]",
    b"[" * 100_000,
    b'{"schema": 1, "model": "yolo"}',
    b'{"schema": 99, "model": "yolo"}',
    b'{"schema": 1, "model": "other"}',
]


@pytest.mark.parametrize("data", DAMAGED)
def test_after_damage_the_state_before_is_taken(tmp_path: Path, data: bytes) -> None:
    """It is said, and the next save doesn't destroy what an operator could still read of the last."""
    save_state(tmp_path, served())
    save_state(tmp_path, State("yolo"))
    (tmp_path / "yolo.json").write_bytes(data)
    with capture_logs() as logs:
        loaded = load_state(tmp_path, "yolo")
    assert replace(loaded, epoch=0) == replace(served(), epoch=0)
    assert [log["event"] for log in logs] == ["state.unusable", "state.recovered"]
    assert logs[1]["kept"] == str(tmp_path / "yolo.json.unusable")
    save_state(tmp_path, loaded)
    assert (tmp_path / "yolo.json.unusable").read_bytes() == data
    assert load_state(tmp_path, "yolo") == loaded


@pytest.mark.parametrize("before", [None, *DAMAGED])
def test_without_a_state_before_it_is_what_the_cache_has(tmp_path: Path, before: bytes | None) -> None:
    """The versions that were stable here serve again, although nothing else is known of them."""
    (tmp_path / "yolo.json").write_bytes(b"{")
    if before is not None:
        (tmp_path / "yolo.json.before").write_bytes(before)
    loaded = load_state(tmp_path, "yolo", lambda: (ref("v1"), ref("v2")))
    assert loaded == State("yolo", epoch=loaded.epoch, stable_versions=(ref("v1"), ref("v2")))


def test_a_state_that_is_missing_but_was_there(tmp_path: Path) -> None:
    """Lost by the disk, or taken away by a start that was killed before it could save: not a first start."""
    save_state(tmp_path, served())
    save_state(tmp_path, served())
    (tmp_path / "yolo.json").unlink()
    assert load_state(tmp_path, "yolo").stable_versions == served().stable_versions


def test_no_number_that_may_have_been_given_is_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was saved last is lost, and with it how far the swaps were counted: they go on far above, and grow."""
    save_state(tmp_path, replace(served(), epoch=1_000_000))
    seen: list[int] = []
    for second in (0, 1):
        monkeypatch.setattr("time.time", lambda now=1_800_000_000 + second: now)
        (tmp_path / "yolo.json").write_bytes(b"{")
        seen.append(load_state(tmp_path, "yolo").next_epoch)
        save_state(tmp_path, replace(served(), epoch=seen[-1]))
    assert 1_000_000 < seen[0] < seen[1] < MAX_NUMBER


def test_a_file_that_can_t_be_read_stays_where_it_is(tmp_path: Path) -> None:
    """The disk or its permissions are at fault, not the content."""
    (tmp_path / "yolo.json").mkdir()
    with capture_logs() as logs:
        assert replace(load_state(tmp_path, "yolo"), epoch=0) == State("yolo")
    assert {log["log_level"] for log in logs} == {"error"}
    assert (tmp_path / "yolo.json").is_dir()


def test_a_copy_that_can_not_be_made_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state itself counts."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", refuse)
    save_state(tmp_path, State("yolo"))
    save_state(tmp_path, served())
    assert load_state(tmp_path, "yolo") == served()


def test_a_state_that_can_t_be_written_raises_and_leaves_the_old_one(tmp_path: Path) -> None:
    """The node shows it as a disk error."""
    save_state(tmp_path, served())
    with pytest.raises(OSError, match="No such file"):
        save_state(tmp_path / "absent", State("yolo"))
    assert load_state(tmp_path, "yolo") == served()
