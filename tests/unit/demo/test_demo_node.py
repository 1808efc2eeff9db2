# SPDX-License-Identifier: AGPL-3.0-or-later
"""The folder that the demo takes for its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.demo.demo_node import take_folder


def test_the_folder_is_made_empty_if_it_is_the_demos_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier run left goes; another's folder, and one in use, are left alone."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    mine = tmp_path / "demo-run"
    folder, lock = take_folder(mine)
    assert folder == mine
    (folder / "store").mkdir()
    (folder / "store" / "x").write_text("old")
    elsewhere, other_lock = take_folder(mine)
    assert elsewhere != mine
    assert (mine / "store" / "x").exists()
    other_lock.close()
    lock.close()
    folder, lock = take_folder(mine)
    assert folder == mine
    assert not (mine / "store").exists()
    lock.close()

    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    folder, lock = take_folder(foreign)
    assert folder != foreign
    assert (foreign / "thesis.txt").read_text() == "mine"
    lock.close()
