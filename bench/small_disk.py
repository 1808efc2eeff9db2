# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small disk of its own for a node, which can be filled; it outlives the node, and needs no root."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


class SmallDisk:
    """A tmpfs of `size` bytes at `folder`, in a mount namespace that a process holds until the end of the block.

    prefix: what to put before a command, so that it sees the disk. available: False where this user may not mount
    anything; then `folder` is one like any other, and `fill` does nothing.
    """

    def __init__(self, folder: Path, size: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        command = f"mount -t tmpfs -o size={size} disk {folder} && echo mounted && exec sleep infinity"
        self._holder = subprocess.Popen(
            [*_NAMESPACE, command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._holder.stdout is not None
        self.available = self._holder.stdout.readline() == b"mounted\n"
        pid = str(self._holder.pid)
        self.prefix = ["nsenter", "--target", pid, "--user", "--mount", "--preserve-credentials"]
        self.path = Path(f"/proc/{pid}/root{folder}")
        if not self.available:
            self.prefix, self.path = [], folder

    def fill(self) -> None:
        """Take all the room that there is."""
        if self.available:
            with suppress(OSError), (self.path / "filler").open("ab", buffering=0) as stream:
                for size in (1 << 16, 1):
                    with suppress(OSError):
                        while stream.write(bytes(size)):
                            pass

    def free(self) -> None:
        """Give it back."""
        (self.path / "filler").unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holder.kill()
        self._holder.wait()
