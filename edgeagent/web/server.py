# SPDX-License-Identifier: AGPL-3.0-or-later
"""Serve the API with uvicorn, inside the node's own event loop and under the node's own signal handling."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import time
from collections.abc import Iterator

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from edgeagent.config import is_loopback
from edgeagent.errors import UnavailableError
from edgeagent.web.connections import ConnectionLimits, NoRoomError, who_gives_way
from edgeagent.web.hello import hello_has_come
from edgeagent.web.listen import listen
from edgeagent.web.rest_of_body import RestOfBody
from edgeagent.web.tls import ServerTls
from edgeagent.web.turns import Turns

STOP_SECONDS = 2
REQUEST_SECONDS = 15.0
"""Until the head of a request is whole; a client that keeps a connection alive is let go sooner."""
MAX_HEAD_BYTES = 8 * 1024
PIECE_BYTES = 2 * 1024
"""What a connection may have parsed in one turn: a body in chunks of a byte each costs 20 µs a chunk."""
HELLO_ROUNDS = 5
"""Of the loop, until asyncio has answered a TLS hello that is there: task, transport, handshake, data, one to spare."""
ACCEPT_AGAIN_S = 1.0
ROOM_AGAIN_S = 0.01
TICK_S = 1.0
"""How often the date that answers bear is renewed."""
RENEWAL_S = 5.0
"""How often it is looked whether the certificate was renewed."""
GRACE_S = 0.25
"""What a client has sent may not have been looked at yet: before this time it is not taken to be waited for."""
MAX_SHOWN = 1000
"""Addresses that are remembered to have shown the token."""

_log = structlog.get_logger(__name__)


class _Uvicorn(uvicorn.Server):
    """Leaves signals alone: the node handles them. And the event loop: uvicorn's own asks ten times a second whether it
    is to end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ends = asyncio.Event()

    def end(self) -> None:
        """From now on it stops."""
        self.should_exit = True
        self._ends.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ends.wait(), TICK_S)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Connection(H11Protocol):
    """One client. What it sends is read in pieces, each when it is its turn; who asks nothing for a while is let go."""

    def __init__(self, server: ApiServer, peer: str, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config, state, {"connection": self})
        self.peer = peer
        self.known = is_loopback(peer)
        self.since = time.monotonic()
        self._server = server
        self._arrival: asyncio.Task[None] | None = None
        self._unread = bytearray()
        self._queued = False
        self._patience: asyncio.TimerHandle | None = None
        self._rest: RestOfBody | None = None

    @property
    def waits(self) -> bool:
        """For its client: it asks nothing, has not finished its request, or doesn't read its answer."""
        cycle = self.cycle
        if self._rest or cycle is None or cycle.response_complete or cycle.more_body:
            return not self._queued and time.monotonic() - self.since > GRACE_S
        return self.flow.write_paused

    def begin(self, sock: socket.socket) -> None:
        """Greet the client; with TLS that takes a while."""
        self._arrival = asyncio.create_task(self._arrive(sock))

    def token_shown(self) -> None:
        """It has a place of those that are kept, and its address may have further ones."""
        self.known = True
        self._server.remember(self.peer)

    def end(self) -> None:
        """At once, whatever it waits for."""
        self._server.held.discard(self)
        if self.transport:
            self.transport.abort()
        elif self._arrival:
            self._arrival.cancel()

    async def drop_rest(self) -> None:
        """What its client still sends is dropped, within bounds, until the client goes."""
        self._rest = RestOfBody()
        if self.transport.is_closing():  # it has gone: nobody would say so again
            return
        self._unread.clear()
        self.flow.resume_reading()
        self.transport.resume_reading()
        await self._rest.wait()

    async def _arrive(self, sock: socket.socket) -> None:
        tls = self.config.ssl
        timeout = REQUEST_SECONDS if tls else None
        try:
            if tls:
                await self._await_hello(sock)
            await self.loop.connect_accepted_socket(
                lambda: self, sock, ssl=tls, ssl_handshake_timeout=timeout
            )
        except OSError as e:
            _log.debug("connection.not_begun", peer=self.peer, why=str(e))
        finally:
            if self.transport is None:
                self._server.held.discard(self)

    async def _await_hello(self, sock: socket.socket) -> None:
        """Until the hello is there, and it is its turn: the answer costs the event loop as much as some requests."""
        turn = asyncio.Event()
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                await hello_has_come(sock)
            self._queued = True
            self._server.turns.ask(self.peer, turn.set, HELLO_ROUNDS)
            await turn.wait()
        except BaseException:
            sock.close()
            raise
        finally:
            self._queued = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        if self._rest:
            self._rest.take(len(data))
            return
        self._unset_keepalive_if_required()
        self._unread += data
        self.handle_events()

    def handle_events(self) -> None:
        """Ask for a turn: parsing costs the event loop time, and the answer more. Nothing is read meanwhile."""
        self.since = time.monotonic()
        if not self._queued:
            self._queued = True
            self.transport.pause_reading()
            self._server.turns.ask(self.peer, self._take_turn)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.since = time.monotonic()
        if self._server.room_wanted:
            self._server.held.discard(self)
            self.transport.close()  # once its answer is sent; whoever waits for room gets on as fast as one is served
        else:
            self._await_request()

    def shutdown(self) -> None:
        super().shutdown()
        if self._rest:
            self._rest.end()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest:
            self._rest.end()
        if self._patience:
            self._patience.cancel()
        self._server.held.discard(self)
        super().connection_lost(exc)

    def _take_turn(self) -> None:
        self._queued = False
        if self._rest or self.transport.is_closing():
            return
        if self._unread:
            self.conn.receive_data(bytes(self._unread[:PIECE_BYTES]))
            del self._unread[:PIECE_BYTES]
        super().handle_events()
        if self._unread:
            self.handle_events()
        elif not self.flow.read_paused:
            self.transport.resume_reading()

    def _await_request(self) -> None:
        if self._patience:
            self._patience.cancel()
        self._patience = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _give_up(self) -> None:
        # However its bytes dribble in: uvicorn's own timer stops at the first of them.
        if self._queued:
            self._await_request()
        elif self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


