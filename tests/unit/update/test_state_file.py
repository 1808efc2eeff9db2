# SPDX-License-Identifier: AGPL-3.0-or-later
"""The state file: what is written is read; what can't be read stops no line, and isn't thrown away."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from edgeagent.core.state import State, from_json, to_json
from edgeagent.update.state_file import load_state, save_state
from tests.support.playbook import Playbook


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


@pytest.mark.parametrize(
    "data",
    [
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
    ],
)
def test_a_file_that_makes_no_sense_is_kept_beside(tmp_path: Path, data: bytes) -> None:
    """The node starts afresh, says so, and the next save doesn't destroy what an operator could still read."""
    (tmp_path / "yolo.json").write_bytes(data)
    with capture_logs() as logs:
        assert load_state(tmp_path, "yolo") == State("yolo")
    assert [log["log_level"] for log in logs] == ["error"]
    assert logs[0]["kept"] == str(tmp_path / "yolo.json.unusable")
    save_state(tmp_path, served())
    assert (tmp_path / "yolo.json.unusable").read_bytes() == data
    assert load_state(tmp_path, "yolo") == served()


def test_a_file_that_can_t_be_read_stays_where_it_is(tmp_path: Path) -> None:
    """The disk or its permissions are at fault, not the content."""
    (tmp_path / "yolo.json").mkdir()
    with capture_logs() as logs:
        assert load_state(tmp_path, "yolo") == State("yolo")
    assert [log["log_level"] for log in logs] == ["error"]
    assert (tmp_path / "yolo.json").is_dir()


def test_a_state_that_can_t_be_written_raises_and_leaves_the_old_one(tmp_path: Path) -> None:
    """The node shows it as a disk error."""
    save_state(tmp_path, served())
    with pytest.raises(OSError, match="No such file"):
        save_state(tmp_path / "absent", State("yolo"))
    assert load_state(tmp_path, "yolo") == served()
