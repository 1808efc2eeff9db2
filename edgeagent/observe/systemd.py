# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tell systemd how the node is: sd_notify(3), without a library. Outside systemd every call does nothing."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

import structlog

_log = structlog.get_logger(__name__)


def watchdog_interval(environ: Mapping[str, str] = os.environ) -> float | None:
    """Seconds within which systemd wants a sign of life from us, or None; feed it twice as often."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 1e6


class SystemdNotifier:
    """Sends the node's state to `NOTIFY_SOCKET`. Never raises; each method says whether systemd was told."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        if address and address[0] not in "@/":
            _log.warning(
                "systemd.notify_failed", why=f"NOTIFY_SOCKET {address!r} is of a kind that is not supported"
            )
            self._address = ""
        self._failed = False

    def ready(self, status: str = "") -> bool:
        """The node serves, or has re-read its configuration."""
        return self._send("READY=1", *_status(status))

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._send(*_status(text))

    def watchdog(self) -> bool:
        """Frames make progress. Call it on real progress only, not from a timer."""
        return self._send("WATCHDOG=1")

    def reloading(self) -> bool:
        """The configuration is being re-read; `ready` ends it."""
        return self._send(
            "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
        )

    def stopping(self, status: str = "") -> bool:
        """The node is on its way out."""
        return self._send("STOPPING=1", *_status(status))

    def _send(self, *lines: str) -> bool:
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
                s.setblocking(False)
                s.sendto("\n".join(lines).encode(), self._address)
        except OSError as e:
            if not self._failed:
                _log.warning("systemd.notify_failed", why=str(e))
            self._failed = True
            return False
        self._failed = False
        return True


def _status(text: str) -> list[str]:
    return [f"STATUS={' '.join(text.split())}"] if text else []
