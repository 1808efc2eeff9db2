# SPDX-License-Identifier: AGPL-3.0-or-later
"""`edgeagent coordinate` as a service manager sees it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.etcd import free_port


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's end of the notifications."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(tmp_path / "notify"))
        s.settimeout(120)
        yield s


def test_it_lives_while_the_config_store_is_away(manager: socket.socket) -> None:
    """It is ready, says why it can't lead, feeds the watchdog, and ends at once when it is asked to."""
    environment = {**os.environ, "NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "60000000"}
    environment.pop("WATCHDOG_PID", None)
    url = f"etcd://127.0.0.1:{free_port()}"
    with subprocess.Popen(
        [sys.executable, "-m", "edgeagent", "coordinate", "--config-store", url],
        env=environment,
        stderr=subprocess.DEVNULL,
    ) as process:
        told: list[str] = []
        try:
            while not (any(f"no answer: reading /edgeagent/coordinator from {url}" in t for t in told)) or (
                told.count("WATCHDOG=1") < 3
            ):
                told += manager.recv(4096).decode().split("\n")
            assert told[:2] == ["READY=1", "STATUS=waits for the lead"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
