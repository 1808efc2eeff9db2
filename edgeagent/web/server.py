# SPDX-License-Identifier: AGPL-3.0-or-later
"""Serve the API with uvicorn, inside the node's own event loop and under the node's own signal handling."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgeagent.errors import UnavailableError, UsageError

STOP_SECONDS = 2
REQUEST_SECONDS = 15.0
"""Until the head of a request is whole; a client that keeps a connection alive is let go sooner."""
UNREAD_SECONDS = 30
"""What was sent to a client that is gone, or doesn't read, may wait for so long until its connection is cut."""


class _Uvicorn(uvicorn.Server):
    """Leaves signals alone: the node handles them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Connection(H11Protocol):
    """Ends when it asks nothing for a while: connections are few, and whoever hoards them locks the operator out."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._await_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._patience:
            self._patience.cancel()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        if self._patience:
            self._patience.cancel()
        self._patience = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _give_up(self) -> None:
        # However its bytes dribble in: uvicorn's own timer stops at the first of them.
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


class ApiServer:
    """One listening address. `port` 0 takes a free one; after `start`, `port` is the one taken."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                http=_Connection,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                proxy_headers=False,
                limit_concurrency=128,
                timeout_keep_alive=10,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it can be reached."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    async def start(self) -> None:
        """Listen; returns when requests are answered.

        Raises UnavailableError (the port is taken, or not allowed) or UsageError (no such address).
        """
        sock = listen(self.host, self.port)
        self.port = sock.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve([sock]), name="api")
        while not self._server.started:
            await asyncio.wait([self._task], timeout=0.01)
            if self._task.done():
                sock.close()
                await self._task
                raise UnavailableError(f"api at {self.url}", "the server ended at its start", "see the log")

    async def stop(self) -> None:
        """Stop listening; requests under way get two seconds. Idempotent."""
        if self._task is None:
            return
        task, self._task = self._task, None
        self._server.should_exit = True
        await task


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
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
        sock.bind(address)
        sock.listen(128)
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
