# SPDX-License-Identifier: AGPL-3.0-or-later
"""Secrets come from files that only the node's user can read."""

from __future__ import annotations

import os
from pathlib import Path

from edgeagent.errors import UsageError
from edgeagent.util.plain_file import open_plain_file


def read_secret(path: Path) -> str:
    """The one line of a password or token file, without white space around it.

    Raises UsageError if it can't be read, or if others can read it.
    """
    what = f"secret file {path}"
    try:
        with open_plain_file(path) as f:
            mode = os.fstat(f.fileno()).st_mode
            data = f.read(4097)
    except OSError as e:
        raise UsageError(
            what, f"can't be read ({e.strerror})", "create it, readable for the node's user only"
        ) from e
    if mode & 0o027:
        raise UsageError(what, f"is open to others (mode {mode & 0o777:04o})", f"run chmod 600 {path}")
    try:
        secret = data.decode("ascii").strip()
    except UnicodeDecodeError as e:
        raise UsageError(what, "is not plain ASCII text", "write one line of text") from e
    if not secret or len(data) > 4096 or not secret.isprintable():
        raise UsageError(
            what, "is empty, too long or has several lines", "write one line of at most 4096 characters"
        )
    return secret
