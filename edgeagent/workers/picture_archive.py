# SPDX-License-Identifier: AGPL-3.0-or-later
"""A folder of pictures on the disk, kept within its quota by the one worker that writes there.

A picture lies where its path says; one on which two versions differ lies in `images/`, with its label of the same name
in `labels/` and a second picture in `drawn/` beside that. The picture comes last and goes first: what has none is
left over, and is removed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from edgeagent.core.pictures import Picture, PictureQuota, has_room, over_quota, read_picture
from edgeagent.util.durable import make_folder, remove_stale_temps, write_durably

IMAGES, LABELS, DRAWN, DATA = "images", "labels", "drawn", "data.yaml"
_RESCAN_S = 600.0


class Archive:
    """The pictures below `root`. What somebody else adds or removes there is noticed within ten minutes.

    free_bytes: how much the disk has left.
    """

    def __init__(
        self, root: Path, quota: PictureQuota, free_bytes: Callable[[Path], int] | None = None
    ) -> None:
        self.root, self.quota = root, quota
        self._free_bytes = free_bytes or _free_bytes
        self._pictures: dict[str, Picture] = {}
        self._scanned_at: float | None = None

    def pictures(self, folder: str | None = None) -> list[Picture]:
        """Those that are kept, or those in one folder, which is named within the root."""
        found = self._pictures.values()
        return [p for p in found if folder is None or _folder(p.path) == folder]

    def sweep(self, now: float) -> None:
        """Remove what is too old, too much, or left over. now: Unix seconds. Raises OSError."""
        if not self.root.is_dir():
            self._pictures.clear()
            return
        if self._scanned_at is None or not 0 <= now - self._scanned_at < _RESCAN_S:
            self._scan()
            self._scanned_at = now
            self._remove_empty()
        self.remove(over_quota(self._pictures.values(), self.quota, now, self._free_bytes(self.root)))
        if not self.quota.max_pictures and not os.listdir(self.root):
            self.root.rmdir()

    def write(self, path: str, files: Sequence[tuple[str, bytes]], leave: Iterable[Picture] = ()) -> bool:
        """Write a picture's files, of which the last is the picture itself, at `path`; each appears whole or not at
        all. Those that make way for it go first. Returns False, and writes nothing, where there is no room.

        Raises OSError; then none of the files is there.
        """
        size = sum(len(data) for _, data in files)
        picture = read_picture(path, size)
        if picture is None or files[-1][0] != path:
            raise ValueError(f"{path} is no name of a picture")
        make_folder(self.root)
        if not has_room(size, self.quota, self._free_bytes(self.root)):
            return False
        self.remove(leave)
        try:
            for name, data in files:
                target = self.root / name
                make_folder(target.parent)
                write_durably(target, data)
        except OSError:
            for name, _ in files:
                with suppress(OSError):
                    (self.root / name).unlink(missing_ok=True)
            raise
        self._pictures[path] = picture
        return True

    def write_once(self, name: str, data: bytes) -> None:
        """Have a file of this content beside the pictures, such as a data.yaml. Raises OSError."""
        target = self.root / name
        with suppress(OSError):
            if target.read_bytes() == data:
                return
        make_folder(target.parent)
        write_durably(target, data)

    def remove(self, pictures: Iterable[Picture]) -> None:
        """Remove them, with what belongs to them. Raises OSError."""
        folders = set()
        for picture in pictures:
            for path in (picture.path, *_companions(picture.path)):
                (self.root / path).unlink(missing_ok=True)
            self._pictures.pop(picture.path, None)
            folders.add(_folder(picture.path))
        if folders and folders - {_folder(path) for path in self._pictures}:
            self._remove_empty()

    def _scan(self) -> None:
        """Look at all that is there."""
        found: dict[str, Picture] = {}
        folders = list(os.walk(self.root))
        for folder, _, names in folders:
            remove_stale_temps(Path(folder))
            if Path(folder).name == DRAWN:
                continue
            for name in names:
                path = str(Path(folder, name).relative_to(self.root))
                if picture := read_picture(path, self._size(path)):
                    found[path] = picture
        self._pictures = found
        for left_over in self._left_over(folders):
            left_over.unlink(missing_ok=True)

    def _size(self, path: str) -> int:
        size = 0
        for part in (path, *_companions(path)):
            with suppress(OSError):
                size += (self.root / part).stat().st_size
        return size

    def _left_over(self, folders: Iterable[tuple[str, list[str], list[str]]]) -> Iterator[Path]:
        """Labels and drawn pictures of pictures that are gone."""
        for folder, _, names in folders:
            if Path(folder).name in (LABELS, DRAWN):
                images = Path(folder).parent.relative_to(self.root) / IMAGES
                yield from (
                    Path(folder, name)
                    for name in names
                    if str(images / f"{Path(name).stem}.jpg") not in self._pictures
                    and read_picture(f"{Path(name).stem}.jpg", 0)
                )

    def _remove_empty(self) -> None:
        """Folders in which no picture is any more, a version's with its data.yaml."""
        holding = {parent for path in self._pictures for parent in (self.root / path).parents}
        for name, _, _ in os.walk(self.root, topdown=False):
            folder = Path(name)
            beside = folder.name in (LABELS, DRAWN) and folder.parent in holding
            if folder in holding or beside or folder == self.root or set(os.listdir(folder)) - {DATA}:
                continue
            (folder / DATA).unlink(missing_ok=True)
            folder.rmdir()


def companions_of(path: str) -> tuple[str, str]:
    """The label and the drawn picture that belong to the picture at `path`, in a folder `images`."""
    folder, _, name = path.rpartition("/")
    base = folder.removesuffix(IMAGES)
    return f"{base}{LABELS}/{name.removesuffix('.jpg')}.txt", f"{base}{DRAWN}/{name}"


def report(error: OSError) -> None:
    """Into the node's log: a disk that takes nothing is no reason to end."""
    print(f"pictures: {error}", file=sys.stderr)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _companions(path: str) -> tuple[str, ...]:
    return companions_of(path) if _folder(path).rpartition("/")[2] == IMAGES else ()


def _free_bytes(folder: Path) -> int:
    """Of its disk, for a user without privileges."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize
