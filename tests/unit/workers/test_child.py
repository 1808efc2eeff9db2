# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a worker asks of the system before it works."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from edgeagent.workers import child


def _effective_capabilities() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff"))


@pytest.mark.parametrize("limit", [resource.RLIM_INFINITY, 40, 20])
def test_priority_may_be_raised_with_the_limit_of_the_unit(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """LimitNICE= allows it, whatever the capabilities."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert child.can_raise_priority()


def test_without_the_limit_the_capability_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """CAP_SYS_NICE is bit 23 of the effective set."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (0, 0))
    assert child.can_raise_priority() == bool(_effective_capabilities() & 1 << 23)


def test_a_file_that_cannot_be_written_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A kernel without the knob is a line on stderr, not the worker's end."""
    child._write("/proc/no/such/knob", "1")
    assert "cannot write /proc/no/such/knob" in capsys.readouterr().err
