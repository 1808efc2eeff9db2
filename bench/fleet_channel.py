# SPDX-License-Identifier: AGPL-3.0-or-later
"""Channels of gRPC for many pretended nodes in a process: each is a connection, as usual, but one event loop waits for
all of them.

A usual one has a thread which wakes up five times a second to see whether the process was sent a signal; hundreds of
them do little else than wait for each other. `install` puts these in their place; the etcd client above them is real.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

import grpc  # type: ignore[import-untyped]
import grpc.aio  # type: ignore[import-untyped]

T = TypeVar("T")
Options = Iterable[tuple[str, int]]


class CancelledCallError(grpc.RpcError):  # type: ignore[misc]
    """A call whose channel was closed."""

    def code(self) -> grpc.StatusCode:
        """As gRPC says it."""
        return grpc.StatusCode.CANCELLED

    def details(self) -> str:
        """For people."""
        return "Channel closed!"


class LoopChannel:
    """What the etcd client uses of grpc.Channel. For any thread but the loop's, which it would wait for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, endpoint: str, options: Options) -> None:
        self._loop = loop
        self._work: set[Future[Any]] = set()
        self._is_closed = False
        self._channel = self.start(_open(endpoint, options)).result()

    def unary_unary(self, method: str, **how: Callable[..., Any]) -> Callable[..., Any]:
        """See grpc.Channel: a method that takes a request, `timeout` and `metadata`."""
        call = self._channel.unary_unary(method, **how)

        async def answer(request: Any, timeout: float, metadata: Any) -> Any:
            return await call(request, timeout=timeout, metadata=metadata)

        def ask(request: Any, *, timeout: float, metadata: Any) -> Any:
            try:
                return self.start(answer(request, timeout, metadata)).result()
            except CancelledError as e:
                raise CancelledCallError from e

        return ask

    def stream_stream(self, method: str, **how: Callable[..., Any]) -> Callable[..., LoopStream]:
        """See grpc.Channel: a method that takes requests and `metadata`."""
        call = self._channel.stream_stream(method, **how)
        return lambda requests, metadata: LoopStream(self, partial(call, metadata=metadata), requests)

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin with it on the loop; it is cancelled with the channel. Raises ValueError when that is closed."""
        if self._is_closed:
            work.close()
            raise ValueError("the channel is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._work.add(future)
        future.add_done_callback(self._work.discard)
        if self._is_closed:  # meanwhile
            future.cancel()
        return future

    def close(self) -> None:
        """Its calls end, too. Doesn't wait for that."""
        self._is_closed = True
        for future in tuple(self._work):  # not by closing it: gRPC leaves some of them waiting for ever
            future.cancel()
        asyncio.run_coroutine_threadsafe(self._channel.close(), self._loop)


class LoopStream:
    """What the etcd client uses of a stream: its answers, one after the other, and `cancel`."""

    def __init__(self, channel: LoopChannel, call: Callable[[], Any], requests: Iterator[Any]) -> None:
        self._told: SimpleQueue[Any] = SimpleQueue()
        self._channel = channel
        self._requests = requests
        self._listening = channel.start(self._listen(call))

    def __iter__(self) -> LoopStream:
        return self

    def __next__(self) -> Any:
        """The next answer, when it is there. Raises grpc.RpcError."""
        told = self._told.get()
        if isinstance(told, BaseException):
            raise told
        return told

    def cancel(self) -> None:
        """No more of them. Doesn't wait for that."""
        self._listening.cancel()

    async def _listen(self, call: Callable[[], Any]) -> None:
        end: BaseException = RuntimeError("a defect of LoopStream's")  # what the iteration ends with
        try:
            stream = call()
            threading.Thread(target=self._ask, args=(stream,), name="stream-requests", daemon=True).start()
            async for answer in stream:
                self._told.put(answer)
            end = StopIteration()
        except grpc.RpcError as e:
            end = e
        except asyncio.CancelledError:
            end = CancelledCallError()
        finally:
            self._told.put(end)

    def _ask(self, stream: Any) -> None:
        """In a thread of its own: the next request may be long in coming."""

        async def write(request: Any) -> None:
            with suppress(grpc.RpcError, asyncio.InvalidStateError):  # of which who listens hears, too
                await stream.write(request)

        with suppress(ValueError, CancelledError):
            for request in self._requests:
                self._channel.start(write(request)).result()


def install(loop: asyncio.AbstractEventLoop) -> None:
    """From now on the channels that this process opens are such, on this loop."""

    def open_channel(endpoint: str, options: Options) -> LoopChannel:
        return LoopChannel(loop, endpoint, options)

    grpc.insecure_channel = open_channel


async def _open(endpoint: str, options: Options) -> Any:
    return grpc.aio.insecure_channel(endpoint, tuple(options))
