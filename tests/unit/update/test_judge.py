# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is compared with what, and when that begins."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeagent.core.events import Event, PastJudged
from edgeagent.core.pairs import PairSummary
from edgeagent.core.state import Probation as Watch
from edgeagent.core.state import State, ThisRun
from edgeagent.serving.artifact import Artifact
from edgeagent.serving.tap import TAP_FRAMES
from edgeagent.update import judge as module
from edgeagent.update.judge import Judge, JudgeSettings
from tests.support.routing import CONTRACT, FakeEngine, RouterHarness

MOST = TAP_FRAMES - 1
"""Of the tap's slots, so that none is left for a comparison."""


class Probation:
    """v2 serves and is watched, beside v1; `names`: of v2's classes."""

    def __init__(self, names: tuple[str, ...] = CONTRACT.names) -> None:
        self.node = RouterHarness()
        self.before, self.serving = self.node.engine("v1"), self.node.swap("v2")
        contract = replace(CONTRACT, names=names)
        self.serving.artifact = cast(Artifact, SimpleNamespace(ref=self.serving.ref, contract=contract))
        for engine in (self.before, self.serving):
            engine.frame_ms = 5.0
        held = {engine.ref: engine for engine in (self.before, self.serving)}
        engines: Any = SimpleNamespace(serving=self.serving, held=held.get, all=[*held.values()])
        self.told: list[Event] = []
        self.judge = Judge(self.node.router, engines, JudgeSettings(), self.told.append)
        refs = {"active": self.serving.ref, "standby": self.before.ref}
        self.state = State("yolo", **refs, stable_versions=(self.before.ref,), probation_until=1e9)


@pytest.fixture(autouse=True)
def no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker is there to be hurried."""
    monkeypatch.setattr(FakeEngine, "answer_within", lambda self, seconds: None)


def test_a_comparison_waits_for_the_slots_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame of that is being written as a picture: the whole probation would go by without a pair."""
    monkeypatch.setattr(module, "AGAIN_S", 0.0)

    async def live() -> None:
        probation = Probation()
        tap = probation.node.router.tap
        picture = tap.subscribe(lambda frame, record: None, fps=1.0, frames=MOST)
        probation.judge.follow(probation.state)
        await asyncio.sleep(0.01)
        free = tap._free
        picture.close()
        await asyncio.sleep(0.01)
        assert tap._free == free + MOST - 2
        probation.judge.close()
        assert tap._free == free + MOST

    asyncio.run(live())


def test_one_that_never_began_ends() -> None:
    """And doesn't begin later."""

    async def live() -> None:
        probation = Probation()
        tap = probation.node.router.tap
        picture = tap.subscribe(lambda frame, record: None, fps=1.0, frames=MOST)
        probation.judge.follow(probation.state)
        probation.judge.close()
        free = tap._free
        picture.close()
        await asyncio.sleep(0.01)
        assert tap._free == free + MOST

    asyncio.run(live())


def test_classes_that_a_version_may_lack_are_known_to_who_compares(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classes of both are told."""
    asked: list[tuple[Any, ...]] = []
    tally = module.PairTally
    monkeypatch.setattr(module, "PairTally", lambda *how: asked.append(how[1:]) or tally(*how))

    async def live() -> None:
        probation = Probation(names=("scratch",))
        probation.judge.follow(probation.state)
        probation.judge.close()

    asyncio.run(live())
    assert asked == [(("scratch", "dent"), ("scratch",))]


@pytest.mark.parametrize(
    ("has_standby", "pairs", "judged"),
    [
        (False, None, True),
        (True, None, True),
        (True, PairSummary(), True),
        (True, PairSummary(frames=1), False),
    ],
)
def test_what_nothing_is_compared_with_is_held_against_the_past(
    has_standby: bool, pairs: PairSummary | None, judged: bool
) -> None:
    """Without a standby, or as long as no pair came; and what the past doesn't suffice for is told."""

    async def live() -> list[Event]:
        probation = Probation()
        watch = Watch(0.0, 60.0, pairs=pairs)
        standby = probation.state.standby if has_standby else None
        state = replace(probation.state, standby=standby, run=ThisRun(probation=watch))
        probation.judge.follow(state)
        await asyncio.sleep(0)
        probation.judge.close()
        return probation.told

    told = asyncio.run(live())
    assert [type(event) for event in told] == [PastJudged] * judged
