# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether an audit log is as it was written, for the API and the command line."""

from __future__ import annotations

from collections.abc import Mapping

from edgeagent.core.receipts import ChainReport, Link, parse_link
from edgeagent.errors import UsageError
from edgeagent.status.schema import HistoryCheck


def anchors_of(text: str) -> list[Link]:
    """The head that somebody kept, as they give it: none for "". Raises UsageError."""
    try:
        return [parse_link(text)] if text else []
    except ValueError as e:
        raise UsageError("the anchor", str(e), "give a head that `history --verify` printed") from e


def history_check(logs: Mapping[str, ChainReport]) -> HistoryCheck:
    """What became of all chains together."""
    return HistoryCheck(intact=not any(report.broken for report in logs.values()), logs=dict(logs))
