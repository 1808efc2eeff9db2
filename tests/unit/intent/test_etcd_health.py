# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is advised about an etcd, by what it says of itself."""

from __future__ import annotations

import pytest

from edgeagent.intent.etcd_health import Health, compaction_advice, room_advice

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
