# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files that survive a kill and a power cut: temp file → fsync → rename → fsync of the folder."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_TEMP_SUFFIX = ".tmp"
# What file systems say that have no fsync for a folder: CIFS, DrvFs, some of FUSE.
_NO_FSYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def write_durably(path: Path, data: bytes, mode: int = 0o640) -> None:
    """Make `path` hold `data`: after a crash at any instant it holds the old content or the new, never a part.

    The folder must exist. Raises OSError (a full disk, no permission); `path` is then as it was before.
    """
    with durable_file(path, mode) as file:
        file.write(data)


@contextmanager
def durable_file(path: Path, mode: int = 0o640) -> Iterator[BinaryIO]:
    """Write `path` in a stream; it appears, whole and durable, when the block ends without an error.

    mode: permissions of a new file, before umask. Raises OSError.
    """
    # The process id lets `remove_stale_temps` tell what a killed process left from what is being written; the rest of
    # the name keeps two machines apart that write to one share.
    temp = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(8)}{_TEMP_SUFFIX}")
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temp, path)
    except BaseException:
        with suppress(OSError):
            temp.unlink()
        raise
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make renames and removals in `folder` durable, where its file system can. Raises OSError.

    On one that can't, a power cut may still take back a name; what the files hold was synced before.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as e:
        if e.errno not in _NO_FSYNC:
            raise
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Create `folder` and what leads to it, durably, unless it is there. Raises OSError."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        fsync_folder(folder.parent)


def remove_stale_temps(folder: Path) -> None:
    """Remove what killed processes left of `durable_file` in `folder`; those of living processes stay."""
    for temp in folder.glob(f".*{_TEMP_SUFFIX}"):
        pid = temp.name.split(".")[-3]
        if pid.isdigit() and not Path("/proc", pid).exists():
            temp.unlink(missing_ok=True)
