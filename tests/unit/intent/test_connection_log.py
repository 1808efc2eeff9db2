# SPDX-License-Identifier: AGPL-3.0-or-later
"""The log's lines about a source that is lost and comes back."""

from __future__ import annotations

from typing import Any

from structlog.testing import capture_logs

from edgeagent.intent.connection_log import QUIET_S, ConnectionLog
from edgeagent.intent.port import Connection

UP, DOWN = Connection(True), Connection(False, "refused")
URL = "etcd://a:1"


def lines(*seen: tuple[float, Connection]) -> list[dict[str, Any]]:
    """What is logged when this is seen at these times."""
    log = ConnectionLog(URL)
    with capture_logs() as logs:
        for now, connection in seen:
            log.see(connection, now)
    return logs


def test_a_loss_and_a_return_are_a_line_each() -> None:
    """With the reason and how long it took, however often it is looked at."""
    assert lines(
        (0, UP), (10, DOWN), (11, DOWN), (12, Connection(False, "silent")), (25.04, UP), (26, UP)
    ) == [
        {"event": "intent_source.lost", "log_level": "warning", "intent_source": URL, "why": "refused"},
        {"event": "intent_source.returned", "log_level": "info", "intent_source": URL, "after_s": 15.0},
    ]


def test_one_that_was_never_there_is_said_too() -> None:
    """At the start of the node."""
    assert [line["event"] for line in lines((0, DOWN), (1, DOWN))] == ["intent_source.lost"]


def test_one_that_flaps_is_said_once_a_minute() -> None:
    """With how often it was lost meanwhile: an hour of flapping every two seconds is some sixty pairs of lines."""
    hour = [(float(now), UP if now % 4 < 2 else DOWN) for now in range(3600)]
    logged = lines(*hour)
    losses = [line for line in logged if line["event"] == "intent_source.lost"]
    assert 50 <= len(losses) <= 3600 / QUIET_S + 1
    assert abs(len(logged) - 2 * len(losses)) <= 1
    assert sum(line.get("losses_before", 0) + 1 for line in losses) + 20 > 900


def test_one_that_stays_away_after_flapping_is_said_in_the_end() -> None:
    """The last line is never one that isn't true any more."""
    seen = [(0.0, DOWN), (1.0, UP), (2.0, DOWN), *((3.0 + n, DOWN) for n in range(100))]
    assert [line["event"].partition(".")[2] for line in lines(*seen)] == ["lost", "returned", "lost"]


def test_what_is_wrong_with_one_that_is_there_is_said_once() -> None:
    """Such as a database that is full; again when it comes back."""
    full = Connection(True, "full")
    assert [line["why"] for line in lines((0, full), (1, full), (2, UP), (3, full))] == ["full", "full"]
