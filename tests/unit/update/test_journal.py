# SPDX-License-Identifier: AGPL-3.0-or-later
"""The journal: what the disk doesn't take is said, until it does."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from edgeagent.core.events import AppendAudit
from edgeagent.core.pairs import PairSummary
from edgeagent.core.state import State, VersionRef
from edgeagent.core.update_facts import UpdateFacts
from edgeagent.observe.bus import Bus
from edgeagent.store.cache import Cache
from edgeagent.update.journal import RETRY_S, Journal
from edgeagent.update.updater import Updater
from tests.support.cached import put
from tests.support.playbook import ref

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


def test_what_a_restart_begins_with_stays_in_the_cache(tmp_path: Path) -> None:
    """Also when the disk hasn't taken the newer state: the versions of the older one are what the next start loads."""
    models = tmp_path / "models"
    models.mkdir()
    updater = SimpleNamespace(state=State("yolo", stable_versions=(ref("v1"),)))
    journal = Journal(tmp_path, "/store", 3, {"yolo": cast("Updater", updater)}, Bus())
    journal.save(updater.state)
    asyncio.run(journal.saved("yolo"))
    models.rename(tmp_path / "away")
    updater.state = State("yolo", stable_versions=(ref("v2"), ref("v3")))
    journal.save(updater.state)
    with pytest.raises(OSError, match="No such file"):
        asyncio.run(journal.saved("yolo"))
    assert {version for _, version in journal._protected()} == {"v1", "v2", "v3"}
    journal.close()


def test_what_a_later_try_brought_to_disk_is_saved(tmp_path: Path) -> None:
    """Whoever asks then is not told of the first try, which failed."""
    journal = Journal(tmp_path, "/store", 3, {}, Bus())
    journal.save(State("yolo"))
    with pytest.raises(OSError, match="No such file"):
        asyncio.run(journal.saved("yolo"))
    (tmp_path / "models").mkdir()
    _wait(lambda: not journal.error)
    asyncio.run(journal.saved("yolo"))
    journal.close()


def test_a_disk_that_hangs_holds_up_the_start_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many models there are: all are waited for together."""
    (tmp_path / "models").mkdir()
    journal = Journal(tmp_path, "/store", 3, {}, Bus())
    waits = asyncio.Barrier(3)

    async def saved(_model: str) -> None:
        await waits.wait()
        raise TimeoutError

    monkeypatch.setattr(journal, "saved", saved)
    states = [State(model) for model in ("a", "b", "c")]
    asyncio.run(asyncio.wait_for(journal.reserve_epochs(states), 60))
    journal.close()


def test_the_cache_is_told_what_has_served_well(tmp_path: Path) -> None:
    """For a start on which the state turns out to be damaged."""
    (tmp_path / "models").mkdir()
    journal = Journal(tmp_path, "/store", 3, {}, Bus())
    cached = put(Cache(tmp_path / "cache"), "v1")
    good = VersionRef("v1", cached.manifest.digest)
    in_the_way = tmp_path / "cache" / "versions" / "yolo" / "known-good.json"
    in_the_way.mkdir()
    journal.save(State("yolo", stable_versions=(good,)))
    _wait(lambda: "directory" in journal.error)
    in_the_way.rmdir()
    journal.save(State("yolo", stable_versions=(good,)))  # what wasn't noted is noted with the next
    journal.close()
    assert journal.known_good("yolo") == (good,)


def test_the_end_does_not_wait_for_a_disk_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is lost then, and nothing else."""
    (tmp_path / "models").mkdir()
    goes_on = threading.Event()
    journal = Journal(tmp_path, "/store", 3, {}, Bus())
    monkeypatch.setattr(os, "fsync", lambda _: goes_on.wait(60))
    journal.record("yolo", SWAPPED)
    journal.save(State("yolo"))
    journal.close((), 0.0)
    with pytest.raises(TimeoutError):
        asyncio.run(journal.saved("yolo", 0.0))
    goes_on.set()


def test_what_killed_nodes_left_goes_at_the_start(tmp_path: Path) -> None:
    """Wherever a node writes by temp files."""
    left = [
        tmp_path / folder / ".some.json.99999999.abc.tmp"
        for folder in (".", "models", "cache/versions/yolo", "cache/prepared/key")
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    Journal(tmp_path, "/store", 3, {}, Bus()).close()
    assert [path for path in left if path.exists()] == []


def test_an_audit_record_that_waits_is_tried_again(tmp_path: Path) -> None:
    """Nothing further need happen for that; not at each look, since a full disk stays full for a while."""
    (tmp_path / "models").mkdir()
    journal = Journal(tmp_path, "/store", 3, {}, Bus())
    journal.retry(0.0)  # there is nothing to try
    log = tmp_path / "audit.jsonl"
    log.mkdir()  # no file can be written there
    journal.record("yolo", SWAPPED)
    _wait(lambda: "1 records wait" in journal.error)
    journal.retry(1000.0)
    log.rmdir()
    journal.retry(1000.0 + RETRY_S)
    journal.close()
    assert journal.error == ""
    assert len(log.read_bytes().splitlines()) == 1


def _wait(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_a_receipt_has_what_was_seen(tmp_path: Path) -> None:
    """What shadow and probation saw, by their names, and what the update cost, as JSON."""
    (tmp_path / "models").mkdir()
    journal = Journal(tmp_path, "/store", 3, {}, Bus())
    facts = UpdateFacts(2.0, 60, 0, {}, 40.0, 1, 2)
    journal.record("yolo", replace(SWAPPED, epoch=3, shadow=PairSummary(frames=7), facts=facts, moment="now"))
    journal.close()
    [line] = (tmp_path / "audit.jsonl").read_text().splitlines()
    doc = json.loads(line)
    assert (doc["watches"]["shadow"]["frames"], list(doc["watches"])) == (7, ["shadow"])
    assert (doc["facts"]["longest_gap_ms"], doc["epoch"], doc["moment"]) == (40.0, 3, "now")
    assert asyncio.run(journal.check())["audit.jsonl"].records == 1
