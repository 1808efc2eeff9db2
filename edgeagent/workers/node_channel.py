# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node's end of the pipe to a worker. In a file of its own: a worker has no use for asyncio, and starts sooner."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence

from edgeagent.workers.channel import send_whole
from edgeagent.workers.messages import MAX_MESSAGE_BYTES, Message, decode, encode

_MAX_BACKLOG = 4096
_READS_PER_WAKE_UP = 16
_BYTES_PER_WAKE_UP = 64 * 1024
"""Decoding takes time: a worker that floods the node gets no more of the event loop's turn than this."""


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
            send_whole(self._sock, data, fds)
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
        left = _BYTES_PER_WAKE_UP
        while left > 0:
            try:
                data = self._sock.recv(MAX_MESSAGE_BYTES + 1)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._fail("")
                return
            left -= max(len(data), _BYTES_PER_WAKE_UP // _READS_PER_WAKE_UP)
            try:
                message = decode(data)
            except ValueError as e:
                self._fail(f"sent what is no message: {e}")
                return
            self._on_message(message)
            if not self._open:
                return
