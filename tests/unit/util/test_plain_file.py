# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is no file is said to be none, and nobody waits for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeagent.util.plain_file import open_plain_file


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # a socket's path is short


def _device(path: Path) -> None:
    path.symlink_to("/dev/null")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (os.mkfifo, "it is a FIFO, not a file"),
        (os.mkdir, "it is a folder, not a file"),
        (_device, "it is a device, not a file"),
        (_socket, "No such device or address"),
        (lambda path: None, "No such file or directory"),
    ],
)
def test_what_is_no_file_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], why: str
) -> None:
    """With words in the place where the operating system has its own."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "x")
    with pytest.raises(OSError, match=why) as caught:
        open_plain_file(tmp_path / "x")
    assert caught.value.strerror == why


def test_a_file_is_opened_also_through_a_link(tmp_path: Path) -> None:
    """As Kubernetes mounts them."""
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    with open_plain_file(tmp_path / "link") as file:
        assert file.read() == b"abc"
