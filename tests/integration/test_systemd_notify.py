# SPDX-License-Identifier: AGPL-3.0-or-later
"""sd_notify: what systemd would receive, and silence where there is none."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.observe.systemd import SystemdNotifier, watchdog_interval


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A stand-in for systemd's end: the value of NOTIFY_SOCKET and the bound datagram socket."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@edgeagent-test-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind("\0" + name[1:] if name.startswith("@") else name)
        s.settimeout(60)
        yield name, s


def test_each_state_is_told(heard: tuple[str, socket.socket]) -> None:
    """Every method sends the lines of sd_notify(3), a status always on one line."""
    name, end = heard
    notifier = SystemdNotifier({"NOTIFY_SOCKET": name})

    def told() -> list[str]:
        return end.recv(4096).decode().split("\n")

    assert notifier.ready("serving yolo/v1")
    assert told() == ["READY=1", "STATUS=serving yolo/v1"]
    assert notifier.status("two\nlines")
    assert told() == ["STATUS=two lines"]
    assert notifier.watchdog()
    assert told() == ["WATCHDOG=1"]
    assert notifier.reloading()
    first, second = told()
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0
    assert notifier.stopping()
    assert told() == ["STOPPING=1"]


def test_nobody_listens(tmp_path: Path) -> None:
    """Without systemd, or with one that is gone or unknown, nothing is told and nothing raised."""
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}, {"NOTIFY_SOCKET": "vsock:2:1"}):
        assert not SystemdNotifier(environ).ready()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_interval(environ: dict[str, str], seconds: float | None) -> None:
    """Only the process that systemd means feeds the watchdog."""
    assert watchdog_interval(environ) == seconds
