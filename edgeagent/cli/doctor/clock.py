# SPDX-License-Identifier: AGPL-3.0-or-later
"""This machine's clock, held against those of the servers that the node talks to."""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.cli.doctor import reach
from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import FAIL, OK, WARN, Finding
from edgeagent.cli.doctor.model_store import addresses
from edgeagent.intent.url import find_adapter, parse_source_url

OFF_S, FAR_OFF_S = 10.0, 300.0
"""Signed deliveries are refused from the latter on, and certificates seem to have expired, or not to hold yet."""
_TODO = "set it by NTP: timedatectl set-ntp true, or chrony with a server of the site"


def clock(x: Examination) -> Iterator[Finding]:
    """By the `Date` of the first that tells one."""
    for name, host, port, tls in _servers(x):
        before = x.machine.now()
        answer = reach.ask(host, port, "/version", tls=tls)
        if answer is None or answer.time is None:
            continue
        off = (before + x.machine.now()) / 2 - answer.time - 0.5  # a Date has no fractions
        if abs(off) < OFF_S:
            yield Finding(OK, "clock", f"as that of the {name}")
            return
        which = "ahead of" if off > 0 else "behind"
        text = f"{abs(off):.0f} s {which} that of the {name} at {host}"
        yield Finding(FAIL if abs(off) >= FAR_OFF_S else WARN, "clock", text, _TODO)
        return
    year = 1970 + x.machine.now() / 31_556_952
    if year < 2026:
        yield Finding(FAIL, "clock", f"it says {year:.0f}", _TODO)


def _servers(x: Examination) -> Iterator[tuple[str, str, int, bool]]:
    settings = x.config.config_store
    if find_adapter(settings.url).scheme == "etcd":
        for endpoint in parse_source_url(settings.url).endpoints:
            host, _, port = endpoint.rpartition(":")
            yield "config store", host.strip("[]"), int(port), settings.tls is not None
    yield from addresses(x)
