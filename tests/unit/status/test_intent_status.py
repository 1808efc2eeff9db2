# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node says of its config store."""

from __future__ import annotations

import pytest

from edgeagent.intent.port import Connection
from edgeagent.status.intent_status import config_store_status

CONFLICT = "another process writes /edgeagent/nodes/n1, too"


@pytest.mark.parametrize(
    ("connection", "conflict", "why"),
    [
        (Connection(True), "", None),
        (Connection(True), CONFLICT, CONFLICT),
        (Connection(False, "refused"), "", "refused"),
        (Connection(True, "its database is full"), CONFLICT, f"its database is full; {CONFLICT}"),
    ],
)
def test_what_is_wrong_is_said(connection: Connection, conflict: str, why: str | None) -> None:
    """With the store, and with the node's id in it."""
    status = config_store_status("etcd://me:secret@a:2379", connection, conflict)
    assert (status.connected, status.why) == (connection.connected, why)
    assert "secret" not in status.url
