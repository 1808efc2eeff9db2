# SPDX-License-Identifier: AGPL-3.0-or-later
"""Hashes of files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple


class FileHash(NamedTuple):
    """What a file held. sha256: as 64 hexadecimal digits; size: in bytes."""

    sha256: str
    size: int


def hash_file(path: Path) -> FileHash:
    """Read the whole file once. Raises OSError."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return FileHash(digest, os.fstat(stream.fileno()).st_size)
