# SPDX-License-Identifier: AGPL-3.0-or-later
"""A file of lines that is rotated at its size, and holds whole lines only, whatever the disk does."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from edgeagent.util.durable import fsync_folder


class NotWrittenError(OSError):
    """The disk refused. The first `written` of the lines are in the file, the others are not."""

    def __init__(self, cause: OSError, written: int) -> None:
        super().__init__(cause.errno, cause.strerror or str(cause))
        self.written = written


class RotatingFile:
    """Appends to `path`, which becomes `path`.1 when it is full, and so on up to `path`.<keep>.

    What a full disk cuts off is taken back, what a power cut left is ended with a newline. A file that somebody moved
    or removed is made anew under its name. To be used from one thread at a time; the folder must exist.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        keep: int,
        *,
        durable: bool = False,
        before_drop: Callable[[list[Path]], None] = lambda staying: None,
    ) -> None:
        """durable: lines are on the disk, all of them or none, when `append` returns. before_drop: called before a file
        is dropped for good, with those that stay, newest first; where it raises OSError, nothing is written."""
        self._path, self._max_bytes, self._keep, self._durable = path, max_bytes, keep, durable
        self._before_drop = before_drop
        self._fd = -1
        self._size = 0

    @property
    def files(self) -> list[Path]:
        """All files there may be, newest first."""
        return [
            self._path,
            *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._keep + 1)),
        ]

    def append(self, lines: Iterable[bytes]) -> None:
        """Append lines, each with its newline, to one file. Raises NotWrittenError; the next call tries anew."""
        data = b"".join(lines)
        done = 0
        try:
            self._open_if_needed()
            if self._size and self._size + len(data) > self._max_bytes:
                self._rotate()
            while done < len(data):
                done += os.write(self._fd, data[done:])
            if self._durable:
                os.fsync(self._fd)
        except OSError as e:
            written = self._take_back(data[:done])
            self.close()
            raise NotWrittenError(e, written) from e
        self._size += done

    def close(self) -> None:
        """Close the file; the next append opens it again. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):  # what it may report was reported for the write; the descriptor is gone
                os.close(fd)

    def _take_back(self, part: bytes) -> int:
        """Take back what of `part` is not to stay. Returns how many lines stay."""
        whole = 0 if self._durable else part.rfind(b"\n") + 1
        if part:
            try:
                os.ftruncate(self._fd, self._size + whole)
            except OSError:
                return 0  # the next one who opens the file ends the line
        return part.count(b"\n", 0, whole)

    def _open_if_needed(self) -> None:
        if self._fd >= 0:
            if _is_file(self._path, self._fd):
                return
            self.close()  # moved or removed by somebody: what is written must be found under its name
        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._fd).st_size
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._size += os.write(self._fd, b"\n")  # torn by a power cut: it must not swallow the next line
        if self._durable and not self._size:
            fsync_folder(self._path.parent)

    def _rotate(self) -> None:
        self.close()
        newest, *older = files = self.files
        if files[-1].exists():
            self._before_drop(files[:-1])
        for source, target in reversed(list(zip(files, older, strict=False))):
            if source.exists():
                os.replace(source, target)
        if not older:
            newest.unlink()
        self._open_if_needed()


def _is_file(path: Path, fd: int) -> bool:
    try:
        there, ours = os.stat(path), os.fstat(fd)
    except OSError as e:
        if e.errno == errno.ENOENT:
            return False
        raise
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
