# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alarms of the system itself: what raises them and clears them, and which of them is only a consequence of another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeagent.core.alarms import Condition, Key
from edgeagent.core.alarms.refusal import refused_version
from edgeagent.core.alarms.system import (
    SYSTEM_RULES,
    ModelFacts,
    PipelineFacts,
    Refused,
    SinkFacts,
    SystemFacts,
    SystemLimits,
)
from edgeagent.core.alarms.system_watch import SystemWatch, cause_of
from edgeagent.core.directive import Directive
from edgeagent.core.lifecycle import Stage
from edgeagent.core.state import Goal, Override, Rejection, State, VersionRef

LINE = PipelineFacts("line-1", "yolo", "running")
YOLO = ModelFacts("yolo", "v1", ready=True)
WELL = SystemFacts((LINE,), (YOLO,), free_bytes=10**10)


def facts(line: dict[str, Any] | None = None, yolo: dict[str, Any] | None = None, **node: Any) -> SystemFacts:
    """A node that is well but for this."""
    return replace(
        WELL, pipelines=(replace(LINE, **(line or {})),), models=(replace(YOLO, **(yolo or {})),), **node
    )


def raised(seen: SystemFacts, seconds: int = 600, limits: SystemLimits | None = None) -> dict[str, int]:
    """What is active at the end, by rule, and since which second."""
    watch, since = SystemWatch(limits or SystemLimits()), {}
    for now in range(seconds):
        judged = watch.observe(seen, float(now))
        since = {key.rule: since.get(key.rule, now) for key in judged.active}
    return since


REFUSED = Refused("v2", "it finds nothing", rolled_back=False)


@pytest.mark.parametrize(
    ("seen", "rules"),
    [
        (WELL, {}),
        (facts(line={"state": "lost", "why": "no frame for 10 s"}), {"camera_lost": 10}),
        (facts(line={"state": "absent"}), {"camera_lost": 10}),
        (facts(line={"state": "starting"}), {}),  # nothing is known yet
        (facts(line={"state": "ended"}), {}),
        (facts(line={"state": "frozen"}), {"camera_frozen": 0}),
        (facts(yolo={"ready": False}), {"engine_restarting": 0}),
        (facts(yolo={"ready": False, "serves": None}), {}),  # the first version is on its way
        (facts(yolo={"refused": REFUSED}), {"version_refused": 0}),
        (facts(yolo={"refused": replace(REFUSED, rolled_back=True)}), {"version_rolled_back": 0}),
        (facts(yolo={"orphaned": "nobody leads"}), {"rollout_orphaned": 0}),
        (facts(disk_error="No space left"), {"disk": 0}),
        (facts(free_bytes=1000), {"disk": 0}),
        (facts(config_store="refused"), {"config_store": 300}),
        (facts(api="port 8080 is taken"), {"api": 30}),
        (facts(line={"unusable": {"r": "v2 has no class x"}}), {"rule_unusable": 0}),
    ],
)
def test_what_raises_one(seen: SystemFacts, rules: dict[str, int]) -> None:
    """Each after its delay."""
    assert raised(seen) == rules


@pytest.mark.parametrize("rule", list(SYSTEM_RULES))
def test_each_can_be_turned_off(rule: str) -> None:
    """Then nothing is raised, and it is nobody's cause."""
    seen = facts(
        line={"state": "lost", "unusable": {"r": "x"}}, yolo={"refused": REFUSED}, disk_error="x", api="x"
    )
    limits = SystemLimits({rule: replace(SYSTEM_RULES[rule], enabled=False)})
    judged = SystemWatch(limits).observe(seen, 0.0)
    assert rule not in {key.rule for key in (*judged.active, *judged.causes)}


def test_it_clears_after_a_while_and_short_ones_are_none() -> None:
    """A camera that comes back within the delay raises nothing; one that is back for a moment clears nothing."""
    watch, lost, key = (
        SystemWatch(SystemLimits()),
        facts(line={"state": "lost"}),
        Key("camera_lost", "line-1"),
    )
    told = []
    for now in range(60):
        seen = lost if now < 5 or 20 <= now < 40 or 42 <= now < 45 else WELL
        told.append(key in watch.observe(seen, float(now)).active)
    assert [now for now in range(60) if told[now]] == list(range(30, 50))


def test_what_is_not_known_changes_nothing() -> None:
    """After a restart of the node, the camera that was lost is so until it is known how it is."""
    key = Key("camera_lost", "line-1")
    watch = SystemWatch(SystemLimits(), active=[key])
    judged = watch.observe(facts(line={"state": "starting"}), 0.0)
    assert key not in judged.active
    assert key not in judged.inactive
    for now in range(1, 10):
        judged = watch.observe(WELL, float(now))
    assert key in judged.inactive


def test_what_is_gone_has_no_alarm() -> None:
    """A pipeline that was taken out of the configuration."""
    watch = SystemWatch(SystemLimits())
    for now in range(20):
        watch.observe(facts(line={"state": "lost"}), float(now))
    judged = [watch.observe(replace(WELL, pipelines=()), float(now)) for now in range(20, 30)]
    assert not judged[-1].active
    assert any(Key("camera_lost", "line-1") in seen.inactive for seen in judged)


