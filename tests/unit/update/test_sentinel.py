# SPDX-License-Identifier: AGPL-3.0-or-later
"""When golden pictures are replayed, what they are held against, and what comes of a difference; without engines."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeagent.core.detection_settings import AS_FOUND
from edgeagent.core.events import AppendAudit, RollbackRequested
from edgeagent.core.sentinel import DriftLimits, SentinelState
from edgeagent.core.state import State, VersionRef
from edgeagent.core.tuning import Tolerance
from edgeagent.errors import ConflictError, UnavailableError
from edgeagent.update import sentinel as module
from edgeagent.update.golden_replay import link_pictures
from edgeagent.update.sentinel import MAX_KEPT, RETRY_S, SETTLE_S, GoldenSentinel, SentinelSettings

DAY = 86_400.0
BOX = (1.0, 1.0, 9.0, 9.0, 0.9, 0)


@dataclass
class Paper:
    """A model with one stable version, and what its engine finds."""

    folder: Path
    roll_back: bool = False
    finds: dict[int, tuple[Any, ...]] = field(default_factory=lambda: {0: (BOX,), 1: (), 2: (BOX, BOX)})
    fails: str = ""
    target: bool = True
    replays: int = 0
    records: list[AppendAudit] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    asked: list[RollbackRequested] = field(default_factory=list)
    digest: str = "sha256:v2"

    def __post_init__(self) -> None:
        pictures = self.folder / "set" / "images"
        pictures.mkdir(parents=True, exist_ok=True)
        (self.folder / "set" / "labels").mkdir(exist_ok=True)
        for n in range(3):
            (pictures / f"{n}.png").write_bytes(b"picture")
        self.state = State(
            "yolo", active=VersionRef("v2", self.digest), stable_versions=(VersionRef("v1", "a"),)
        )
        self.preparations: list[Any] = []
        self.site: Path | None = self.folder / "set"
        self.router = SimpleNamespace(routes=[], settings=AS_FOUND)
        self.forget_ring = None

    @property
    def slot(self) -> Any:
        """With what serves."""
        version = SimpleNamespace(golden=())
        artifact = SimpleNamespace(imgsz=(64, 64), version=version)
        return SimpleNamespace(
            engine=SimpleNamespace(ready=True, ref=VersionRef("v2", self.digest), artifact=artifact)
        )

    def handle(self, event: RollbackRequested) -> None:
        """A roll-back is asked for."""
        if not self.target:
            raise ConflictError("roll-back of yolo", "no earlier version")
        self.asked.append(event)

    async def run(self, *_: Any) -> dict[int, tuple[Any, ...]]:
        """Stands for GoldenReplay.run."""
        self.replays += 1
        if self.fails:
            raise UnavailableError("golden pictures", self.fails)
        return self.finds

    def watch(self) -> GoldenSentinel:
        """As a node makes it."""
        limits = DriftLimits(Tolerance(), 0.0)
        settings = SentinelSettings(self.folder / "kept", 24.0, limits, self.roll_back, self.site)
        return GoldenSentinel(
            cast("Any", self),
            settings,
            lambda _, record: self.records.append(record),
            lambda _, share: self.shares.append(share),
        )


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paper:
    """Whose replays take no time."""
    model = Paper(tmp_path)
    monkeypatch.setattr(module, "GoldenReplay", lambda *_: model)
    return model


def look(watch: GoldenSentinel, *times: float) -> None:
    """At these times."""
    for now in times:
        asyncio.run(watch.look(now))


def test_the_first_replay_comes_when_the_version_is_settled(paper: Paper) -> None:
    """And the next after some hours; not while an update is under way. It is remembered over a restart."""
    watch = paper.watch()
    look(watch, 0.0, SETTLE_S - 1)
    assert (paper.replays, watch.state) == (0, SentinelState())
    paper.preparations = ["one"]
    look(watch, SETTLE_S)
    paper.preparations = []
    look(watch, SETTLE_S, SETTLE_S + DAY - 1)
    assert (paper.replays, watch.state.found) == (1, None)
    look(watch, SETTLE_S + DAY)
    assert watch.state.found
    assert watch.state.found.passed
    again = paper.watch()
    look(again, 0.0, SETTLE_S)
    assert again.state.found
    assert again.state.first_at == watch.state.first_at
    assert not paper.records


def test_drift_is_made_sure_of_and_said_once(paper: Paper) -> None:
    """In a record with the figures; that it is over, in another."""
    watch = paper.watch()
    look(watch, 0.0, SETTLE_S)
    paper.finds = {0: (), 1: (BOX,)}
    look(watch, SETTLE_S + DAY, SETTLE_S + 2 * DAY)
    assert paper.replays == 5
    [record] = paper.records
    assert (record.event, record.result, record.to_version) == ("sentinel", "drifted", "v2")
    assert record.why.startswith("on 3 of 3 golden pictures")
    assert record.gates[0].figures["missing"] == 1
    assert paper.shares == [0.0, 1.0, 1.0]
    assert not paper.asked
    paper.finds = {0: (BOX,), 1: (), 2: (BOX, BOX)}
    look(watch, SETTLE_S + 3 * DAY)
    assert [r.result for r in paper.records] == ["drifted", "agrees"]
    assert watch.state.why == ""


@pytest.mark.parametrize("target", [True, False])
def test_a_roll_back_if_that_is_asked_for(paper: Paper, target: bool) -> None:
    """With what was found; where there is nothing to go back to, it is only said."""
    paper.roll_back, paper.target = True, target
    watch = paper.watch()
    look(watch, 0.0, SETTLE_S)
    paper.finds = {}
    paper.finds[0] = ()
    look(watch, SETTLE_S + DAY)
    assert [r.result for r in paper.records] == ["drifted"]
    assert [(e.by, e.reason[:12]) for e in paper.asked] == [("edgeagent", "sentinel: on")] * target


def test_what_came_meanwhile_is_not_taken_back(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last picture is answered, and then another version is swapped in: what drifted is no longer there."""
    paper.roll_back = True
    watch = paper.watch()
    look(watch, 0.0, SETTLE_S)
    paper.finds = {0: ()}

    async def run(*_: Any) -> dict[int, tuple[Any, ...]]:
        paper.digest = "sha256:v3"
        return paper.finds

    monkeypatch.setattr(paper, "run", run)
    look(watch, SETTLE_S + DAY)
    assert (paper.records, paper.asked) == ([], [])
    assert "another version serves by now" in watch.state.why


