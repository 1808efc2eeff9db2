# SPDX-License-Identifier: AGPL-3.0-or-later
"""The alarms of a node, over facts and records of the test's own: no node, no disk that isn't a temporary folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from edgeagent.alarms import service
from edgeagent.alarms.rule_set import Classes
from edgeagent.alarms.service import Alarms, Clocks
from edgeagent.config.alarms import AlarmsConfig
from edgeagent.config.schema import PipelineConfig
from edgeagent.core.alarms import Alarm
from edgeagent.core.alarms.system import ModelFacts, PipelineFacts, SystemFacts
from edgeagent.core.events import AppendAudit
from edgeagent.errors import ConflictError, NotFoundError, NotKeptError, UsageError
from edgeagent.observe.bus import AlarmChanged, Bus, Swapped
from edgeagent.serving.tap import Tap
from edgeagent.sinks.port import Record
from edgeagent.workers.tasks.clips import ClipNews, What

NAMES = ("carton", "person")
PERSON = (10.0, 10.0, 60.0, 60.0, 0.9, 1.0)
PRESENT = {"name": "person", "classes": ["person"], "off_delay_seconds": 1, "cool_down_seconds": 0}
ABSENT = {"name": "no-carton", "classes": ["carton"], "when": "absent", "absent_seconds": 5}


class Facts:
    """What a node would know of itself."""

    def __init__(self) -> None:
        self.state = "running"
        self.serving: Classes = ("v1", NAMES)
        self.disk_error = ""

    def classes(self, model: str) -> Classes:
        return self.serving

    def serves(self, pipeline: str) -> bool:
        return self.state in ("running", "frozen")

    def look(self, unusable: Callable[[str], Mapping[str, str]], free_bytes: int | None) -> SystemFacts:
        line = PipelineFacts("line-1", "yolo", self.state, unusable=unusable("line-1"))
        yolo = ModelFacts("yolo", self.serving[0], ready=True)
        return SystemFacts((line,), (yolo,), self.disk_error)


class Scene:
    """Alarms of a node with one pipeline; time goes on when it is told to."""

    def __init__(self, folder: Path, *rules: dict[str, Any], **config: Any) -> None:
        self.now = 1000.0
        self.facts, self.bus, self.tap = Facts(), Bus(), Tap()
        self.heard: list[Alarm] = []
        self.audit: list[AppendAudit] = []
        self.bus.subscribe(AlarmChanged, lambda event: self.heard.append(event.alarm))
        self.registry = CollectorRegistry()
        clocks = Clocks(lambda: self.now, lambda: self.now)
        self.alarms = Alarms(
            folder,
            AlarmsConfig(**config),
            self.facts,
            self.bus,
            self.registry,
            lambda model, record: self.audit.append(record),
            clocks,
        )  # type: ignore[arg-type]
        self.alarms.configure(AlarmsConfig(**config), self.pipelines(*rules), {"yolo": self.tap})

    @staticmethod
    def pipelines(*rules: dict[str, Any]) -> list[PipelineConfig]:
        doc = {"name": "line-1", "model": "yolo", "source": {"url": "synthetic://x"}, "alarms": list(rules)}
        return [PipelineConfig.model_validate(doc)]

    def configure(self, *rules: dict[str, Any]) -> None:
        self.alarms.configure(AlarmsConfig(), self.pipelines(*rules), {"yolo": self.tap})

    def frames(self, seconds: float, *boxes: tuple[float, ...]) -> None:
        """Two frames a second with these boxes, and a look at the node each second."""
        for n in range(round(2 * seconds)):
            self.now += 0.5
            record = Record("line-1", n, self.now, "yolo", "v1", "d", 1, 0.0, NAMES, boxes, 640, 360)  # type: ignore[arg-type]
            for listener in self.tap._listeners:
                listener.hear(record, self.now)
            if n % 2:
                self.alarms.look()

    def wait(self, seconds: int) -> None:
        """No frames for so long."""
        for _ in range(seconds):
            self.now += 1
            self.alarms.look()

    def seen(self) -> dict[str, str]:
        """The state of each that isn't over, by its rule; in capitals while its condition holds."""
        return {a.what.rule: a.state.upper() if a.active else a.state for a in self.alarms.book.open.values()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state folder."""
    return tmp_path


def test_a_rule_raises_and_clears_while_frames_come(folder: Path) -> None:
    """At the frame on which it holds, and not with the next look."""
    s = Scene(folder, PRESENT)
    s.frames(1)
    assert s.seen() == {}
    s.frames(0.5, PERSON)
    assert s.seen() == {"person": "RAISED"}
    s.frames(2)
    assert s.seen() == {"person": "raised"}
    assert [(a.state, a.active, a.change) for a in s.heard] == [("raised", True, 1), ("raised", False, 2)]
    text = s.registry.get_sample_value
    assert text("edgeagent_alarm_raised_total", {"rule": "person", "severity": "warning"}) == 1
    assert text("edgeagent_alarms", {"severity": "warning", "state": "raised"}) == 1


def test_who_acknowledges_is_in_the_audit_log_and_on_the_disk(folder: Path) -> None:
    """Before it is answered; a restart knows it."""
    s = Scene(folder, PRESENT)
    s.frames(1, PERSON)
    id = s.heard[0].id
    asyncio.run(s.alarms.acknowledge(id, "ann"))
    assert [(r.event, r.result, r.by) for r in s.audit] == [("alarm", "acknowledged", "ann")]
    again = Scene(folder, PRESENT)
    assert again.seen() == {"person": "ACKNOWLEDGED"}
    again.frames(3)
    assert again.seen() == {}
    assert again.alarms.alarms()[0].id == id


def test_what_is_asked_wrongly(folder: Path) -> None:
    """Changes nothing, and is said in words."""
    s = Scene(folder, PRESENT)
    s.frames(1, PERSON)
    id = s.heard[0].id
    with pytest.raises(NotFoundError):
        asyncio.run(s.alarms.acknowledge("nobody", "ann"))
    with pytest.raises(UsageError, match="use 1 to 1440 minutes"):
        asyncio.run(s.alarms.shelve(id, "ann", 2000, ""))
    with pytest.raises(ConflictError, match="isn't shelved"):
        asyncio.run(s.alarms.unshelve(id, "ann"))
    assert (s.seen(), s.audit) == ({"person": "RAISED"}, [])


def test_a_shelved_alarm_comes_back_by_itself(folder: Path) -> None:
    """When its time is over, if its condition holds still."""
    s = Scene(folder, PRESENT)
    s.frames(1, PERSON)
    asyncio.run(s.alarms.shelve(s.heard[0].id, "ann", 1, "the light"))
    s.frames(30, PERSON)
    assert s.seen() == {"person": "SHELVED"}
    s.frames(31, PERSON)
    assert s.seen() == {"person": "RAISED"}
    assert s.audit[0].why.endswith("for 1 minutes: the light")


def test_a_disk_that_takes_nothing(folder: Path) -> None:
    """What was acknowledged is, and who did it knows that a restart may undo it."""
    s = Scene(folder / "gone", PRESENT)
    s.frames(1, PERSON)
    with pytest.raises(NotKeptError, match="a restart may undo it"):
        asyncio.run(s.alarms.acknowledge(s.heard[0].id, "ann"))
    assert s.seen() == {"person": "ACKNOWLEDGED"}


def test_a_lost_camera_is_one_alarm(folder: Path) -> None:
    """While it is lost nothing is missing, and afterwards it is."""
    s = Scene(folder, ABSENT, camera_lost={"after_seconds": 3})
    s.frames(3)
    s.facts.state = "lost"
    s.wait(60)
    assert s.seen() == {"camera_lost": "RAISED"}
    s.facts.state = "running"
    s.frames(6)
    assert s.seen() == {"camera_lost": "raised", "no-carton": "RAISED"}


def test_what_was_raised_just_before_its_cause_was(folder: Path) -> None:
    """A camera that is frozen since some seconds: what was missing on its picture has no alarm of its own."""
    s = Scene(folder, ABSENT)
    s.frames(8)
    assert s.seen() == {"no-carton": "RAISED"}
    s.facts.state = "frozen"
    s.frames(3)
    assert s.seen() == {"camera_frozen": "RAISED"}
    assert s.alarms.book.past[-1].closed_why == "a consequence of camera_frozen"
    s.facts.state = "running"
    s.frames(10)
    assert s.seen()["no-carton"] == "RAISED"


def test_a_rule_that_the_next_version_cannot_be_judged_by(folder: Path) -> None:
    """Is said, and looked at anew with the swap after that."""
    s = Scene(folder, PRESENT)
    s.facts.serving = ("v2", ("carton",))
    s.bus.publish(Swapped("yolo", "v2", "d2", 2))
    s.frames(2, PERSON)
    assert s.seen() == {"rule_unusable": "RAISED"}
    (rule,) = [r for r in s.alarms.rules() if r.pipeline]
    assert rule.error == "v2 has no class person; it has carton"
    s.facts.serving = ("v3", NAMES)
    s.bus.publish(Swapped("yolo", "v3", "d3", 3))
    s.frames(1, PERSON)
    assert s.seen() == {"rule_unusable": "raised", "person": "RAISED"}
    assert not [r.error for r in s.alarms.rules() if r.error]


def test_rules_change_while_frames_come(folder: Path) -> None:
    """What stayed goes on; what is gone is over; what is new begins."""
    s = Scene(folder, PRESENT, {**PRESENT, "name": "other"}, ABSENT)
    s.frames(3, PERSON)
    ids = {a.what.rule: a.id for a in s.alarms.book.open.values()}
    s.configure({**PRESENT, "severity": "critical"}, ABSENT)
    s.frames(2.5, PERSON)
    assert s.seen() == {"person": "RAISED", "no-carton": "RAISED"}  # after five seconds, three of them before
    assert {
        a.what.rule: (a.id == ids[a.what.rule], a.severity) for a in s.alarms.alarms() if a.what.rule in ids
    } == {
        "person": (True, "critical"),
        "other": (True, "warning"),
    }
    assert s.alarms.book.past[-1].closed_why == "its rule is gone"
    s.configure()
    assert s.tap._listeners == []  # what isn't used costs nothing


def test_a_file_that_is_none(folder: Path) -> None:
    """Is put aside; the node begins without alarms, and writes a new one."""
    for content in (b"", b"{", b'{"schema": 2}', b'{"schema": 1, "open": [{}], "past": []}', b"[" * 100_000):
        (folder / "alarms.json").write_bytes(content)
        s = Scene(folder, PRESENT)
        assert s.alarms.alarms() == []
        assert (folder / "alarms.broken").read_bytes() == content


def test_a_file_of_another_release(folder: Path) -> None:
    """Fields that this one doesn't know are left aside, those that it lacks have their defaults."""
    s = Scene(folder, PRESENT)
    s.frames(1, PERSON)
    asyncio.run(s.alarms.close())
    path = folder / "alarms.json"
    text = path.read_text()
    assert '"clip": null, ' in text
    path.write_text(text.replace('"clip": null, ', '"colour": "red", '))
    assert Scene(folder, PRESENT).seen() == {"person": "RAISED"}


WITH_CLIP = {**PRESENT, "clip": {}}


def shown(s: Scene, *news: What) -> list[str | None]:
    """Where picture and clip of the one alarm are, when the worker has said that these are there."""
    (alarm,) = s.alarms.book.open.values()
    for what in news:
        s.alarms.clips._heard(ClipNews(alarm.id, what, "a file"))
    (alarm,) = s.alarms.book.open.values()
    return [where and where.rpartition("/")[2] for where in (alarm.picture, alarm.clip)]


def test_an_alarm_that_comes_again_has_a_picture_and_a_clip_of_its_own(folder: Path) -> None:
    """At another address, so that no browser shows the time before. While a clip isn't whole, no other is begun."""
    s = Scene(folder, WITH_CLIP)
    s.frames(1, PERSON)
    assert shown(s, "picture") == ["picture.jpg", None]
    s.frames(3)
    s.frames(1, PERSON)
    assert shown(s) == ["picture.jpg", None]
    assert shown(s, "clip") == ["picture.jpg", "clip.mp4?2"]
    s.frames(3)
    s.frames(1, PERSON)
    assert shown(s) == [None, None]
    assert shown(s, "picture", "clip") == ["picture.jpg?3", "clip.mp4?3"]
    s.frames(3)
    s.frames(1, PERSON)
    s.frames(200)  # the worker died of the next one, and nothing came of it
    s.frames(1, PERSON)
    assert len(s.alarms.clips._making) == 1
    assert len(s.alarms.clips._begun) == 4


def test_a_disk_that_says_nothing_hides_no_clip_that_is_gone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How much is free is another question."""

    def fails(path: Path) -> int:
        raise OSError("it hangs")

    s = Scene(folder, WITH_CLIP)
    s.frames(1, PERSON)
    assert shown(s, "picture", "clip") == ["picture.jpg", "clip.mp4"]
    monkeypatch.setattr(service, "free_bytes", fails)
    monkeypatch.setattr(s.alarms.clips, "sweep", lambda: {s.heard[0].id})

    async def ask() -> None:
        s.alarms._ask_disk()
        while s.alarms._asking:
            await asyncio.sleep(0)

    asyncio.run(ask())
    assert shown(s) == [None, None]