def test_frames_without_a_result() -> None:
    """More than half of them over a minute, with what is to blame most."""
    watch, seen = SystemWatch(SystemLimits()), {}
    for now in range(200):
        busy = 20 * min(now, 100)
        line = {"captured": 30 * now, "dropped": {"busy": busy, "stale": 1}}
        for key, said in watch.observe(facts(line=line), float(now)).active.items():
            seen.setdefault(key.rule, (now, said.text))
            assert said.text == seen[key.rule][1]  # else it would be told each second
    assert list(seen) == ["frames_dropped"]
    assert seen["frames_dropped"][0] == 60
    assert (
        "50% or more of the frames of the last 60 s have no result: the engine is too slow"
        in seen["frames_dropped"][1]
    )
    assert not watch.observe(facts(line={"captured": 6000, "dropped": {"busy": 2000}}), 200.0).active


@pytest.mark.parametrize(
    ("type", "disk_error", "told"), [("jsonl", "", True), ("jsonl", "full", False), ("mqtt", "full", True)]
)
def test_records_that_are_lost(type: str, disk_error: str, told: bool) -> None:
    """Each loss counts; what a full disk loses is told by the disk's alarm."""
    watch = SystemWatch(SystemLimits())
    for now in range(3):
        sink = SinkFacts("a.jsonl", type, lost=now)
        judged = watch.observe(facts(line={"sinks": (sink,)}, disk_error=disk_error), float(now))
    assert ("sink" in {key.rule for key in judged.active}) is told


def test_an_engine_that_comes_back_within_a_second() -> None:
    """Is told all the same, and with each time once."""
    watch, told = SystemWatch(SystemLimits()), []
    for now in range(100):
        judged = watch.observe(facts(yolo={"restarts": int(now >= 10) + int(now >= 20)}), float(now))
        told.append(bool(judged.active))
    assert [now for now in range(100) if told[now]] == list(range(10, 55))


ABSENT = Condition("r", "absent", "warning", "t", "", "line-1", "yolo")
SEEN = replace(ABSENT, kind="present")
DROPPED = replace(ABSENT, rule="frames_dropped", kind="frames_dropped")
RESTARTING = Condition("engine_restarting", "engine_restarting", "warning", "t", model="yolo")
ORPHANED = Condition("rollout_orphaned", "rollout_orphaned", "warning", "t", model="yolo")


@pytest.mark.parametrize(
    ("what", "cause", "is_consequence"),
    [
        (ABSENT, Key("camera_lost", "line-1"), True),
        (ABSENT, Key("camera_lost", "line-2"), False),
        (ABSENT, Key("camera_frozen", "line-1"), True),
        (ABSENT, Key("engine_restarting", "", "yolo"), True),
        (ABSENT, Key("engine_restarting", "", "other"), False),
        (ABSENT, Key("disk"), False),
        (SEEN, Key("camera_lost", "line-1"), False),  # somebody is in the cell, whatever the camera does then
        (DROPPED, Key("camera_lost", "line-1"), True),
        (DROPPED, Key("engine_restarting", "", "yolo"), True),
        (ORPHANED, Key("config_store"), True),
        (RESTARTING, Key("version_rolled_back", "", "yolo"), False),
    ],
)
def test_one_cause_one_alarm(what: Condition, cause: Key, is_consequence: bool) -> None:
    """What follows from something that is known has no alarm of its own."""
    assert (cause_of(what, {cause}) == cause) is is_consequence


def test_what_the_version_did_before_it_was_taken_back() -> None:
    """The crashes for which it was are part of that; those of the version after it are not."""
    cause = Key("version_rolled_back", "", "yolo")
    assert cause_of(RESTARTING, {cause}, was_raised=True) == cause
    assert cause_of(RESTARTING, {cause}) is None


V1, V2 = VersionRef("v1", "d1"), VersionRef("v2", "d2")
ASKED = Directive("v2", "key@7")


def rejected(stage: Stage, intent: str = "key@7") -> Rejection:
    """Of v2."""
    return Rejection("v2", "d2", intent, stage, "why")


@pytest.mark.parametrize(
    ("state", "refused"),
    [
        (State("yolo"), None),
        (State("yolo", ASKED, active=V1), None),  # on its way
        (
            State("yolo", ASKED, active=V1, rejections=(rejected(Stage.GATING),)),
            Refused("v2", "why", False, "GATING"),
        ),
        (State("yolo", ASKED, rejections=(rejected(Stage.WARMING),)), Refused("v2", "why", False, "WARMING")),
        (
            State("yolo", ASKED, active=V1, rejections=(rejected(Stage.PROBATION),)),
            Refused("v2", "why", True, "PROBATION"),
        ),
        (
            State("yolo", ASKED, active=V1, rejections=(rejected(Stage.GATING, "key@6"),)),
            None,
        ),  # another intent
        (State("yolo", ASKED, active=V2, rejections=(rejected(Stage.PROBATION),)), None),  # it serves on
        (
            State(
                "yolo",
                ASKED,
                Override(Goal(Directive("v1", "rollback@3", "ann")), "rollback"),
                active=V1,
                rejections=(rejected(Stage.STABLE),),
            ),
            None,  # somebody took it back
        ),
        (
            State(
                "yolo",
                ASKED,
                Override(Goal(Directive("v1", "sentinel@3", "edgeagent")), "sentinel"),
                active=V1,
                rejections=(rejected(Stage.STABLE, "key@5"),),
            ),
            Refused("v2", "why", True, "STABLE"),  # it kept failing
        ),
    ],
)
def test_versions_that_do_not_serve(state: State, refused: Refused | None) -> None:
    """Refused, or taken back by the node itself."""
    assert refused_version(state) == refused
