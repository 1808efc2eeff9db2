# SPDX-License-Identifier: AGPL-3.0-or-later
"""Versions judged by what the line shows: in shadow, approved or refused, and on probation, beside the one before."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from edgeagent.testing import children, wait_for
from tests.support.line import NodeHarness, assert_seamless

JUDGE = {
    "pairs": {"blind_frames": 10},
    "pace": {"least_fps": 10, "first_fps": 15, "most_fps": 20, "slower": 100},
}

OBJECTS = [(12.0, 12.0, 8.0, 8.0, 0.9, 0), (52.0, 12.0, 8.0, 8.0, 0.9, 0), (32.0, 52.0, 8.0, 8.0, 0.9, 0)]
"""The tiny networks see these, always the same ones, where a line has many."""


@pytest.fixture
def line(harness: NodeHarness) -> NodeHarness:
    """`good` serves, `better` finds the same, `blind` loads well and finds nothing."""
    harness.config["update"] |= {"probation": {"seconds": 600}, "judge": JUDGE}
    harness.publish("good", boxes=OBJECTS)
    harness.publish("better", boxes=OBJECTS)
    harness.publish("blind", boxes=[])
    harness.promote("good")
    harness.start("good")
    harness.wait_more(5)
    return harness


def ask_for(line: NodeHarness, version: str, **terms: Any) -> None:
    """Write the intent."""
    line.promote(json.dumps({"version": version, **terms}))


def shadow_of(line: NodeHarness) -> dict[str, Any]:
    """What the status says of the candidate in shadow, once both versions have seen a frame."""

    def look() -> dict[str, Any] | None:
        candidate = line.model()["candidate"]
        shadow = (candidate or {}).get("shadow")
        return shadow if shadow and shadow["pairs"] else None

    return wait_for(look, "a frame seen by both")


def test_approved_in_shadow_watched_on_probation_and_taken_back(line: NodeHarness) -> None:
    """A good version comes in on a person's word; a blind one is taken back by what the line shows, without a frame
    lost, and one in shadow serves none."""
    ask_for(line, "better", approval="manual", probation={"seconds": 1})
    line.wait_state("SHADOW")
    shadow = shadow_of(line)
    assert (shadow["against"], shadow["waits_for"]) == ("good", "approval")
    assert shadow["pairs"]["frames"] > 0
    status, answer = line.post("/api/models/yolo/approve", {"version": "good", "by": "Ada"})
    assert (status, answer["error"]["why"]) == (409, "better is on its way in by now, not good")
    status, _ = line.post("/api/models/yolo/approve", {"version": "better", "by": "Ada"})
    assert status == 200
    line.wait_served("better")
    line.wait_state("STABLE")
    approval = line.wait_history("approved", "better")
    assert approval["who"].startswith("Ada from")
    assert line.wait_history("swapped", "better")["watches"]["shadow"]["frames"] > 0
    status, _ = line.post("/api/models/yolo/approve", {"version": "better"})
    assert status == 409

    ask_for(line, "blind")
    record = line.wait_history("rolled_back", "better")
    assert "it finds nothing" in record["why"]
    assert record["from_version"] == "blind"
    line.wait_active("better")

    ask_for(line, "blind", shadow={"seconds": 600}, reason="once more", again=True)
    refused = line.wait_history("rejected", "blind")
    assert "it finds nothing" in refused["why"]
    assert refused["watches"]["shadow"]["frames"] >= 10
    found = line.wait_more(3)
    assert_seamless(found)
    assert len({r["epoch"] for r in found if r["version"] == "blind"}) == 1  # on probation; in shadow none
    assert line.status()["pipelines"]["line-1"]["dropped"] == 0


@pytest.mark.soak
@pytest.mark.parametrize("stage", ["SHADOW", "PROBATION"])
def test_killed_while_a_version_is_judged(line: NodeHarness, stage: str) -> None:
    """kill -9 of the node: no process stays, and it starts with the version that is known to be good."""
    ask_for(line, "better", **({"approval": "manual"} if stage == "SHADOW" else {}))
    line.wait_state(stage)
    workers = children(line.pid)
    line.kill()
    assert_seamless(line.records())
    line.start("good")
    found = line.wait_more(5)
    assert found[0]["version"] == "good"
    assert not set(workers) & set(children(line.pid))
    line.wait_state(stage)  # what was asked for is tried again


@pytest.mark.soak
@pytest.mark.parametrize("sent", [signal.SIGSEGV, signal.SIGSTOP], ids=["crash", "hang"])
def test_one_failure_on_probation_is_enough(line: NodeHarness, sent: signal.Signals) -> None:
    """The version before serves again, has the frame that was in work, and none is lost."""
    ask_for(line, "better")
    line.wait_served("better")
    pid = line.engine_pid("better")
    assert pid is not None
    os.kill(pid, sent)
    record = line.wait_history("rolled_back", "good")
    assert ("SIGSEGV" if sent is signal.SIGSEGV else "it hung") in record["why"]
    found = line.wait_more(5)
    assert_seamless(found)
    assert line.status()["pipelines"]["line-1"]["dropped"] == 0
