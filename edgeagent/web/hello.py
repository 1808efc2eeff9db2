# SPDX-License-Identifier: AGPL-3.0-or-later
"""Waits for a TLS client's hello without taking it off its socket."""

from __future__ import annotations

import asyncio
import socket

_HANDSHAKE = 22
_HEAD_BYTES = 5
"""Of a TLS record: its kind, two bytes of version, two of length."""


async def hello_has_come(sock: socket.socket) -> None:
    """Until the client's first TLS record is there as a whole, or it is clear that none comes. Raises OSError.

    The answer to a hello costs a signature, and can then be given at once, when it is its turn.
    """
    await _readable(sock, _HEAD_BYTES)
    head = sock.recv(_HEAD_BYTES, socket.MSG_PEEK)
    if len(head) == _HEAD_BYTES and head[0] == _HANDSHAKE:
        await _readable(sock, _HEAD_BYTES + int.from_bytes(head[3:]))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


async def _readable(sock: socket.socket, size: int) -> None:
    """Until so many bytes are there, or the client has ended."""
    loop = asyncio.get_running_loop()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
    there = asyncio.Event()
    loop.add_reader(sock, there.set)
    try:
        await there.wait()
    finally:
        loop.remove_reader(sock)
