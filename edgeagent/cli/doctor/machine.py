# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an examination asks of this machine, in one place: a test puts another machine there."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from edgeagent.util.memory import free_bytes


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _requires(distribution: str) -> list[str]:
    return metadata.requires(distribution) or []


def _memory() -> tuple[int, int]:
    """All that this machine has, and what is free within the limits of this process's control groups."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return total, free_bytes() or total


def _has_memfd() -> bool:
    try:
        os.close(os.memfd_create("doctor"))
    except (AttributeError, OSError):
        return False
    return True


@dataclass(frozen=True)
class Machine:
    """root: below which /proc, /etc and /dev are read. version, requires: of what pip installed, by its name.
    open_files: how many this process may have; memory: bytes in all, and free. encoding: of the names of files."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    uid: int = field(default_factory=os.geteuid)
    groups: frozenset[int] = field(default_factory=lambda: frozenset((os.getegid(), *os.getgroups())))
    hostname: str = field(default_factory=socket.gethostname)
    encoding: str = field(default_factory=sys.getfilesystemencoding)
    now: Callable[[], float] = time.time
    version: Callable[[str], str | None] = _version
    requires: Callable[[str], list[str]] = _requires
    open_files: Callable[[], int] = lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    memory: Callable[[], tuple[int, int]] = _memory
    has_memfd: Callable[[], bool] = _has_memfd

    def text(self, path: str) -> str:
        """Of a file of the system, such as "proc/locks"; "" where it can't be read."""
        try:
            return (self.root / path).read_text(errors="replace")
        except OSError:
            return ""

    def mount_of(self, folder: Path) -> tuple[str, str]:
        """Where the file system of a folder is mounted, and its kind, such as ("/", "ext4"); ("", "") if unknown."""
        best = ("", "")
        for line in self.text("proc/self/mountinfo").splitlines():
            about, _, rest = line.partition(" - ")
            words, kind = about.split(), rest.split()
            if len(words) < 5 or not kind:
                continue
            point = words[4].replace("\\040", " ")
            is_within = folder == Path(point) or Path(point) in folder.parents
            if is_within and len(point) >= len(best[0]):
                best = (point, kind[0])
        return best

    def lock_holder(self, file: Path) -> int | None:
        """The process that holds a lock on a file, 0 for one that can't be told; None for none."""
        try:
            with file.open("rb") as f:
                about = os.fstat(f.fileno())
                try:
                    fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back at once
                    return None
                except BlockingIOError:
                    pass
        except OSError:
            return None
        place = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
        for line in self.text("proc/locks").splitlines():
            words = line.split()
            if len(words) > 5 and words[5] == place and words[1] == "FLOCK" and words[4].isdecimal():
                return int(words[4])
        return 0

    def command(self, pid: int) -> list[str]:
        """What a process was started with."""
        return [word for word in self.text(f"proc/{pid}/cmdline").split("\0") if word]

    def unit_files(self, name: str) -> Iterator[Path]:
        """A unit of systemd and its drop-ins, in the order in which they count; nothing where it isn't installed."""
        folders = [
            self.root / f / "systemd/system" for f in ("etc", "run", "usr/local/lib", "usr/lib", "lib")
        ]
        if unit := next((folder / name for folder in folders if (folder / name).is_file()), None):
            yield unit
            yield from sorted(file for folder in folders for file in folder.glob(f"{name}.d/*.conf"))
