# SPDX-License-Identifier: AGPL-3.0-or-later
"""Presence and reports become the fleet of each model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from edgeagent.core.fleet_report import Phase, Report, encode_report, report_key
from edgeagent.core.rollout_view import Fleet, Member
from edgeagent.errors import UnavailableError
from edgeagent.fleet.members import MemberReader
from edgeagent.fleet.presence import presence_key
from edgeagent.intent.port import Entry
from tests.support.memory_store import MemoryStore

STABLE = Report(version="v1", state="STABLE", labels={"line": "a"})


@pytest.fixture
def store() -> MemoryStore:
    """Empty."""
    return MemoryStore()


def reader(store: MemoryStore) -> MemberReader:
    """One on that store."""
    return MemberReader(cast("Any", store))


def test_a_node_belongs_to_the_fleets_of_its_models(store: MemoryStore) -> None:
    """It is present while its presence is there; without a report on a model it is none of that one's nodes."""
    store.put(presence_key("n1"), b"{}")
    store.put(presence_key("n3"), b"{}")
    store.put(report_key("n1", "yolo"), encode_report(STABLE))
    store.put(report_key("n1", "ocr"), encode_report(Report()))
    store.put(report_key("n2", "yolo"), encode_report(STABLE))
    members = reader(store).read()
    assert members.fleet("yolo", "7") == Fleet(
        {"n1": Member(True, STABLE), "n2": Member(False, STABLE)}, current_revision="7"
    )
    assert set(members.fleet("ocr", "7").members) == {"n1"}
    assert members.fleet("other", "7").members == {}
    assert set(members.presence) == {"n1", "n3"}


def test_a_report_that_cannot_be_understood_leaves_the_others(store: MemoryStore) -> None:
    """It is said once for each writing; a key of another form is nobody's report."""
    store.put(report_key("n1", "yolo"), encode_report(STABLE))
    store.put(report_key("n2", "yolo"), b"{")
    store.put("/edgeagent/reports/n3", encode_report(STABLE))
    store.put("/edgeagent/reports/n3/yolo/more", encode_report(STABLE))
    reading = reader(store)
    with capture_logs() as logs:
        assert set(reading.read().reports["yolo"]) == {"n1"}
        assert set(reading.read().reports["yolo"]) == {"n1"}
        store.put(report_key("n2", "yolo"), b"[")
        reading.read()
    assert [line["key"] for line in logs] == [report_key("n2", "yolo")] * 2


def test_what_was_written_anew_is_read_anew(store: MemoryStore) -> None:
    """And who has no report any more is no member."""
    reading = reader(store)
    store.put(report_key("n1", "yolo"), encode_report(STABLE))
    reading.read()
    store.put(report_key("n1", "yolo"), encode_report(Report(phase=Phase.BEGUN)))
    assert reading.read().reports["yolo"]["n1"].phase is Phase.BEGUN
    store.write({report_key("n1", "yolo"): None})
    assert reading.read().reports == {}


def test_a_node_that_comes_back_meanwhile_has_not_vanished(store: MemoryStore) -> None:
    """It writes its presence first, then that it has begun: whatever comes between two readings, it is there."""

    class Between(MemoryStore):
        def list(self, prefix: str) -> Sequence[Entry]:
            found = super().list(prefix)
            self.put(presence_key("n1"), b"{}")
            self.put(report_key("n1", "yolo"), encode_report(Report(phase=Phase.BEGUN)))
            return found

    store = Between()
    store.put(report_key("n1", "yolo"), encode_report(Report(phase=Phase.WAITING)))
    member = reader(store).read().fleet("yolo", "7").members["n1"]
    assert member.present or member.report.phase is Phase.WAITING


def test_a_store_that_is_away_is_said(store: MemoryStore) -> None:
    """Nobody is taken for gone then."""
    store.away = True
    with pytest.raises(UnavailableError):
        reader(store).read()
