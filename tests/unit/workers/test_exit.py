# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose doing it is that a worker ended."""

from __future__ import annotations

import signal

import pytest

from edgeagent.workers.process import Exit


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_somebody_sent_is_from_outside(number: int) -> None:
    """The kernel's when memory is short, an operator's: the version is not to blame."""
    how = Exit(-number, "loading")
    assert how.from_outside
    assert str(how) == f"killed by {signal.Signals(number).name} from outside (loading)"


@pytest.mark.parametrize(
    "how",
    [
        Exit(-signal.SIGKILL, "it took 500 MB of memory, the limit is 400 MB", by_node=True),
        Exit(-signal.SIGSEGV, ""),
        Exit(-signal.SIGABRT, ""),
        Exit(-signal.SIGILL, ""),
        Exit(-signal.SIGBUS, ""),
        Exit(-signal.SIGFPE, ""),
        Exit(1, "MemoryError"),
        Exit(0, ""),
    ],
)
def test_what_the_node_did_or_the_worker_itself_is_not(how: Exit) -> None:
    """Over its limits, crashed, given up: that is the version's."""
    assert not how.from_outside
    assert "from outside" not in str(how)


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    """Real-time signals, which a driver or a library may use."""
    assert str(Exit(-(signal.SIGRTMIN + 1), "")) == f"killed by signal {signal.SIGRTMIN + 1}"
