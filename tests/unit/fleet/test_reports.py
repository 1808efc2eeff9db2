# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a node writes what it has done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from edgeagent.core.fleet_report import Phase, Report, decode_report, encode_report, report_key
from edgeagent.core.write_pace import BURST
from edgeagent.errors import UnavailableError, UsageError
from edgeagent.fleet import reports
from edgeagent.fleet.reports import Reports
from edgeagent.intent.port import ABSENT, Entry, Outcome

KEY = report_key("n1", "yolo")
PATIENCE_S = 30.0


class PaperStore:
    """One key, and all that was written into it. failures: so many calls fail first."""

    def __init__(self) -> None:
        self.value: bytes | None = None
        self.written: list[Report] = []
        self.read = 0
        self.failures = 0

    def get(self, key: str) -> Entry:
        assert key == KEY
        self.read += 1
        self._fail()
        return Entry(key, self.value, "1" if self.value else ABSENT)

    def put(self, key: str, value: bytes) -> None:
        assert key == KEY
        self._fail()
        self.value = value
        self.written.append(decode_report(key, value))

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise UnavailableError("config store", "away", "wait")


class ManyKeys:
    """A store, of which the test says what happens in it. refused: a key that can't be used; meanwhile: happens once,
    while the key of the model is written."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.refused = ""
        self.meanwhile: Callable[[], None] | None = None

    def get(self, key: str) -> Entry:
        self._check(key)
        return Entry(key, self.values.get(key), "1" if key in self.values else ABSENT)

    def put(self, key: str, value: bytes) -> None:
        self._check(key)
        happens, self.meanwhile = (self.meanwhile, None) if key == KEY else (None, self.meanwhile)
        if happens:
            happens()
        self.values[key] = value

    def compare_and_set(self, expected: Any, writes: Any) -> Outcome:
        for key in writes:
            self._check(key)
            del self.values[key]
        return Outcome.WRITTEN

    def says(self, key: str, phase: Phase) -> bool:
        """Whether the report under the key is of this phase."""
        return decode_report(key, self.values[key]).phase is phase

    def _check(self, key: str) -> None:
        if key == self.refused:
            raise UsageError("config store", "permission denied")


async def until(fulfilled: Callable[[], bool]) -> None:
    """Wait for a condition."""
    while not fulfilled():
        await asyncio.sleep(0.001)


class Scene:
    """A node with one model, of which the test says what there is to report."""

    def __init__(self, value: bytes | None = None) -> None:
        self.store = PaperStore()
        self.store.value = value
        self.report: Report | None = Report(version="v1", digest="d1", state="STABLE")
        self.may_write = True
        self.looks = 0

    def describe(self, model: str) -> Report | None:
        assert model == "yolo"
        self.looks += 1
        return self.report

    def says(self, **fields: Any) -> None:
        """Something else is to be reported."""
        assert self.report
        self.report = replace(self.report, **fields)

    def has_said(self, phase: Phase) -> bool:
        """Whether the last that was written is of this phase."""
        return self.store.written[-1].phase is phase

    async def has_read(self) -> None:
        """Until it has looked what stands in the store."""
        read = self.store.read + 2
        await until(lambda: self.store.read >= read)

    async def has_looked(self) -> None:
        """Until it has had the chance to write what it found."""
        looks = self.looks + 3
        await until(lambda: self.looks >= looks)


def run(scene: Scene, scenario: Callable[[], Awaitable[None]]) -> None:
    """The scenario beside the node's reports."""

    async def main() -> None:
        telling = Reports(cast("Any", scene.store), "n1", ["yolo"], scene.describe)
        task = asyncio.create_task(telling.run(lambda: scene.may_write))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await scenario()
        finally:
            task.cancel()

    asyncio.run(main())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks all the time, and waits for nothing."""
    for name, value in (("LOOK_S", 0.001), ("SPREAD_S", 0.0), ("AGAIN_S", (0.001, 0.001))):
        monkeypatch.setattr(reports, name, value)


def test_whether_the_fleet_is_told() -> None:
    """Not before it could be written, nor while it can't, nor while this node isn't there for the others."""
    scene = Scene()
    telling = Reports(cast("Any", scene.store), "n1", ["yolo"], scene.describe)

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S):
            assert not telling.are_told("yolo")
            task = asyncio.create_task(telling.run(lambda: scene.may_write))
            await until(lambda: telling.are_told("yolo"))
            scene.store.failures = 10**9
            scene.says(phase=Phase.WAITING)
            await until(lambda: not telling.are_told("yolo"))
            scene.store.failures = 0
            await until(lambda: telling.are_told("yolo"))
            scene.may_write = False
            await until(lambda: not telling.are_told("yolo"))
            task.cancel()

    asyncio.run(main())


def test_it_writes_what_has_changed() -> None:
    """And nothing when nothing has."""
    scene = Scene()

    async def scenario() -> None:
        await until(lambda: len(scene.store.written) == 1)
        await scene.has_looked()
        assert len(scene.store.written) == 1
        scene.says(version="v2", digest="d2")
        await until(lambda: len(scene.store.written) == 2)
        assert [r.version for r in scene.store.written] == ["v1", "v2"]

    run(scene, scenario)


def test_a_phase_is_written_at_once_and_the_rest_is_paced() -> None:
    """A figure that jumps up and down fills no store; a roll-out waits for no such figure."""
    scene = Scene()

    async def scenario() -> None:
        for n in range(2 * BURST):
            scene.says(boxes=float(n % 2 + 1))
            await scene.has_looked()
        assert len(scene.store.written) <= BURST
        for n, phase in enumerate((Phase.WAITING, Phase.BEGUN, Phase.SWAPPED, Phase.STABLE)):
            scene.says(rollout="r1", phase=phase)
            await until(partial(scene.has_said, phase))
            assert len(scene.store.written) <= BURST + n + 1

    run(scene, scenario)


def test_nothing_is_written_before_the_node_is_there() -> None:
    """A report without a presence is that of a node that is gone; nor is anything said that isn't known yet."""
    scene = Scene()
    scene.may_write = False

    async def scenario() -> None:
        await asyncio.sleep(0.05)
        assert (scene.store.read, scene.looks) == (0, 0)
        scene.report, scene.may_write = None, True
        await scene.has_looked()
        assert (scene.store.read, scene.store.written) == (0, [])
        scene.report = Report(version="v1")
        await until(lambda: bool(scene.store.written))

    run(scene, scenario)


