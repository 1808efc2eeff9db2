# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether those who are told of alarms and updates let the node in."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import Finding, attempt
from edgeagent.notify.receivers import try_receiver


def notified(x: Examination) -> Iterator[Finding]:
    """Each is connected to, and told nothing."""
    for receiver in x.config.notify:
        yield attempt(f"notify {receiver.called}", partial(try_receiver, receiver))
