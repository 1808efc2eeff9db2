# SPDX-License-Identifier: AGPL-3.0-or-later
"""The folder in which a node keeps what must survive a restart; one node at a time has it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from edgeagent.errors import ConflictError, UnavailableError
from edgeagent.util.durable import open_lock


class StateDir:
    """`node.state_dir`, locked from `open` to `close`, or to the end of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.models = path / "models"
        self.cache = path / "cache"
        self._lock_fd = -1

    def open(self) -> None:
        """Make the folder if need be, and lock it.

        Raises UnavailableError (not to be used by this user, no disk), ConflictError (another node runs on it).
        """
        try:
            self.models.mkdir(parents=True, exist_ok=True)
            self._lock_fd = open_lock(self.path / "lock")
        except OSError as e:
            raise UnavailableError(
                f"state folder {self.path}", str(e), "let this user write there, or set node.state_dir"
            ) from e
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise ConflictError(
                f"state folder {self.path}",
                "another node runs on it",
                "stop that one, or give this one its own node.state_dir",
            ) from e

    def close(self) -> None:
        """Let another node have it. Idempotent."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1
