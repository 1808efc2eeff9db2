# SPDX-License-Identifier: AGPL-3.0-or-later
"""What became of an audit log since it was written: whether its records are those, and in that order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeagent.core.receipts import ChainReport, Line, Link, check_chain
from edgeagent.errors import UnavailableError
from edgeagent.observe.chained_file import Snapshot, open_chain

FILE_NAME = "audit.jsonl"
REFUSED_FILE_NAME = "refused.jsonl"
KEEP, KEEP_REFUSED = 5, 1
"""How many older files of each stay."""


def check_folder(folder: Path, anchors: Sequence[Link] = ()) -> dict[str, ChainReport]:
    """What became of both chains in a state folder, as `AuditLog.check` says it; also of a node that runs there.

    Raises UnavailableError when it can't be read.
    """
    try:
        return {
            FILE_NAME: check_snapshot(open_chain(folder / FILE_NAME, KEEP), anchors),
            REFUSED_FILE_NAME: check_snapshot(open_chain(folder / REFUSED_FILE_NAME, KEEP_REFUSED)),
        }
    except OSError as e:
        raise UnavailableError(f"the audit log in {folder}", str(e), "run it as the node's user") from e


def check_snapshot(snapshot: Snapshot, anchors: Sequence[Link] = (), gently: bool = False) -> ChainReport:
    """What became of a chain. gently: let others have the processor, three parts in four. Raises OSError."""
    try:
        lines = _gently(snapshot.lines()) if gently else snapshot.lines()
        return check_chain(lines, snapshot.head.first, (*anchors, snapshot.head.last))
    finally:
        snapshot.close()


def _gently(lines: Iterator[Line]) -> Iterator[Line]:
    """The same, with pauses: a thread that computes holds up the one of the frames by milliseconds each time."""
    begin = time.thread_time()
    for line in lines:
        yield line
        if (used := time.thread_time() - begin) > 0.0005:
            time.sleep(3 * used)
            begin = time.thread_time()
