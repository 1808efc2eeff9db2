# SPDX-License-Identifier: AGPL-3.0-or-later
"""What listens at an address: nobody, TLS or not, which kind of server; and what time it is there."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

TIMEOUT_S = 3.0
_MOST = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """To a GET. time: by its Date, Unix seconds; None where it has none."""

    status: int
    body: bytes
    time: float | None

    @property
    def doc(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


def no_connection(host: str, port: int) -> OSError | None:
    """Why there is none; None where there is one."""
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S):
            return None
    except OSError as e:
        return e


def any_certificate() -> ssl.SSLContext:
    """To find out whether there is TLS at all, whoever is there. Nothing secret is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def speaks_tls(host: str, port: int) -> bool:
    """Whether it takes part in a handshake."""
    try:
        with (
            socket.create_connection((host, port), timeout=TIMEOUT_S) as plain,
            any_certificate().wrap_socket(plain, server_hostname=host),
        ):
            return True
    except ssl.SSLError as e:  # "wrong version number" is what one that speaks none says; an alert is TLS
        return "ALERT" in (e.reason or "").upper()
    except OSError:
        return False


def ask(host: str, port: int, path: str, *, tls: bool = False) -> Answer | None:
    """The answer over http or https, from whoever is there; None where there is none."""
    connection = (
        http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=any_certificate())
        if tls
        else http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    )
    try:
        connection.request("GET", path)
        got = connection.getresponse()
        return Answer(got.status, got.read(_MOST), _time(got.getheader("Date")))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def _time(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, OverflowError):
        return None