def test_a_fault_is_not_repeated_all_the_time(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever begins the watch anew after one does so every second."""
    watch = paper.watch()
    monkeypatch.setattr(watch, "_first", lambda key: (0.0, {}))
    look(watch, 0.0)
    with pytest.raises(ZeroDivisionError):
        look(watch, SETTLE_S)
    look(watch, SETTLE_S + 1.0)
    assert paper.replays == 1


def test_a_replay_that_does_not_come_about_is_no_drift(paper: Paper) -> None:
    """It says why, and is tried again soon."""
    watch = paper.watch()
    paper.fails = "another engine serves"
    look(watch, 0.0, SETTLE_S)
    assert "another engine serves" in watch.state.why
    paper.fails = ""
    look(watch, SETTLE_S + RETRY_S - 1)
    assert paper.replays == 1
    look(watch, SETTLE_S + RETRY_S)
    assert watch.state.why == ""
    assert not paper.records


def test_what_was_kept_counts_for_the_same_content_and_pictures_only(paper: Paper) -> None:
    """Another version, other pictures, or a file that is damaged: a first replay anew."""
    kept = paper.folder / "kept" / "yolo"

    def changed() -> None:
        paper.digest = "sha256:v3"

    def other_pictures() -> None:
        (paper.folder / "set" / "images" / "1.png").write_bytes(b"another")

    def damaged() -> None:
        for file in kept.glob("*.json"):
            file.write_bytes(b"[1]")

    for change in (changed, other_pictures, damaged):
        look(paper.watch(), 0.0, SETTLE_S)
        change()
        watch = paper.watch()
        look(watch, 0.0, SETTLE_S)
        assert (watch.state.found, watch.state.why) == (None, "")


def test_a_roll_back_finds_what_was_kept_of_it(paper: Paper) -> None:
    """Of the last few contents each has its own; older ones go."""
    for digest in ("sha256:v1", "sha256:v2", "sha256:v1"):
        paper.digest = digest
        watch = paper.watch()
        look(watch, 0.0, SETTLE_S)
    assert watch.state.found
    for n in range(2 * MAX_KEPT):
        paper.digest = f"sha256:{n}"
        look(paper.watch(), 0.0, SETTLE_S)
    assert len(list((paper.folder / "kept" / "yolo").glob("*.json"))) == MAX_KEPT


def test_without_golden_pictures_nothing_happens(paper: Paper) -> None:
    """And nothing is said; that a set is configured and has none is."""
    paper.site = None
    watch = paper.watch()
    look(watch, 0.0, SETTLE_S)
    assert (paper.replays, watch.state) == (0, SentinelState())
    for picture in (paper.folder / "set" / "images").iterdir():
        picture.unlink()
    paper.site = paper.folder / "set"
    watch = paper.watch()
    look(watch, 0.0, SETTLE_S)
    assert "holds no picture" in watch.state.why


def test_pictures_stand_in_their_order_whatever_they_are_called(tmp_path: Path) -> None:
    """Those of the cache have hashes as names, and no suffix. What stood there before is gone."""
    pictures = [tmp_path / name for name in ("ffff", "0000", "b.JPG")]
    for picture in pictures:
        picture.write_text(picture.name)
    link_pictures([*pictures, *pictures], tmp_path / "links")
    link_pictures(pictures, tmp_path / "links")
    assert [(tmp_path / "links" / f"{n}.png").read_text() for n in range(3)] == ["ffff", "0000", "b.JPG"]
    assert len(list((tmp_path / "links").iterdir())) == 3
