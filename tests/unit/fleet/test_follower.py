# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a node may begin a roll-out, and when it says that nobody leads one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from edgeagent.core.directive import Directive
from edgeagent.core.following import ORPHANED_AFTER_S, Followed, Part
from edgeagent.core.rollout import COORDINATOR_KEY, Status, rollout_key
from edgeagent.core.state import Goal, Override, State
from edgeagent.errors import UnavailableError, UsageError
from edgeagent.fleet import follower as follower_module
from edgeagent.fleet.follower import NO_LEADER, UNKNOWN_LEADER, UNSEEN, Follower
from edgeagent.intent.port import Expected, Outcome
from tests.support.rollout_seen import CURRENT, seen

PATIENCE_S = 30.0
WAITS = Followed(seen(), Part.WAITS, leader="3")


class PaperStore:
    """Answers checks as the test has put them down, the last one for ever; keeps what was asked."""

    def __init__(self, *answers: Outcome | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[Sequence[Expected]] = []
        self.held_up = threading.Event()
        self.held_up.set()

    def compare_and_set(self, expected: Sequence[Expected], writes: dict[str, bytes]) -> Outcome:
        assert writes == {}
        self.asked.append(expected)
        self.held_up.wait(PATIENCE_S)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Scene:
    """A follower of one model, and what it was given leave for."""

    def __init__(self, *answers: Outcome | Exception) -> None:
        self.store = PaperStore(*answers)
        self.state = State("yolo", CURRENT)
        self.follower = Follower("n1", {"line": "a"}, lambda model: self.state, cast("Any", self.store))
        self.follower.decide = self.decide
        self.leave: list[str] = []
        self.decided = asyncio.Event()

    def decide(self, model: str) -> None:
        assert model == "yolo"
        self.leave.append(self.follower.standing(model).granted)
        self.decided.set()

    async def until_decided(self) -> None:
        await asyncio.wait_for(self.decided.wait(), PATIENCE_S)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """On a loop of its own."""

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await scenario()

    asyncio.run(main())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks again at once."""
    monkeypatch.setattr(follower_module, "ASK_AGAIN_S", (0.0, 0.0))


def test_it_asks_for_the_document_and_the_leader_that_it_knows() -> None:
    """One look at both; leave is given for that writing of the document, once."""

    async def scenario() -> None:
        scene = Scene(Outcome.WRITTEN)
        scene.follower.saw("yolo", WAITS)
        await scene.until_decided()
        roll_out = Expected(rollout_key("yolo"), revision="7")
        assert scene.store.asked == [(roll_out, Expected(COORDINATOR_KEY, created="3"))]
        assert scene.leave == ["7"]
        assert scene.follower.standing("yolo").granted == ""

    run(scenario)


def test_it_does_not_begin_unseen() -> None:
    """What it does can't be written: nobody would notice what the version does to it. It begins once it can."""

    async def scenario() -> None:
        scene, seen_now = Scene(Outcome.WRITTEN), asyncio.Event()
        scene.follower.is_seen = lambda model: seen_now.is_set()
        scene.follower.saw("yolo", WAITS)
        while scene.follower.waits("yolo") != UNSEEN:
            await asyncio.sleep(0)
        assert scene.store.asked == []
        seen_now.set()
        await scene.until_decided()
        assert scene.leave == ["7"]

    run(scenario)


def test_it_asks_until_it_may() -> None:
    """Whoever leads is another by now, the store is away, or refuses the user: nothing begins, and the status says
    why."""

    async def scenario() -> None:
        away = UnavailableError("config store", "away", "wait")
        refused = UsageError("config store", "not allowed", "see the role")
        scene = Scene(Outcome.REFUSED, away, refused, Outcome.UNKNOWN, Outcome.WRITTEN)
        scene.follower.saw("yolo", WAITS)
        await scene.until_decided()
        assert len(scene.store.asked) == 5
        assert scene.leave == ["7"]

    run(scenario)


def test_why_it_waits() -> None:
    """In words for the status."""

    async def scenario() -> None:
        scene = Scene(UsageError("config store", "not allowed", "see the role"))
        assert scene.follower.waits("yolo") == ""
        scene.follower.saw("yolo", replace(WAITS, leader=""))
        assert scene.follower.waits("yolo") == NO_LEADER
        scene.follower.saw("yolo", replace(WAITS, leader=None))
        assert scene.follower.waits("yolo") == UNKNOWN_LEADER
        scene.follower.saw("yolo", replace(WAITS, seen=seen(Status.PAUSED)))
        assert scene.follower.waits("yolo") == "it is paused"
        scene.follower.saw("yolo", WAITS)
        while not scene.follower.waits("yolo"):
            await asyncio.sleep(0)
        assert "not allowed" in scene.follower.waits("yolo")
        await scene.follower.close()

    run(scenario)


@pytest.mark.parametrize(
    "followed",
    [
        replace(WAITS, leader=""),
        replace(WAITS, leader=None),
        replace(WAITS, pin=Directive("v9", "pin@1")),
        replace(WAITS, seen=seen(Status.PAUSED)),
        replace(WAITS, part=Part.HELD),
        replace(WAITS, part=Part.OUT),
        replace(WAITS, part=Part.FOLLOWS),
        Followed(None),
    ],
)
def test_when_there_is_nothing_to_ask(followed: Followed) -> None:
    """Without a leader, under a pin or a hold, or when it is paused."""

    async def scenario() -> None:
        scene = Scene(Outcome.WRITTEN)
        scene.follower.saw("yolo", followed)
        scene.follower.look(0.0, True)
        for _ in range(5):
            await asyncio.sleep(0)
        assert scene.store.asked == []

    run(scenario)


def test_an_answer_to_an_old_question_counts_for_nothing() -> None:
    """While it was on its way the roll-out was paused; or another leads."""

    async def scenario() -> None:
        scene = Scene(Outcome.WRITTEN)
        scene.store.held_up.clear()
        scene.follower.saw("yolo", WAITS)
        while not scene.store.asked:
            await asyncio.sleep(0.001)
        scene.follower.saw("yolo", replace(WAITS, seen=seen(Status.PAUSED, revision="8")))
        scene.store.held_up.set()
        scene.follower.saw("yolo", replace(WAITS, leader="9"))
        await scene.until_decided()
        assert [e[1].created for e in scene.store.asked] == ["3", "9"]
        assert scene.leave == ["7"]

    run(scenario)


def test_the_same_seen_again_asks_no_second_time() -> None:
    """The watch and the clock repeat themselves."""

    async def scenario() -> None:
        scene = Scene(Outcome.WRITTEN)
        scene.store.held_up.clear()
        for _ in range(5):
            scene.follower.saw("yolo", WAITS)
        while not scene.store.asked:
            await asyncio.sleep(0.001)
        scene.follower.saw("yolo", WAITS)
        scene.store.held_up.set()
        await scene.until_decided()
        assert len(scene.store.asked) == 1

    run(scenario)


def test_how_the_node_stands() -> None:
    """What the reconciler has, which survives a restart."""
    scene = Scene(Outcome.WRITTEN)
    scene.state = replace(scene.state, override=Override(Goal(Directive("v3", "api@1")), "promote"))
    me = scene.follower.standing("yolo")
    assert (me.model, me.node, dict(me.labels)) == ("yolo", "n1", {"line": "a"})
    assert (me.directive, me.held, me.granted) == (CURRENT, True, "")


def test_a_roll_out_that_nobody_leads_is_said_once() -> None:
    """After half a minute by this node's clock, if the store is there; a new leader ends it, and begins it anew."""
    scene = Scene(Outcome.WRITTEN)
    alone, led = Followed(seen(), leader=""), Followed(seen(), leader="4")
    with capture_logs() as logs:
        scene.follower.saw("yolo", alone)
        for now in (0.0, 1.0, ORPHANED_AFTER_S - 0.1):
            scene.follower.look(now, True)
            assert not scene.follower.is_orphaned("yolo")
        scene.follower.look(ORPHANED_AFTER_S + 1, False)
        assert not scene.follower.is_orphaned("yolo")
        for _ in range(5):
            scene.follower.look(ORPHANED_AFTER_S, True)
        assert scene.follower.is_orphaned("yolo")
        scene.follower.look(ORPHANED_AFTER_S + 1, False)
        assert scene.follower.is_orphaned("yolo")
        scene.follower.saw("yolo", led)
        scene.follower.look(50.0, True)
        assert not scene.follower.is_orphaned("yolo")
        scene.follower.saw("yolo", alone)
        scene.follower.look(51.0, True)
        scene.follower.look(51.0 + ORPHANED_AFTER_S - 1, True)
        assert not scene.follower.is_orphaned("yolo")
    assert [line["event"] for line in logs] == ["rollout.orphaned", "rollout.not_orphaned"]
    assert (logs[0]["rollout"], logs[0]["log_level"]) == ("r1", "error")


def test_it_is_decided_again_and_again() -> None:
    """A hold that has ended is noticed without any key that changes."""
    scene = Scene(Outcome.WRITTEN)
    scene.follower.saw("yolo", Followed(None))
    scene.follower.look(0.0, True)
    scene.follower.look(1.0, False)
    assert scene.leave == ["", ""]
