# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files that somebody else named, or put there: opened only where they are files."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}


def open_plain_file(path: Path) -> BinaryIO:
    """To be read; a link is followed. Raises OSError, also for what is no file: its `strerror` says what it is."""
    # Without blocking: opening a FIFO would wait for a writer, and a terminal would become that of the process.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    kind = stat.S_IFMT(os.fstat(fd).st_mode)
    if kind != stat.S_IFREG:
        os.close(fd)
        raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'a device')}, not a file", str(path))
    return open(fd, "rb")
