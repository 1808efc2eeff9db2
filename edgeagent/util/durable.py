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
# What file systems say that have no second names for a file: FAT, exFAT, some of CIFS and FUSE.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
# The process id lets `remove_stale_temps` tell what a killed process left from what is being written, and the start of
# the token another process that had the same id; the rest keeps two machines apart that write to one share.
_THIS_PROCESS = secrets.token_hex(4)


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
    temp = _temp_beside(path)
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


def keep_copy(path: Path, copy: Path) -> None:
    """Make `copy` hold what `path` holds now, whatever is written to `path` by `write_durably` later.

    Nothing happens when `path` isn't there. Raises OSError; `copy` is then as it was before.
    """
    temp = _temp_beside(copy)
    try:
        os.link(path, temp)
        os.replace(temp, copy)
    except FileNotFoundError:
        return
    except OSError as e:
        if e.errno not in _NO_LINKS:
            raise
        write_durably(copy, path.read_bytes())
    finally:  # also where it was done: two names of one file aren't put into one by a rename
        with suppress(OSError):
            temp.unlink(missing_ok=True)


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


def open_lock(path: Path) -> int:
    """A descriptor of the file to lock with flock(2), which is made if need be. Raises OSError.

    On a disk that the kernel has made read-only, what is there already will do.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as e:
        if e.errno != errno.EROFS:
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def remove_stale_temps(folder: Path) -> None:
    """Remove what killed processes left of `durable_file` in `folder`, as far as the disk lets us; those of living
    processes stay."""
    for temp in folder.glob(f".*{_TEMP_SUFFIX}"):
        _, _, pid, token, _ = ("...." + temp.name).rsplit(".", 4)
        is_ours = pid == str(os.getpid())
        if pid.isdigit() and not (
            token.startswith(_THIS_PROCESS) if is_ours else Path("/proc", pid).exists()
        ):
            with suppress(OSError):
                temp.unlink()


def _temp_beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{_THIS_PROCESS}{secrets.token_hex(8)}{_TEMP_SUFFIX}")
