# SPDX-License-Identifier: AGPL-3.0-or-later
"""The journal: what the disk doesn't take is said, until it does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from edgeagent.core.events import AppendAudit
from edgeagent.core.state import State
from edgeagent.observe.bus import Bus
from edgeagent.update.journal import Journal

SWAPPED = AppendAudit("update", "swapped", "anna", to_version="v1", digest="sha256:a")


def test_a_record_that_is_not_on_disk_is_an_error(tmp_path: Path) -> None:
    """It stays one when the state beside it could be written, and ends with the record that takes it along."""
    (tmp_path / "models").mkdir()
    journal = Journal(tmp_path, "/store", 3, {}, Bus())
    log = tmp_path / "audit.jsonl"
    log.mkdir()  # no file can be written there
    journal.record("yolo", SWAPPED)
    journal.save(State("yolo"))
    _wait(lambda: (tmp_path / "models" / "yolo.json").exists())
    assert "1 records wait for the disk" in journal.error
    log.rmdir()
    journal.record("yolo", SWAPPED)
    journal.close()
    assert journal.error == ""
    assert len(log.read_bytes().splitlines()) == 2


def _wait(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)
