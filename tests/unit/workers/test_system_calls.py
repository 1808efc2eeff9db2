# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is done where a system call is denied."""

from __future__ import annotations

import errno
import mmap
import os
import select
from collections.abc import Callable

import pytest

from edgeagent.workers import system_calls
from edgeagent.workers.system_calls import anonymous_memory


@pytest.fixture(params=[errno.EPERM, errno.ENOSYS, None], ids=["denied", "unknown", "not in this Python"])
def without(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a function of `os` fail, as a sandbox does, an old kernel, or a Python that was built for one."""

    def deny(name: str) -> None:
        if request.param is None:
            monkeypatch.delattr(os, name)
            return

        def refuse(*_: object) -> int:
            raise OSError(request.param, os.strerror(request.param))

        monkeypatch.setattr(os, name, refuse)

    return deny


def test_memory_without_a_memfd(without: Callable[[str], None]) -> None:
    """As large, as anonymous, as shared."""
    without("memfd_create")
    before = os.listdir(system_calls._IN_MEMORY)
    fd = anonymous_memory("ring", 3 * mmap.PAGESIZE)
    with mmap.mmap(fd, 3 * mmap.PAGESIZE) as one, mmap.mmap(fd, 3 * mmap.PAGESIZE) as other:
        one[-1] = 7
        assert other[-1] == 7
        assert os.fstat(fd).st_nlink == 0
    os.close(fd)
    assert not [name for name in os.listdir(system_calls._IN_MEMORY) if name not in before and "ring" in name]


def test_no_memory_at_all_is_said(without: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the call, the reason and the remedy; as much as there isn't is not taken."""
    without("memfd_create")
    with pytest.raises(OSError, match=r"memfd_create is .*, and /dev/shm can't be used .*: allow the call"):
        anonymous_memory("ring", 1 << 60)
    monkeypatch.setattr(system_calls, "_IN_MEMORY", "/no/such/folder")
    with pytest.raises(OSError, match="/no/such/folder can't be used"):
        anonymous_memory("ring", 1)


def test_other_errors_are_raised_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor left is nothing that another way could mend."""

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        anonymous_memory("ring", 1)
    with pytest.raises(OSError, match="Too many open files"):
        system_calls.exit_fd(1)


def test_the_end_of_a_child_without_a_pidfd(
    without: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread waits for it, and leaves it to be reaped; one that is reaped already has ended."""
    without("pidfd_open")
    asked: list[int] = []

    def waitid(kind: int, pid: int, options: int) -> None:
        asked.append(options)
        if pid == 2:
            raise ChildProcessError

    monkeypatch.setattr(os, "waitid", waitid)
    for pid in (1, 2):
        fd = system_calls.exit_fd(pid)
        assert select.select([fd], [], [], 60)[0]
        os.close(fd)
    assert asked == [os.WEXITED | os.WNOWAIT] * 2
