# SPDX-License-Identifier: AGPL-3.0-or-later
"""Hashes of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgeagent.util.hashing import hash_file


def test_hash_and_size_of_a_file(tmp_path: Path) -> None:
    """As sha256sum prints it."""
    content = b"weights" * 300_000
    (tmp_path / "w").write_bytes(content)
    assert hash_file(tmp_path / "w") == (hashlib.sha256(content).hexdigest(), len(content))
