# SPDX-License-Identifier: AGPL-3.0-or-later
"""The socket on which the API listens."""

from __future__ import annotations

import errno
import socket

from edgeagent.errors import UnavailableError, UsageError

UNREAD_SECONDS = 30
"""What was sent to a client that is gone, or doesn't read, may wait for so long until its connection is cut."""
SILENT_SECONDS = 60
"""After so long without a word it is asked whether the client's machine is still there."""
RECEIVE_BYTES = 64 * 1024
WAITING_CONNECTIONS = 1024
"""Connections that the kernel holds until they are accepted."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on the address. Raises what `ApiServer.start` says."""
    what = f"api at {host} port {port}"
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as e:
        raise UsageError(
            what, f"the host is not known ({e})", "set api.host to an address of this machine"
        ) from e
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # While a camera is away, nothing is sent that would show that a viewer's machine has lost its power.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENT_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, SILENT_SECONDS // 6)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
        sock.bind(address)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        sock.setblocking(False)
        sock.listen(WAITING_CONNECTIONS)
    except OSError as e:
        sock.close()
        if e.errno == errno.EADDRNOTAVAIL:
            raise UsageError(
                what, "no such address here", "set api.host to an address of this machine"
            ) from e
        todo = "stop what listens there, or set another api.port"
        why = "the port is taken" if e.errno == errno.EADDRINUSE else str(e.strerror)
        raise UnavailableError(
            what, why, todo if e.errno == errno.EADDRINUSE else "set another api.port"
        ) from e
    return sock
