# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an etcd server says of itself: its alarms, how full it is, how far its log has come."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

import grpc  # type: ignore[import-untyped]

from edgeagent.errors import EdgeAgentError
from edgeagent.intent.etcd_client import FULL, FULL_TODO, Client
from edgeagent.intent.etcd_messages import rpc

_STATUS = attrgetter("maintenance.Status")
_LARGE = 200_000_000  # bytes; the quota is 2 GB unless told otherwise


@dataclass(frozen=True)
class Health:
    """One server's view. raft_index: entries of the log since the cluster was made or restored. Sizes in bytes.

    errors: alarms and the like, in etcd's words.
    """

    errors: tuple[str, ...] = ()
    raft_index: int = 0
    database: int = 0
    in_use: int = 0

    @property
    def warning(self) -> str:
        """What is wrong with a server that can be read even so; "" if all is well."""
        if any("NOSPACE" in error for error in self.errors):
            return f"{FULL}; {FULL_TODO}"
        return "; ".join(self.errors)


def ask_health(client: Client) -> Health | None:
    """Of the endpoint in use; None where it doesn't tell."""
    try:
        answer = client.call_once(_STATUS, rpc.StatusRequest())
    except (grpc.RpcError, EdgeAgentError):
        return None
    return Health(
        tuple(error.decode(errors="replace")[:200] for error in answer.errors),
        answer.raftIndex,
        answer.dbSize,
        answer.dbSizeInUse or answer.dbSize,  # 0: etcd before 3.4 doesn't tell
    )


def compaction_advice(revisions: int, health: Health) -> str:
    """What to do about a history of so many revisions, of which none was ever dropped."""
    size = f"{health.database / 1e6:.1f} MB"
    return (
        f"it keeps all of its {revisions} revisions ({size}): no compaction has run. Start etcd with "
        "--auto-compaction-mode=periodic --auto-compaction-retention=1h, else it is full one day (2 GB unless "
        "--quota-backend-bytes says more; a node writes up to 300 revisions a day while little changes) and takes no "
        "writing any more"
    )


def room_advice(health: Health) -> str:
    """What to do about a file that stays large although little in it is in use; "" where it is as it should be."""
    if health.database < _LARGE or health.in_use > health.database / 4:
        return ""
    return (
        f"its file has {health.database / 1e6:.0f} MB, of which {health.in_use / 1e6:.0f} are in use. Make it smaller, "
        "member by member: etcdctl defrag"
    )
