# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a process and its children take from the machine, as /proc tells."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgeagent.testing import children

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """One look at a node. Memory in megabytes (PSS: shared pages counted in part), the rest are counts."""

    node_rss: float
    node_pss: float
    all_pss: float
    descriptors: int
    threads: int
    processes: int
    shared_memory: int


def usage(pid: int) -> Usage:
    """The node `pid` with its workers, now."""
    workers = children(pid)
    node_pss = pss_mb(pid)
    return Usage(
        node_rss=_status_kb(pid, "VmRSS") / 1024,
        node_pss=node_pss,
        all_pss=node_pss + sum(pss_mb(p) for p in workers),
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),
        threads=len(os.listdir(f"/proc/{pid}/task")),
        processes=1 + len(workers),
        shared_memory=_memfds(pid),
    )


def cpu_seconds(pid: int) -> float:
    """User and system time of one process so far, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def pss_mb(pid: int) -> float:
    """Proportional set size of one process; 0 when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass  # it has just ended
    return 0.0


def _memfds(pid: int) -> int:
    """The frame rings that one process has open."""
    count = 0
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with suppress(OSError):  # it has just been closed
            count += os.readlink(entry).startswith("/memfd:")
    return count


def _status_kb(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return float(line.split()[1])
    return 0.0
