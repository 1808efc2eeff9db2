# SPDX-License-Identifier: AGPL-3.0-or-later
"""A disk that fills up in the middle of what is written to it."""

from __future__ import annotations

import errno
import os


class DiskWith:
    """Stands for `os.write`: takes so many bytes (`room`), and then no more until there is room again."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.write

    def __call__(self, fd: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = self._write(fd, data[: self.room])
        self.room -= done
        return done
