# SPDX-License-Identifier: AGPL-3.0-or-later
"""A model store in a folder: a disk, a network mount, a USB stick."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Generator, Mapping
from pathlib import Path

from edgeagent.store.port import NotAFileError
from edgeagent.util.durable import durable_file, fsync_folder, make_folder, write_durably

_CHUNK = 1 << 20
_MODE = 0o644  # before umask: nodes read what a publisher writes
_KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_files(url: str, timeout_s: float, options: Mapping[str, object]) -> FolderFiles:
    """A path, or a `file://` URL; takes no options, and leaves time-outs to the file system."""
    return FolderFiles(Path(url.removeprefix("file://")).expanduser().absolute())


class FolderFiles:
    """Files under `root`; paths are relative to it. See `port.Files`."""

    def __init__(self, root: Path) -> None:
        """Touch nothing yet."""
        self.root = root

    def is_there(self) -> bool:
        """False for a share that isn't mounted."""
        return self.root.is_dir()

    def stream(self, path: str, offset: int) -> Generator[bytes]:
        """The file from `offset` on. Raises OSError."""
        self._stat(path)  # opening a pipe would wait for its writer
        with (self.root / path).open("rb") as file:
            file.seek(offset)
            while chunk := file.read(_CHUNK):
                yield chunk

    def identity(self, path: str) -> dict[str, str]:
        """Size and date. Raises OSError."""
        about = self._stat(path)
        return {"size": str(about.st_size), "mtime": str(about.st_mtime_ns)}

    def _stat(self, path: str) -> os.stat_result:
        """Raises OSError; NotAFileError for what is there and is none."""
        try:
            about = (self.root / path).stat()
        except OSError as e:
            if e.errno == errno.ELOOP:
                raise NotAFileError("its links go round in a loop") from e
            raise
        if stat.S_ISDIR(about.st_mode):
            raise IsADirectoryError(path)
        if not stat.S_ISREG(about.st_mode):
            raise NotAFileError(
                f"it is {_KINDS.get(stat.S_IFMT(about.st_mode), 'something else')}, not a file"
            )
        return about

    def names(self, path: str) -> list[str]:
        """What lies in a folder. Raises OSError."""
        return os.listdir(self.root / path)

    def prepare(self) -> None:
        """Create the store's folder. Raises OSError."""
        make_folder(self.root)

    def put_file(self, path: str, source: Path) -> None:
        """Copy `source`, durably. Raises OSError."""
        target = self.root / path
        make_folder(target.parent)
        with source.open("rb") as stream, durable_file(target, _MODE) as file:
            shutil.copyfileobj(stream, file, _CHUNK)

    def put_once(self, path: str, data: bytes) -> None:
        """Whole, durable, and never over what is there. Raises FileExistsError, other OSError."""
        target = self.root / path
        make_folder(target.parent)
        temp = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            write_durably(temp, data, _MODE)
            try:
                os.link(temp, target)
            except FileExistsError:
                raise
            except OSError:  # no links on this file system (a USB stick): then the last of two at once wins
                if target.exists():
                    raise FileExistsError(str(target)) from None
                os.replace(temp, target)
        finally:
            temp.unlink(missing_ok=True)
        fsync_folder(target.parent)

    def put(self, path: str, data: bytes) -> None:
        """Whole and durable, over what is there. Raises OSError."""
        target = self.root / path
        make_folder(target.parent)
        write_durably(target, data, _MODE)

    def remove(self, path: str) -> None:
        """Durably, with the folders that are empty then, but for the root. Raises OSError."""
        target = self.root / path
        target.unlink()
        fsync_folder(target.parent)
        for folder in target.parents:
            if folder == self.root:
                break
            try:
                folder.rmdir()
            except OSError:  # it holds something
                break
