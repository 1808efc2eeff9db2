# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a coordinator has to say of itself."""

from __future__ import annotations

import pytest

from edgeagent.core.coordination import Coordination
from edgeagent.core.leader import Leader
from edgeagent.core.rollout import Plan, Rollout, Status

PAUSED = Rollout("r1", Plan("v2", "v1", "7", "salt"), status=Status.PAUSED, wave=1, why="by hand")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (Coordination(), "waits for the lead"),
        (Coordination(leader=Leader("x", "press-07", 12, 1.0)), "waits: press-07 (pid 12) leads"),
        (Coordination(leads=True), "leads; there is no roll-out"),
        (
            Coordination(leads=True, broken={"yolo": "it is no JSON"}),
            "leads; yolo: can't be carried on: it is no JSON",
        ),
        (
            Coordination(leads=True, rollouts={"yolo": PAUSED}),
            "leads; yolo: r1 to v2 is paused, wave 2 of 4 (by hand)",
        ),
        (Coordination(leads=True, failure="etcd is away"), "no answer: etcd is away"),
    ],
)
def test_what_it_has_to_say_in_words(state: Coordination, words: str) -> None:
    """For `systemctl status`."""
    assert state.in_words() == words