def test_after_an_outage_it_looks_what_stands_there() -> None:
    """The store may have been restored; what is right isn't written again."""
    scene = Scene()

    async def outage() -> None:
        scene.may_write = False
        await asyncio.sleep(0.02)
        read = scene.store.read
        scene.may_write = True
        await until(lambda: scene.store.read > read)
        await scene.has_looked()

    async def scenario() -> None:
        await until(lambda: bool(scene.store.written))
        await outage()
        assert len(scene.store.written) == 1
        scene.store.value = None
        await outage()
        assert len(scene.store.written) == 2

    run(scene, scenario)


@pytest.mark.parametrize("value", [b"{", b"\xff", b"[]", b"{}", b"x" * 5000])
def test_whatever_stands_there_is_no_hindrance(value: bytes) -> None:
    """Somebody wrote into the node's key."""
    scene = Scene(value)

    async def scenario() -> None:
        await until(lambda: bool(scene.store.written))
        assert scene.store.written[-1].version == "v1"

    run(scene, scenario)


def test_a_restart_goes_on_with_what_was_said_of_the_version() -> None:
    """But not of one that serves in its place meanwhile, and then again."""
    scene = Scene(encode_report(Report(version="v1", digest="d1", frames=1024, objects=64, evidence=1.0)))

    async def scenario() -> None:
        scene.says(frames=600)
        await until(lambda: bool(scene.store.written))
        assert (scene.store.written[-1].frames, scene.store.written[-1].objects) == (1536, 64)
        scene.says(version="v2", digest="d2", frames=8)
        await until(lambda: scene.store.written[-1].version == "v2")
        scene.says(version="v1", digest="d1", frames=8)
        await until(lambda: scene.store.written[-1].version == "v1")
        assert (scene.store.written[-1].frames, scene.store.written[-1].objects) == (8, 0)

    run(scene, scenario)


