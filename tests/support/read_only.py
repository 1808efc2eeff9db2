# SPDX-License-Identifier: AGPL-3.0-or-later
"""A disk that the kernel has made read-only, as a program sees it; also for root, whom modes don't stop."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def make_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on everything that `os` would write fails as it does there; ext4 refuses fsync, too."""
    real_open = os.open

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def read_only(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & _WRITES:
            refuse()
        return real_open(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", read_only)
    for name in ("fsync", "link", "mkdir", "replace", "rename", "unlink", "utime"):
        monkeypatch.setattr(os, name, refuse)


def read_only_prefix(folder: Path) -> list[str]:
    """What to put before a command, so that it sees `folder` read-only. Skips where mounts aren't allowed."""
    mount = f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}"
    if subprocess.run([*_NAMESPACE, mount], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount anything, not even in a namespace of its own")
    return [*_NAMESPACE, f'{mount} && exec "$@"', "sh"]
