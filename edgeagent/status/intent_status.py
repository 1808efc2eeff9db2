# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node says of its sources of intent."""

from __future__ import annotations

from collections.abc import Iterable

from edgeagent.core.text import redact
from edgeagent.intent.url import find_adapter
from edgeagent.intent.watcher import WatchedSource
from edgeagent.status.schema import IntentSourceStatus


def source_statuses(sources: Iterable[WatchedSource]) -> list[IntentSourceStatus]:
    """Each source, in the order in which they decide."""
    return [
        IntentSourceStatus(
            url=redact(s.source.url),
            connected=s.connection.connected,
            why=s.connection.why or None,
            kind=find_adapter(s.source.url).kind,
            decides=sorted(s.decides),
        )
        for s in sources
    ]
