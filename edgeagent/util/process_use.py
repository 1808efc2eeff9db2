# SPDX-License-Identifier: AGPL-3.0-or-later
"""What another process takes, and lacks, as the kernel tells it."""

from __future__ import annotations

import os
from pathlib import Path

from edgeagent.util.processor_time import Starvation

_PAGE, _TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
_BYTES = 1024


class ProcessUse:
    """Of one process. The kernel's files stay open: each is read again and again, and to find it costs more."""

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        self._folder = proc / str(pid)
        self._files: dict[str, int] = {}
        self._closed = False
        self._starvation = Starvation(pid, proc)

    def memory_bytes(self) -> int:
        """Resident memory (RSS) now; 0 when it is gone."""
        try:
            return int(self._read("statm").split()[1]) * _PAGE
        except (OSError, ValueError, IndexError):
            return 0

    def cpu_seconds(self) -> float:
        """Processor time that it has had, with that of its children that have ended; 0 when it is gone."""
        try:
            fields = self._read("stat").rpartition(b")")[2].split(maxsplit=15)
            return sum(map(int, fields[11:15])) / _TICKS  # utime, stime, cutime, cstime
        except (OSError, ValueError):
            return 0.0

    def starved_s(self, silent_s: float) -> float:
        """Of so many seconds in which it said nothing, those in which it waited for a processor; see `Starvation`."""
        return self._starvation.since(silent_s)

    def close(self) -> None:
        """It is gone; its number may be another's soon. Idempotent."""
        self._closed = True
        for fd in self._files.values():
            os.close(fd)
        self._files.clear()

    def _read(self, name: str) -> bytes:
        if self._closed:
            raise ProcessLookupError
        if name not in self._files:
            self._files[name] = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(self._files[name], _BYTES, 0)
