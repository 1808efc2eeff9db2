# SPDX-License-Identifier: AGPL-3.0-or-later
"""Logs: JSON, one line each, without secrets, never waited for."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from edgeagent.observe.logs import QUEUE_LINES, REPEAT_BURST, RepeatLimit, setup_logging, stop_logging
from edgeagent.sinks.log import LogSink


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave logging as it was."""
    level = logging.getLogger().level
    yield
    stop_logging()
    structlog.reset_defaults()
    logging.getLogger().setLevel(level)


def logged(out: io.StringIO) -> list[dict[str, Any]]:
    """The lines written so far, decoded."""
    stop_logging()
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_one_json_line_each() -> None:
    """structlog and logging come out alike, an exception and a line break stay within the line."""
    out = io.StringIO()
    setup_logging("info", "json", out)
    structlog.get_logger("a").info("swapped", model="yolo", why="two\nlines")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("b").exception("it %s", "failed")
    first, second = logged(out)
    assert first.pop("ts").endswith("Z")
    assert first == {"event": "swapped", "level": "info", "logger": "a", "model": "yolo", "why": "two\nlines"}
    assert second["event"] == "it failed"
    assert second["level"] == "error"
    assert "ValueError: broken" in second["exception"]


def test_the_level_holds_for_both() -> None:
    """What is below the level is not written."""
    out = io.StringIO()
    setup_logging("warning", "json", out)
    structlog.get_logger("a").info("no")
    logging.getLogger("b").info("no")
    structlog.get_logger("a").warning("yes")
    assert [line["event"] for line in logged(out)] == ["yes"]


def test_console_is_for_people() -> None:
    """The console format is no JSON; auto chooses it on a terminal only."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for fmt, out, is_json in (
        ("console", io.StringIO(), False),
        ("auto", Terminal(), False),
        ("auto", io.StringIO(), True),
    ):
        setup_logging("info", fmt, out)
        structlog.get_logger("a").info("hello")
        stop_logging()
        assert out.getvalue().startswith("{") is is_json
        assert "hello" in out.getvalue()


def test_set_up_again_writes_once() -> None:
    """A second set-up replaces the first."""
    old, new = io.StringIO(), io.StringIO()
    setup_logging("info", "json", old)
    setup_logging("info", "json", new)
    structlog.get_logger("a").info("once")
    assert len(logged(new)) == 1
    assert old.getvalue() == ""


def test_secrets_do_not_reach_a_line() -> None:
    """Also when they come with an exception."""
    out = io.StringIO()
    setup_logging("info", "json", out)
    try:
        raise OSError("no rtsp://admin:pa55@cam/1")
    except OSError:
        structlog.get_logger("a").exception("lost", url="rtsp://admin:pa55@cam/1")
    stop_logging()
    assert "pa55" not in out.getvalue()
    assert "rtsp://***@cam/1" in out.getvalue()


def test_a_reader_that_stops_reading_stops_nobody() -> None:
    """Lines beyond the queue are dropped and counted, and the caller never waits."""
    reading = threading.Event()

    class Paused(io.StringIO):
        def write(self, text: str) -> int:
            reading.wait(60)
            return super().write(text)

    out = Paused()
    setup_logging("info", "json", out)
    log = structlog.get_logger("a")
    for i in range(QUEUE_LINES + 100):
        log.info(f"line {i}")
    reading.set()
    from edgeagent.observe import logs

    assert logs._listener is not None
    while not logs._listener.queue.empty():  # the reader is back; wait for room
        threading.Event().wait(0.001)
    log.info("last")
    assert stop_logging()
    lines = logged(out)
    assert 99 <= lines[-1]["log_lines_dropped"] <= 100
    assert lines[-1]["event"] == "last"


def test_the_end_says_whether_all_could_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait long for who has stopped reading."""
    reading = threading.Event()

    class Paused(io.StringIO):
        def write(self, text: str) -> int:
            reading.wait(60)
            return super().write(text)

    monkeypatch.setattr("edgeagent.observe.logs.LAST_LINES_S", 0.01)
    setup_logging("info", "json", Paused())
    structlog.get_logger("a").info("line")
    assert not stop_logging()
    assert stop_logging()  # there is nothing left to stop
    reading.set()


def test_lines_that_repeat_are_counted_instead_of_written() -> None:
    """Some at once, then one a second, which says how many were left out; whatever differs in them."""
    limit = RepeatLimit()
    assert [limit.allow("a", 100.0) for _ in range(REPEAT_BURST)] == [0] * REPEAT_BURST
    assert [limit.allow("a", 100.0 + i / 1000) for i in range(900)] == [None] * 900
    assert limit.allow("b", 100.5) == 0
    assert limit.allow("a", 101.1) == 900
    assert limit.allow("a", 101.2) is None
    assert limit.allow("a", 1000.0) == 1
    assert [limit.allow("a", 1000.0) for _ in range(REPEAT_BURST)][-1] is None


def test_a_flood_of_lines_is_no_flood_of_text() -> None:
    """Of structlog and of libraries alike; other lines, and lines that are data, come through."""
    out = io.StringIO()
    setup_logging("info", "json", out)
    for i in range(1000):
        structlog.get_logger("a").warning("request.failed", peer=i)
        logging.getLogger("asyncio").error(f"accept failed {i}")
        LogSink().write([_Record(i)])  # type: ignore[list-item]  # what it needs of a record
    structlog.get_logger("a").info("swapped")
    lines = logged(out)
    counts = {
        e: sum(line["event"].startswith(e) for line in lines) for e in ("request", "accept", "detections")
    }
    assert counts["detections"] == 1000
    assert REPEAT_BURST <= counts["request"] < 500  # and one more for each second that this takes
    assert REPEAT_BURST <= counts["accept"] < 500
    assert lines[-1]["event"] == "swapped"


class _Record:
    def __init__(self, seq: int) -> None:
        self._seq = seq

    def as_dict(self) -> dict[str, int]:
        """Of a frame."""
        return {"seq": self._seq}