def test_a_store_that_fails_is_tried_again_and_said_once() -> None:
    """What couldn't be written is, as soon as it can be."""
    scene = Scene()
    scene.store.failures = 5

    async def scenario() -> None:
        with capture_logs() as logs:
            await until(lambda: bool(scene.store.written))
        assert [line["event"] for line in logs] == ["report.failed"]

    run(scene, scenario)


def test_another_version_is_written_at_once() -> None:
    """However much was written before: roll-outs wait for what serves, too."""
    scene = Scene()

    async def scenario() -> None:
        for n in range(2 * BURST):
            scene.says(boxes=float(n % 2 + 1))
            await scene.has_looked()
        paced = len(scene.store.written)
        for n in range(2, 5):
            scene.says(version=f"v{n}", digest=f"d{n}")
            await until(lambda: scene.store.written[-1].version == scene.report.version)
        assert len(scene.store.written) <= paced + 3 + 1

    run(scene, scenario)


def test_what_was_lost_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody deleted the key, or the store lost its data: nothing that there is to say has changed."""
    monkeypatch.setattr(reports, "READ_EVERY_S", (0.001, 0.001))
    scene = Scene()

    async def scenario() -> None:
        await until(lambda: bool(scene.store.written))
        scene.store.value = None
        await until(lambda: scene.store.value is not None)
        assert [r.version for r in scene.store.written] == ["v1", "v1"]
        read = scene.store.read
        await until(lambda: scene.store.read > read + 3)
        assert len(scene.store.written) == 2

    run(scene, scenario)


def test_two_processes_of_one_name_dont_write_against_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each finds what the other wrote, time and again: after a burst that goes into the store seldom."""
    monkeypatch.setattr(reports, "READ_EVERY_S", (0.001, 0.001))
    scene = Scene()
    other = encode_report(Report(version="v9", digest="d9", state="STABLE"))

    async def scenario() -> None:
        await until(lambda: bool(scene.store.written))
        for _ in range(3 * BURST):
            scene.store.value = other
            await scene.has_read()
        assert len(scene.store.written) <= BURST

    run(scene, scenario)


def test_a_model_that_cannot_be_written_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one whose key the node's user has no right to: what another one comes to is written at the next look."""
    monkeypatch.setattr(reports, "AGAIN_S", (3600.0, 3600.0))
    store = ManyKeys()
    said = {"refused": Report(version="v1"), "yolo": Report(version="v1")}
    store.refused = report_key("n1", "refused")
    telling = Reports(cast("Any", store), "n1", ["refused", "yolo"], said.__getitem__)

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S):
            task = asyncio.create_task(telling.run(lambda: True))
            await until(lambda: KEY in store.values)
            for phase in (Phase.BEGUN, Phase.SWAPPED, Phase.STABLE):
                said["yolo"] = replace(said["yolo"], phase=phase)
                await until(partial(store.says, KEY, phase))
            assert not telling.are_told("refused")
            task.cancel()

    asyncio.run(main())


def test_what_is_said_of_a_model_that_is_gone_is_taken_back() -> None:
    """Else a roll-out waited for this node; when the store can't be asked, later."""
    store, models = ManyKeys(), ["yolo"]
    telling = Reports(cast("Any", store), "n1", models, lambda model: Report(version="v1"))

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S):
            task = asyncio.create_task(telling.run(lambda: True))
            await until(lambda: telling.are_told("yolo"))
            store.refused = KEY
            models.clear()
            await until(lambda: not telling.are_told("yolo"))
            assert KEY in store.values
            store.refused = ""
            await until(lambda: KEY not in store.values)
            task.cancel()

    asyncio.run(main())


def test_a_model_may_go_while_it_is_written_and_come_back() -> None:
    """At any moment: what there is to say of it then is written, and that of the others goes on."""
    store, models = ManyKeys(), ["yolo", "other"]
    telling = Reports(cast("Any", store), "n1", models, lambda model: Report(version="v1"))

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S):
            task = asyncio.create_task(telling.run(lambda: True))
            store.meanwhile = lambda: models.remove("yolo")
            await until(lambda: "yolo" not in models and KEY not in store.values)
            models.append("yolo")
            await until(lambda: telling.are_told("yolo") and telling.are_told("other"))
            assert store.says(KEY, Phase.NONE)
            assert not task.done()
            task.cancel()

    asyncio.run(main())
