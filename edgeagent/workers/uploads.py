# SPDX-License-Identifier: AGPL-3.0-or-later
"""A folder into which pictures are uploaded: each is a frame once, when it is whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeagent.workers.source import Image, SourceError
from edgeagent.workers.stills import is_image, natural, read_picture
from edgeagent.workers.tasks.capture import PictureBegun, TakenPictures

QUIET_S = 1.0
"""A file that hasn't changed for so long is whole, if its end doesn't say otherwise."""

PATIENCE_S = 30.0
"""And after so long it is, whatever its end says: what is broken is told as unreadable."""

# A look at a folder of many files takes long: looking takes at most a twentieth of the time.
_LOOK_S, _LOOK_SHARE = 0.5, 20
_ENDS = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}
_TAIL = 4096  # some cameras write a few bytes behind the end


@dataclass(frozen=True)
class Upload:
    """A file as it was found. changed_ns: when it was written or moved last, by the file system."""

    name: str
    inode: int
    size: int
    written_ns: int
    changed_ns: int

    @property
    def content(self) -> int:
        """The same for what was only renamed, also in the next worker; another for what was written again."""
        return hash((self.inode, self.size, self.written_ns))  # of numbers, it isn't salted


class Uploads:
    """Which files of a folder are whole, and were not taken yet. Pure: what is found, and when, are arguments.

    It outlives the folder: one that goes away and comes back brings nothing again.
    """

    def __init__(self, taken: TakenPictures | None = None) -> None:
        """taken: by the workers before."""
        taken = taken or TakenPictures()
        self._since, self._taken = taken.since, set(taken.contents)
        self._quiet_since: dict[Upload, float] = {}

    def found(self, files: Iterable[Upload], now: float, ends_well: Callable[[Upload], bool]) -> list[Upload]:
        """These files are there, at `now` (monotonic seconds). Returns those to take, oldest first.

        ends_well: whether the end of a file is that of a whole one; asked only of those that are quiet.
        """
        files = [file for file in files if file.changed_ns >= self._since]
        if files:  # else it may be that the share isn't mounted
            self._taken &= {file.content for file in files}
        new = [file for file in files if file.content not in self._taken]
        self._quiet_since = {file: self._quiet_since.get(file, now) for file in new}
        whole = [file for file in new if self._is_whole(file, now, ends_well)]
        self._taken |= {file.content for file in whole}
        return sorted(whole, key=lambda file: (file.changed_ns, natural(file.name)))

    def put_back(self, files: Iterable[Upload]) -> None:
        """These were not looked at after all: take them when they are found again."""
        self._taken -= {file.content for file in files}

    def _is_whole(self, file: Upload, now: float, ends_well: Callable[[Upload], bool]) -> bool:
        quiet_s = now - self._quiet_since[file]
        return quiet_s >= PATIENCE_S or (quiet_s >= QUIET_S and ends_well(file))


class UploadFolder:
    """The pictures of a folder, and those that are put there later.

    It has no position that could be found again, for files come and go: what was taken is told by `begun`.
    """

    fps, total, resumable, camera, watches, age_s = 0.0, 0, False, False, True, 0.0

    def __init__(self, folder: Path, uploads: Uploads) -> None:
        """uploads: what isn't to be taken again; kept up to date. Raises SourceError."""
        self._folder = folder
        self.position = 0
        self._uploads = uploads
        self._ready: list[Upload] = []
        self._taken: Upload | None = None
        self._look_at = 0.0
        self._list()

    def grab(self) -> int:
        """See `Source.grab`."""
        now = time.monotonic()
        if not self._ready and now >= self._look_at:
            self._ready = self._uploads.found(self._list(), now, self._ends_well)[::-1]
            done = time.monotonic()
            self._look_at = done + max(_LOOK_S, _LOOK_SHARE * (done - now))
        if not self._ready:
            return 0
        if not os.path.isdir(self._folder):
            self._uploads.put_back(self._ready)
            raise SourceError("absent", f"{self._folder}: it has gone")
        self._taken = self._ready.pop()
        self.position += 1
        return 1

    @property
    def begun(self) -> PictureBegun:
        """The picture that `grab` took last."""
        assert self._taken is not None
        return PictureBegun(self._taken.changed_ns, self._taken.content)

    def retrieve(self, out: Image | None) -> Image:
        """See `Source.retrieve`."""
        assert self._taken is not None
        return read_picture(self._folder / self._taken.name)

    def seek(self, position: int, heartbeat: Callable[[], None]) -> None:
        """See `Source.seek`: it has no position."""

    def close(self) -> None:
        """See `Source.close`."""

    def _list(self) -> list[Upload]:
        """Raises SourceError when the folder can't be read."""
        try:
            with os.scandir(self._folder) as entries:
                return [found for entry in entries if is_image(entry.name) and (found := _upload(entry))]
        except OSError as e:
            raise SourceError("absent", f"{self._folder}: {e.strerror}") from e

    def _ends_well(self, file: Upload) -> bool:
        end = _ENDS.get(Path(file.name).suffix.lower())
        if end is None or not file.size:
            return end is None
        try:
            with open(self._folder / file.name, "rb") as f:
                f.seek(max(0, file.size - _TAIL))
                return end in f.read()
        except OSError:
            return False  # it is gone, or not ours to read as yet


def _upload(entry: os.DirEntry[str]) -> Upload | None:
    try:
        found = entry.stat()
    except OSError:
        return None  # it has just gone
    if not entry.is_file():
        return None
    return Upload(entry.name, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
