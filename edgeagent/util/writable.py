# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a folder can be written, found out by writing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from edgeagent.errors import UnavailableError


def check_writable(folder: Path) -> str:
    """Write a small file there, durably, and remove it. Says that it worked; raises UnavailableError."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as f:
            f.write(b"x" * 4096)
            f.flush()
            os.fsync(f.fileno())
    except OSError as e:
        why = f"can't be written by user {os.getuid()} ({e.strerror})"
        raise UnavailableError(str(folder), why, "create it, owned by the node's user") from e
    return f"{folder} can be written"
