# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is advised about an etcd, by what it says of itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from edgeagent.intent.etcd_client import Client
from edgeagent.intent.etcd_health import Health, ask_health, compaction_advice, room_advice
from edgeagent.intent.etcd_messages import rpc

MB = 1_000_000


@pytest.mark.parametrize(
    ("database", "in_use", "says"),
    [
        (1500 * MB, 20 * MB, "1500 MB, of which 20 are in use"),
        (1500 * MB, 1400 * MB, ""),
        (20 * MB, MB, ""),  # small enough
        (0, 0, ""),  # it doesn't tell
    ],
)
def test_a_file_that_stays_large(database: int, in_use: int, says: str) -> None:
    """Compaction frees what is in it, and only defragmenting makes it smaller."""
    said = room_advice(Health(database=database, in_use=in_use))
    assert says in said
    assert ("etcdctl defrag" in said) == bool(says)


def test_a_history_that_is_never_compacted() -> None:
    """How to start etcd."""
    assert "--auto-compaction-retention=1h" in compaction_advice(5000, Health(database=30 * MB))


@pytest.mark.parametrize(
    ("answer", "health"),
    [
        (
            rpc.StatusResponse(dbSize=9, dbSizeInUse=4, raftIndex=60, errors=[b"alarm:NOSPACE ", b"\xff"]),
            Health(("alarm:NOSPACE ", "\ufffd"), 60, 9, 4),
        ),
        (rpc.StatusResponse(dbSize=9, raftIndex=60), Health((), 60, 9, 9)),
    ],
)
def test_what_a_server_says_of_itself(answer: object, health: Health) -> None:
    """Before etcd 3.4 it tells neither alarms nor what is in use; text that is none costs nothing else."""
    client = SimpleNamespace(call_once=lambda method, request: answer)
    assert ask_health(cast("Client", client)) == health
