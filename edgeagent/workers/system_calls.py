# SPDX-License-Identifier: AGPL-3.0-or-later
"""System calls that a sandbox (seccomp) or an old kernel may deny, each with another way to the same."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress

_DENIED = (errno.EPERM, errno.EACCES, errno.ENOSYS)
_IN_MEMORY = "/dev/shm"


def exit_fd(pid: int) -> int:
    """A descriptor that becomes readable when the child `pid` has ended; it stays to be reaped. Raises OSError.

    A pidfd; or the end of a pipe, which a thread closes.
    """
    try:
        return os.pidfd_open(pid)
    except AttributeError:  # a Python that was built for older kernels
        pass
    except OSError as e:
        if e.errno not in _DENIED:
            raise
    reader, writer = os.pipe()
    threading.Thread(target=_close_at_end, args=(pid, writer), name=f"end of {pid}", daemon=True).start()
    return reader


def _close_at_end(pid: int, writer: int) -> None:
    try:
        with suppress(ChildProcessError):  # reaped already
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    finally:
        os.close(writer)


def anonymous_memory(name: str, size: int) -> int:
    """A descriptor of `size` bytes of memory without a name in any folder: it goes with the last process that holds it.

    A memfd, which the kernel shows under `name`; or a nameless file in /dev/shm, all of it reserved. Raises OSError.
    """
    try:
        fd = os.memfd_create(name)
        os.ftruncate(fd, size)
        return fd
    except AttributeError:
        denied = "memfd_create is missing"
    except OSError as e:
        if e.errno not in _DENIED:
            raise
        denied = "memfd_create is denied"
    try:
        fd = os.open(_IN_MEMORY, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)  # a full /dev/shm would kill whoever writes to it
        except OSError:
            os.close(fd)
            raise
    except OSError as e:
        remedy = f"allow the call, or make room for {size} bytes in {_IN_MEMORY}"
        raise OSError(e.errno, f"{denied}, and {_IN_MEMORY} can't be used ({e.strerror}): {remedy}") from e
    return fd