class ApiServer:
    """One listening address. `port` 0 takes a free one; after `start`, `port` is the one taken.

    Connections are accepted one by one here rather than by asyncio, which takes in a crowd before the loop turns.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        limits: ConnectionLimits | None = None,
        tls: ServerTls | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        """listening: on that address already, as `listen` gives it."""
        self.host = host
        self.port = port
        self.turns = Turns()
        self.held: set[_Connection] = set()
        self.room_wanted = False
        self._limits = limits or _limits()
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                http="h11",
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=10,
                timeout_graceful_shutdown=STOP_SECONDS,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            )
        )
        self._server.config.load()
        self._server.config.ssl = tls.context if tls else None
        self._tls = tls
        self._listening = listening
        self._shown: dict[str, None] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        """Where it can be reached."""
        scheme = "https" if self._server.config.ssl else "http"
        return f"{scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    async def start(self) -> None:
        """Listen; returns when requests are answered.

        Raises UnavailableError (the port is taken, or not allowed) or UsageError (no such address).
        """
        sock, self._listening = self._listening, None
        if sock is None:
            sock = await asyncio.to_thread(listen, self.host, self.port)
        self.port = sock.getsockname()[1]
        serving = asyncio.create_task(self._server.serve([]), name="api")
        while not self._server.started:
            await asyncio.wait([serving], timeout=0.01)
            if serving.done():
                sock.close()
                await serving
                raise UnavailableError(f"api at {self.url}", "the server ended at its start", "see the log")
        self._tasks = [
            asyncio.create_task(self._accept(sock), name="api accept"),
            asyncio.create_task(self.turns.run(), name="api turns"),
            asyncio.create_task(self._look_for_renewal(), name="api certificate"),
            serving,
        ]

    async def stop(self) -> None:
        """Stop listening; requests under way get two seconds. Idempotent."""
        if not self._tasks:
            return
        (accepting, turns, looking, serving), self._tasks = self._tasks, []
        accepting.cancel()
        looking.cancel()
        await asyncio.wait([accepting, looking])
        for connection in [c for c in self.held if c.transport is None]:
            connection.end()
        self._server.end()
        await serving
        turns.cancel()
        await asyncio.wait([turns])

    def remember(self, peer: str) -> None:
        """This address has shown the token."""
        self._shown.pop(peer, None)
        self._shown[peer] = None
        while len(self._shown) > MAX_SHOWN:
            del self._shown[next(iter(self._shown))]

    async def _accept(self, listening: socket.socket) -> None:
        with listening:
            while True:
                try:
                    sock, address = await asyncio.get_running_loop().sock_accept(listening)
                except OSError as e:  # such as no descriptors left
                    _log.warning("connection.not_accepted", why=str(e))
                    await asyncio.sleep(ACCEPT_AGAIN_S)
                    continue
                begin = time.thread_time()
                sock.setblocking(False)
                if await self._make_room(address[0]):
                    state = self._server.server_state
                    connection = _Connection(self, address[0], self._server.config, state)
                    self.held.add(connection)
                    connection.begin(sock)
                else:
                    sock.close()
                await self.turns.rest(begin)

    async def _look_for_renewal(self) -> None:
        while self._tls:
            await asyncio.sleep(RENEWAL_S)
            await asyncio.to_thread(self._tls.look)

    async def _make_room(self, peer: str) -> bool:
        """Whether one more connection of this address may begin; another may have to end for it."""
        known = is_loopback(peer) or peer in self._shown
        while True:
            try:
                ending = who_gives_way(peer, known, self.held, self._limits)
            except NoRoomError:
                if not known:
                    _log.warning(
                        "connection.refused", peer=peer, why="all connections are at work for others"
                    )
                    return False
                self.room_wanted = True
                await asyncio.sleep(ROOM_AGAIN_S)
            else:
                self.room_wanted = False
                if ending is not None:
                    ending.end()
                return True


def _limits() -> ConnectionLimits:
    """No more than a quarter of the descriptors: cameras, workers and stores need theirs."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    total = max(16, min(ConnectionLimits.total, descriptors // 4))
    return ConnectionLimits(total, total // 4, total // 4)
