# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pipe between node and worker: a SOCK_SEQPACKET pair, which keeps messages whole and carries descriptors.

Here is the worker's end; the node's is in `node_channel`.
"""

from __future__ import annotations

import array
import select
import socket
from collections import deque

from edgeagent.workers.messages import MAX_MESSAGE_BYTES, Message, decode, encode

_BUFFER_BYTES = 512 * 1024


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair: the node's end (non-blocking) and the worker's end (blocking, to be inherited)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    ours.setblocking(False)
    return ours, theirs


class NodeGoneError(Exception):
    """The node closed its end or died: the worker has nothing more to live for."""


class WorkerChannel:
    """The worker's end: blocking; one thread at a time receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # Descriptors received, in order; whoever handles the message takes them.
        self.fds: deque[int] = deque()

    def fileno(self) -> int:
        """The socket's descriptor, for `select`."""
        return self._sock.fileno()

    def send(self, message: Message) -> None:
        """Send. Raises NodeGoneError."""
        try:
            send_whole(self._sock, encode(message), ())
        except OSError as e:
            raise NodeGoneError(str(e)) from e

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message, or None when none came within `timeout_s` seconds. Raises NodeGoneError."""
        if timeout_s is not None and not select.select([self._sock], [], [], timeout_s)[0]:
            return None
        try:
            data, ancillary, _, _ = self._sock.recvmsg(MAX_MESSAGE_BYTES + 1, socket.CMSG_SPACE(4 * 4))
        except OSError as e:
            raise NodeGoneError(str(e)) from e
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
                self.fds.extend(fds)
        if not data:
            raise NodeGoneError("closed by the node")
        return decode(data)


def send_whole(sock: socket.socket, data: bytes, fds: tuple[int, ...]) -> None:
    """One message with its descriptors. Raises OSError."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)
