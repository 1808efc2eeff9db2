# SPDX-License-Identifier: AGPL-3.0-or-later
"""A sink of another package: one file and one row, its entry point. Nothing of edgeagent is touched."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.cli.doctor import examine_with
from edgeagent.cli.doctor.cameras import sources
from edgeagent.cli.doctor.checks import Check
from edgeagent.cli.doctor.examination import Examination
from edgeagent.config import Config, ConfigError, parse_config
from edgeagent.sinks import registry
from edgeagent.sinks.queue import SinkHost, Sinks
from edgeagent.status.schema import SinksStatus
from tests.support.sinks import records

FILE = '''
"""Counts detections by class."""

from typing import Literal

from edgeagent.sinks.port import SinkConfig, SinkType
from edgeagent.util.settings import Section


class Report(Section):
    every: int = 10


class TallyConfig(SinkConfig):
    type: Literal["tally"] = "tally"
    least: int = 1
    report: Report = Report()


class Tally:
    written = []

    def __init__(self, least):
        self.name = f"tally from {least}"

    def write(self, batch):
        self.written += [(record.seq, record.as_dict()["detections"][0]["name"]) for record in batch]

    def close(self):
        self.written.append("closed")


SINK = SinkType(TallyConfig, open=lambda config: Tally(config.least), try_out=lambda config: "it can count")
'''
ROW = "[edgeagent.sinks]\ntally = tally_sink:SINK\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package, as pip would have installed it."""
    (tmp_path / "tally_sink.py").write_text(FILE)
    info = tmp_path / "tally_sink-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tally-sink\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ROW)
    monkeypatch.syspath_prepend(tmp_path)
    registry._entry_points.cache_clear()
    yield
    registry._entry_points.cache_clear()
    sys.modules.pop("tally_sink", None)


def _parse(**fields: object) -> Config:
    sink = {"type": "tally", **fields}
    return parse_config(
        {"pipelines": [{"name": "line-1", "model": "yolo", "source": {"url": "/x"}, "sinks": [sink]}]}
    )


@pytest.mark.usefixtures("installed")
def test_its_fields_are_checked_like_all_others() -> None:
    """Its own and those of every sink; a wrong one is said with its place."""
    (sink,) = _parse(least=2, lossless=True).pipelines[0].sinks
    assert sink.model_dump() == {
        "type": "tally",
        "lossless": True,
        "patience_seconds": 30.0,
        "least": 2,
        "report": {"every": 10},
    }
    with pytest.raises(ConfigError) as e:
        _parse(leest=2, patience_seconds="long", report={"evry": 3})
    assert e.value.problems == [
        "pipelines[0].sinks[0].patience_seconds: 'long' is wrong; allowed: valid number",
        "pipelines[0].sinks[0].report.evry: is not known, did you mean every?; allowed: every",
        "pipelines[0].sinks[0].leest: is not known, did you mean least?; allowed: type, lossless, patience_seconds,"
        " least, report",
    ]


@pytest.mark.usefixtures("installed")
def test_it_gets_records_and_shows_in_the_status(tmp_path: Path) -> None:
    """It runs behind a queue of its own."""

    async def steps() -> None:
        host = SinkHost("node", tmp_path)
        sinks = Sinks("line-1", _parse().pipelines[0].sinks, lambda behind: None, host=host)
        for record in records(0, 3):
            sinks.write(record)
        await sinks.close()
        status = SinksStatus(**sinks.status())
        assert (status.written, status.lost) == (3, 0)
        assert [(sink.sink, sink.type, sink.lossless) for sink in status.each] == [
            ("tally from 1", "tally", False)
        ]

    asyncio.run(steps())
    assert sys.modules["tally_sink"].Tally.written == [(0, "dent"), (1, "dent"), (2, "dent"), "closed"]


@pytest.mark.usefixtures("installed")
def test_the_doctor_tries_it() -> None:
    """As it says that it can be tried."""
    tried = Check("sources", lambda x: sources(x, lambda source: "a frame"))
    found = [(f.level, f.subject, f.text) for _, f in examine_with(Examination(_parse()), [tried])]
    assert found == [("ok", "source of line-1", "a frame"), ("ok", "sink of line-1", "it can count")]


def test_without_the_package_it_is_not_known() -> None:
    """The message lists what is."""
    with pytest.raises(ConfigError, match="'tally' is not known; allowed: jsonl, log"):
        _parse()
