# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pipe between node and worker: a SOCK_SEQPACKET pair, which keeps messages whole and carries descriptors."""

from __future__ import annotations

import array
import asyncio
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence

from edgeagent.workers.messages import MAX_MESSAGE_BYTES, Message, decode, encode

_BUFFER_BYTES = 512 * 1024
_MAX_BACKLOG = 4096
_READS_PER_WAKE_UP = 16


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair: the node's end (non-blocking) and the worker's end (blocking, to be inherited)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    ours.setblocking(False)
    return ours, theirs


class NodeChannel:
    """The node's end, on its event loop. Never blocks: what the worker doesn't take yet waits here.

    on_message is called with each message; on_close once, when the other end is gone (with an empty reason)
    or misbehaves (with what it did). After on_close nothing is called any more.
    """

    def __init__(
        self, sock: socket.socket, on_message: Callable[[Message], None], on_close: Callable[[str], None]
    ) -> None:
        self._sock = sock
        self._on_message = on_message
        self._on_close = on_close
        self._backlog: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._open = True
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._readable)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send, or keep for later when the worker is slow (descriptors are duplicated). No-op once closed."""
        if not self._open:
            return
        data = encode(message)
        if self._backlog or not self._try_send(data, tuple(fds)):
            if len(self._backlog) >= _MAX_BACKLOG:
                self._fail("the worker doesn't read its messages")
                return
            if not self._backlog:
                self._loop.add_writer(self._sock, self._writable)
            self._backlog.append((data, tuple(os.dup(fd) for fd in fds)))

    def drain(self) -> None:
        """Deliver what has arrived already, for a worker that has ended."""
        while self._open and select.select([self._sock], [], [], 0)[0]:
            self._readable()

    def close(self) -> None:
        """Close without calling on_close. Idempotent."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        for _, fds in self._backlog:
            for fd in fds:
                os.close(fd)
        self._backlog.clear()
        self._sock.close()

    def _fail(self, why: str) -> None:
        if self._open:
            self.close()
            self._on_close(why)

    def _try_send(self, data: bytes, fds: tuple[int, ...]) -> bool:
        try:
            _send(self._sock, data, fds)
        except BlockingIOError:
            return False
        except OSError:
            # The worker is gone: the reader will say so, after what the worker said before its end.
            return True
        return True

    def _writable(self) -> None:
        while self._backlog:
            data, fds = self._backlog[0]
            if not self._try_send(data, fds):
                return
            for fd in fds:
                os.close(fd)
            self._backlog.popleft()
        self._loop.remove_writer(self._sock)

    def _readable(self) -> None:
        for _ in range(_READS_PER_WAKE_UP):
            try:
                data = self._sock.recv(MAX_MESSAGE_BYTES + 1)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._fail("")
                return
            try:
                message = decode(data)
            except ValueError as e:
                self._fail(f"sent what is no message: {e}")
                return
            self._on_message(message)
            if not self._open:
                return


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
            _send(self._sock, encode(message), ())
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


def _send(sock: socket.socket, data: bytes, fds: tuple[int, ...]) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)
