# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who leads, on each kind of store that has leases, with a real process that is suspended."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable

from edgeagent.fleet.lead import Lead
from edgeagent.intent.port import Outcome
from tests.support.candidate import LED
from tests.support.intent_sources import Backend

SHORT_S = 4.0
LONG_S = 600.0
PATIENCE_S = 60.0


class Candidate:
    """A process of its own that may lead."""

    def __init__(self, url: str) -> None:
        command = [sys.executable, "-m", "tests.support.candidate", url, str(SHORT_S)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def does(self, command: str) -> str:
        """What it says to a command."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{command}\n")
        return self.process.stdout.readline().strip()


def look_until(fulfilled: Callable[[], object], lead: Lead) -> None:
    """At the pace of one that waits for the lead."""
    give_up = time.monotonic() + PATIENCE_S
    while not fulfilled():
        assert time.monotonic() < give_up, "it did not come true"
        lead.look()
        time.sleep(0.1)


def test_the_lead_passes_on(leasing: Backend) -> None:
    """From one that gives no sign for longer than its lease: it can't write when it goes on.

    The one that takes over knows how long nobody led; when it resigns, the first one leads again.
    """
    second = Lead(leasing.store, ttl_s=SHORT_S)
    first = Candidate(leasing.store.url)
    try:
        assert (first.does("lead"), first.does("write")) == ("leads", "written")
        second.look()
        assert (second.expected, second.leader and second.leader.pid) == (None, first.process.pid)
        first.process.send_signal(signal.SIGSTOP)
        look_until(lambda: second.expected, second)
        assert second.leaderless_s is not None
        assert second.leaderless_s < PATIENCE_S
        assert second.expected
        assert leasing.store.compare_and_set([second.expected], {LED: b"by the second"}) is Outcome.WRITTEN
        first.process.send_signal(signal.SIGCONT)
        assert first.does("write") == "refused"
        assert leasing.store.get(LED).value == b"by the second"
        second.resign()
        assert (first.does("lead"), first.does("write")) == ("leads", "written")
    finally:
        first.process.kill()
        first.process.communicate()


def test_who_resigns_need_not_be_waited_for(leasing: Backend) -> None:
    """The next look takes the lead, however long the lease would have lasted."""
    one, two = Lead(leasing.store, ttl_s=LONG_S), Lead(leasing.another(), ttl_s=LONG_S)
    one.look()
    two.look()
    assert one.expected
    assert not two.expected
    one.resign()
    two.look()
    assert two.expected
    two.resign()
