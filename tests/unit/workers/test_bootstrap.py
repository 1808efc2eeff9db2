# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a worker asks of the system before it works."""

from __future__ import annotations

import errno
import os
import resource

import pytest

from edgeagent.workers import bootstrap as child


@pytest.mark.parametrize("limit", [resource.RLIM_INFINITY, 40, 20])
def test_priority_may_be_raised_with_the_limit_of_the_unit(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """LimitNICE= allows it, whatever the capabilities."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert child.can_raise_priority()


def test_without_the_limit_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system answers decides: a capability in a user namespace allows nothing."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (0, 0))
    tried: list[int] = []
    monkeypatch.setattr(os, "getpriority", lambda which, who: 5)
    monkeypatch.setattr(os, "setpriority", lambda which, who, nice: tried.append(nice))
    assert child.can_raise_priority()
    assert tried == [5, 4, 5]

    def refuse(which: int, who: int, nice: int) -> None:
        if nice < 5:
            raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    assert not child.can_raise_priority()


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS])
def test_where_the_call_is_denied_no_limit_helps(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A sandbox forbids it as such."""

    def refuse(which: int, who: int, nice: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(resource, "getrlimit", lambda which: (40, 40))
    monkeypatch.setattr(os, "setpriority", refuse)
    assert not child.can_raise_priority()


def test_a_file_that_cannot_be_written_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A kernel without the knob is a line on stderr, not the worker's end."""
    child._write("/proc/no/such/knob", "1")
    assert "cannot write /proc/no/such/knob" in capsys.readouterr().err


@pytest.mark.parametrize(("own", "then"), [(0, 10), (15, 15)])
def test_a_priority_is_lowered_and_never_raised(monkeypatch: pytest.MonkeyPatch, own: int, then: int) -> None:
    """A node that runs at a low one itself has workers that are no better off, and needs no privilege for them."""
    monkeypatch.setattr(child, "_IOPRIO_SET", {})
    monkeypatch.setattr(os, "getpriority", lambda which, who: own)
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "setpriority", lambda which, who, nice: seen.append((who, nice)))
    child.lower_priority(4711, 10)
    assert seen == [(4711, then)]
