# SPDX-License-Identifier: AGPL-3.0-or-later
"""The folder of the state: there, writable, with room, on a disk that keeps it, fast enough, and nobody else's."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import FAIL, OK, WARN, Finding, attempt
from edgeagent.util.writable import check_writable

LOW_DISK_BYTES = 2 << 30
NO_DISK_BYTES = 200 << 20
SLOW_S = 0.1
"""A small write that reaches the disk later than this holds up swaps: they wait until they are kept."""
_TRIES = 5
_IN_MEMORY = ("tmpfs", "ramfs", "overlay")
_OVER_THE_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs")


def folder_of(x: Examination) -> Path:
    """The state folder, or the nearest one that is there: the node creates what is missing."""
    folder = x.config.node.state_dir
    while not folder.exists():
        folder = folder.parent
    return folder


def writable(x: Examination) -> Iterator[Finding]:
    """Found out by writing."""
    yield attempt("state_dir", lambda: check_writable(folder_of(x)))


def room(x: Examination) -> Iterator[Finding]:
    """On its disk."""
    folder = folder_of(x)
    free = shutil.disk_usage(folder).free
    text = f"{free >> 20} MB free at {folder}"
    if free < LOW_DISK_BYTES:
        todo = f"make room: {x.config.update.keep_versions} versions and the logs must fit"
        yield Finding(FAIL if free < NO_DISK_BYTES else WARN, "disk", text, todo)
    else:
        yield Finding(OK, "disk", text)


def kept(x: Examination) -> Iterator[Finding]:
    """Whether the disk outlives a restart of the machine, and is this machine's own."""
    point, kind = x.machine.mount_of(folder_of(x).resolve())
    if kind in _IN_MEMORY:
        what = "is in memory" if kind != "overlay" else "belongs to a container, and goes with it"
        yield Finding(
            WARN,
            "state_dir",
            f"{point} ({kind}) {what}: after a restart the node knows no version, and waits for the stores",
            "set node.state_dir to a disk (in a container: a volume)",
        )
    elif kind in _OVER_THE_NETWORK:
        yield Finding(
            WARN,
            "state_dir",
            f"{point} is on the network ({kind}): without it the node decides nothing, and locks may not hold",
            "set node.state_dir to a disk of this machine",
        )


def locked(x: Examination) -> Iterator[Finding]:
    """Whether another node runs on it."""
    pid = x.runs_on
    if pid is None:
        return
    if x.is_running:
        yield Finding(OK, "node", f"it runs with this configuration, as process {pid}")
        return
    command = " ".join(x.machine.command(pid))[:200]
    text = f"process {pid} runs on {x.config.node.state_dir}{f': {command}' if command else ''}"
    todo = "unless that is this node, started otherwise: give this one a node.state_dir of its own"
    yield Finding(FAIL if command and x.file else WARN, "state_dir", text, todo)


def speed(x: Examination, clock: Callable[[], float] = time.perf_counter) -> Iterator[Finding]:
    """How long a small write takes to reach the disk."""
    took = []
    try:
        with tempfile.NamedTemporaryFile(dir=folder_of(x), prefix=".doctor-") as f:
            for _ in range(_TRIES):
                began = clock()
                f.write(b"x" * 4096)
                f.flush()
                os.fsync(f.fileno())
                took.append(clock() - began)
    except OSError:
        return  # said already
    median = statistics.median(took)
    text = f"a small write reaches the disk in {median * 1000:.1f} ms"
    if median > SLOW_S:
        todo = "use a faster disk for node.state_dir (an SD card that wears out is one cause)"
        yield Finding(WARN, "disk", f"{text}: each swap waits for some", todo)
    else:
        yield Finding(OK, "disk", text)
