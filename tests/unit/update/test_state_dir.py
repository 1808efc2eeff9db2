# SPDX-License-Identifier: AGPL-3.0-or-later
"""The state folder: one node at a time has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.errors import ConflictError, UnavailableError
from edgeagent.update.state_dir import StateDir


def test_one_node_at_a_time(tmp_path: Path) -> None:
    """The second is told so, and can have it when the first is gone."""
    first, second = StateDir(tmp_path / "state"), StateDir(tmp_path / "state")
    first.open()
    assert first.models.is_dir()
    with pytest.raises(ConflictError, match="another node runs on it"):
        second.open()
    first.close()
    first.close()
    second.close()
    second.open()
    second.close()


def test_a_folder_that_can_not_be(tmp_path: Path) -> None:
    """A file is in the way."""
    (tmp_path / "state").write_text("")
    with pytest.raises(UnavailableError, match=r"state folder .*state"):
        StateDir(tmp_path / "state").open()
