# SPDX-License-Identifier: AGPL-3.0-or-later
"""What each worker does first: die with the node, open its channel. And the priority of workers."""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from edgeagent.workers.channel import NodeGoneError, WorkerChannel

_PR_SET_PDEATHSIG = 1
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_IDLE = 3 << 13
LEAST_NICE = 19


def worker_main(serve: Callable[[WorkerChannel, Any], None], *tasks: type) -> None:
    """Run a worker: `python -m edgeagent.workers.<kind> FD NODE_PID [LIBRARY …]`.

    The libraries are modules to import while there is nothing to do yet. serve(channel, task) is called with the
    first message, which must be one of `tasks`. Returns when it does, or when the node is gone.
    """
    fd, node_pid = int(sys.argv[1]), int(sys.argv[2])
    _die_with(node_pid)
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The kernel should take a worker before the node, and before anything else on the machine.
    _write("/proc/self/oom_score_adj", "900")
    channel = WorkerChannel(socket.socket(fileno=fd))
    for library in sys.argv[3:]:
        with suppress(Exception):  # who needs it will say what is wrong with it
            importlib.import_module(library)
    try:
        task = channel.receive()
        if not isinstance(task, tasks):
            raise SystemExit(f"the first message is {task!r}, not a task for this worker")
        serve(channel, task)
    except NodeGoneError:
        pass
    sys.stderr.flush()
    # Runtimes can hang or crash in their destructors; there is nothing here that would need them.
    os._exit(0)


def lower_priority(pid: int, nice: int = LEAST_NICE) -> None:
    """CPU priority `nice`, unless it is lower already, and the least I/O priority, for a process of one thread and all
    that this starts. Needs no privilege.

    Raises ProcessLookupError; OSError where the system denies it.
    """
    os.setpriority(os.PRIO_PROCESS, pid, max(nice, os.getpriority(os.PRIO_PROCESS, pid)))
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        ctypes.CDLL(None, use_errno=True).syscall(number, _IOPRIO_WHO_PROCESS, pid, _IOPRIO_IDLE)


def lower_priority_of_all(pid: int) -> None:
    """The least of both for a process with all threads that it has; see `raise_priority` for the way back. Raises
    OSError when it is gone."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with suppress(ProcessLookupError):  # the thread has ended
            lower_priority(int(task))


def can_raise_priority() -> bool:
    """Whether this process may go back from low to normal priority (CAP_SYS_NICE, or LimitNICE= in the unit)."""
    import resource

    nice = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)  # changes nothing, and a sandbox may deny even that
        soft, _ = resource.getrlimit(resource.RLIMIT_NICE)
        if soft == resource.RLIM_INFINITY or soft >= 20:
            return True
        # Tried, for the capability alone says nothing: in a user namespace (rootless containers) it is not enough.
        os.setpriority(os.PRIO_PROCESS, 0, nice - 1)
    except OSError:
        return False
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    return True


def raise_priority(nice: int, pid: int | None = None) -> None:
    """CPU priority `nice` and normal I/O priority, for all threads of this process or of `pid`; see
    `can_raise_priority`. Raises OSError when that process is gone."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = _IOPRIO_SET.get(os.uname().machine)
    for task in os.listdir(f"/proc/{pid or 'self'}/task"):
        os.setpriority(os.PRIO_PROCESS, int(task), nice)
        if number is not None:
            libc.syscall(number, _IOPRIO_WHO_PROCESS, int(task), 0)


def _die_with(node_pid: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != node_pid:  # it died before the line above
        os._exit(1)


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w") as f:
            f.write(text)
    except OSError as e:
        print(f"cannot write {path}: {e}", file=sys.stderr)
