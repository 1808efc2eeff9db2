# SPDX-License-Identifier: AGPL-3.0-or-later
"""Config store in etcd.

Of the etcd3 client only the messages and stubs are used. Its watcher ends for good when etcd restarts, so the
watch here is a loop of its own: read all keys, then take each event of a watch as a hint to read again. What is
reported always comes from a linearizable read; a lost, late or repeated event costs time, never truth.
"""

from __future__ import annotations

import math
import os
import random
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any
from weakref import WeakSet

import grpc  # type: ignore[import-untyped]

from edgeagent.errors import UnavailableError, UsageError
from edgeagent.intent.port import (
    ABSENT,
    Access,
    Connection,
    Entry,
    Expected,
    Lease,
    OnConnection,
    OnEntry,
    Outcome,
    Watch,
    check_prefix,
)
from edgeagent.intent.url import Address
from edgeagent.intent.watching import WatchEnded, WatchThread
from edgeagent.util.backoff import Backoff

# The generated code of etcd3 0.12 works only with protobuf's implementation in Python, which is chosen when
# protobuf is first imported. Put back afterwards: child processes that convert models need the fast one.
_CHOICE = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"
_chosen = os.environ.get(_CHOICE)
os.environ[_CHOICE] = "python"
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # hundreds, about how that code was generated
        import etcd3.etcdrpc as rpc
except TypeError as e:
    raise ImportError("protobuf was imported before edgeagent.intent.etcd, which must be first") from e
finally:
    os.environ.pop(_CHOICE)
    if _chosen is not None:
        os.environ[_CHOICE] = _chosen

_RANGE = attrgetter("kv.Range")
_PUT = attrgetter("kv.Put")
_TXN = attrgetter("kv.Txn")
_GRANT = attrgetter("lease.LeaseGrant")
_REVOKE = attrgetter("lease.LeaseRevoke")
PAGE_KEYS = 500  # in one answer, which gRPC limits to 4 MiB
_STEADY_S = 5.0  # a watch that held this long worked: its end is a first failure
_NO_LEADER = ("hasleader", "true")  # without it a member cut off from the others leaves a watch silent
_TRY_ANOTHER = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
)
_OPERATORS_FAULT = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
)
_STALE_TOKEN = ("invalid auth token", "user name is empty", "revision in header is old", "auth store is old")


def open_source(address: Address, access: Access) -> EtcdConfigStore:
    """The etcd at an address."""
    return EtcdConfigStore(address.endpoints, username=access.username, password_file=access.password_file)


class EtcdConfigStore:
    """Keys of an etcd cluster, reached through one of `endpoints` ("host:port") at a time, without TLS.

    username, password_file: for a cluster with authentication.
    deadline_s: longest wait for an answer of one endpoint; all of them are tried before a call gives up.
    read_every_s: limits of the time after which the keys are read without any event (seconds).
    backoff_s: limits of the delay after the first and after many failures of a watch (seconds).
    keepalive_s: time between pings, and how long to wait for their answer (seconds). etcd bears no pace below 5 s.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        username: str = "",
        password_file: Path | None = None,
        deadline_s: float = 3.0,
        read_every_s: tuple[float, float] = (15.0, 30.0),
        backoff_s: tuple[float, float] = (0.1, 30.0),
        keepalive_s: tuple[float, float] = (10.0, 5.0),
    ) -> None:
        self.url = f"etcd://{','.join(endpoints)}"
        self._read_every_s = read_every_s
        self._backoff_s = backoff_s
        options = (
            ("grpc.keepalive_time_ms", int(keepalive_s[0] * 1000)),
            ("grpc.keepalive_timeout_ms", int(keepalive_s[1] * 1000)),
            # What counts in gRPC 1.85 (60 s by default), whatever keepalive_timeout_ms says.
            ("grpc.http2.ping_timeout_ms", int(keepalive_s[1] * 1000)),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.use_local_subchannel_pool", 1),  # a new channel is not to inherit gRPC's own back-off
        )
        # A client each for calls and for every watch: a failed call doesn't disturb a watch that works.
        self._new_client = partial(_Client, tuple(endpoints), options, deadline_s, username, password_file)
        self._client = self._new_client()
        self._watches: WeakSet[_EtcdWatch] = WeakSet()

    def get(self, key: str) -> Entry:
        """Read one key, linearizably. Raises UnavailableError; UsageError if etcd refuses the user."""
        with _translated(f"reading {key} from {self.url}"):
            return _entry(key, self._client.call(_RANGE, rpc.RangeRequest(key=key.encode())))

    def put(self, key: str, value: bytes, lease: Lease | None = None) -> None:
        """Write one key. Raises UnavailableError; UsageError if etcd refuses the user or the size of the value."""
        self.get(key)  # finds an endpoint that works and a valid token, so that the writing is sent only once
        with _translated(f"writing {key} to {self.url}", "read the key: it may have been written even so"):
            self._client.call_once(_PUT, _put(key, value, lease))

    def list(self, prefix: str) -> Sequence[Entry]:
        """See KeyValueStore.list; in pages, all at the revision of the first.

        Raises UnavailableError, also when that revision is compacted meanwhile.
        """
        check_prefix(prefix)
        found: list[Entry] = []
        start, end, revision = prefix.encode(), prefix[:-1].encode() + b"0", 0  # "0" follows "/"
        with _translated(f"listing {prefix} of {self.url}"):
            while True:
                page = self._page(start, end, revision)
                found += [_found(kv) for kv in page.kvs]
                if not page.more:
                    return found
                start, revision = page.kvs[-1].key + b"\0", revision or page.header.revision

    def _page(self, start: bytes, end: bytes, revision: int) -> Any:
        """Up to PAGE_KEYS keys; fewer when these don't fit into one message."""
        limit = PAGE_KEYS
        while True:
            try:
                request = rpc.RangeRequest(key=start, range_end=end, limit=limit, revision=revision)
                return self._client.call(_RANGE, request)
            except grpc.RpcError as e:
                if e.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or limit == 1:
                    raise
                limit = max(1, limit // 8)

    def compare_and_set(
        self, expected: Sequence[Expected], writes: Mapping[str, bytes | None], lease: Lease | None = None
    ) -> Outcome:
        """See KeyValueStore.compare_and_set; one transaction. Raises UsageError if etcd refuses it."""
        request = rpc.TxnRequest(
            compare=[compare for e in expected for compare in _compares(e)],
            success=[_operation(key, value, lease) for key, value in writes.items()],
        )
        self.get(next(iter(writes)))  # finds an endpoint that works: the transaction is sent only once
        with _translated(f"writing {', '.join(writes)} to {self.url}"):
            try:
                answer = self._client.call_once(_TXN, request)
            except grpc.RpcError as e:
                if e.code() in _TRY_ANOTHER:
                    return Outcome.UNKNOWN
                raise
        return Outcome.WRITTEN if answer.succeeded else Outcome.REFUSED

    def lease(self, ttl_s: float) -> Lease:
        """A lease of `ttl_s`, rounded up to seconds. Raises UnavailableError; UsageError if etcd refuses the user."""
        with _translated(f"asking {self.url} for a lease"):
            granted = self._client.call(_GRANT, rpc.LeaseGrantRequest(TTL=math.ceil(ttl_s)))
        return _EtcdLease(self.url, self._client, granted.ID, granted.TTL)

    def watch(self, keys: Sequence[str], on_entry: OnEntry, on_connection: OnConnection) -> Watch:
        """See IntentSource.watch; `connected` says whether the keys can be read."""
        watch = _EtcdWatch(
            self.url,
            tuple(keys),
            on_entry,
            on_connection,
            client=self._new_client(),
            backoff=Backoff(*self._backoff_s),
            read_every_s=self._read_every_s,
        )
        self._watches.add(watch)
        watch.start()
        return watch

    def close(self) -> None:
        """End every watch and connection. Idempotent."""
        for watch in list(self._watches):
            watch.close()
        self._client.close()


class _EtcdLease:
    """A lease of etcd's. Kept alive by a request of its own, which makes no revision and doesn't grow the database."""

    def __init__(self, url: str, client: _Client, id: int, ttl_s: float) -> None:
        self.ttl_s = ttl_s
        self.id = id
        self._url = url
        self._client = client

    def keep_alive(self) -> bool:
        """See Lease.keep_alive."""
        with _translated(f"renewing a lease of {self._url}"):
            return bool(self._client.call(_keep_alive, rpc.LeaseKeepAliveRequest(ID=self.id)).TTL)

    def revoke(self) -> None:
        """See Lease.revoke."""
        with _translated(f"ending a lease of {self._url}"):
            try:
                self._client.call(_REVOKE, rpc.LeaseRevokeRequest(ID=self.id))
            except grpc.RpcError as e:
                if e.code() is not grpc.StatusCode.NOT_FOUND:
                    raise


def _put(key: str, value: bytes, lease: Lease | None) -> Any:
    if lease is None:
        return rpc.PutRequest(key=key.encode(), value=value)
    assert isinstance(lease, _EtcdLease), "a lease of another store"
    return rpc.PutRequest(key=key.encode(), value=value, lease=lease.id)


def _operation(key: str, value: bytes | None, lease: Lease | None) -> Any:
    if value is None:
        return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key.encode()))
    return rpc.RequestOp(request_put=_put(key, value, lease))


def _compares(expected: Expected) -> Iterator[Any]:
    key, equal = expected.key.encode(), rpc.Compare.EQUAL
    if expected.revision is not None:
        mod = 0 if expected.revision == ABSENT else int(expected.revision)
        yield rpc.Compare(key=key, target=rpc.Compare.MOD, result=equal, mod_revision=mod)
    if expected.created is not None:
        create = int(expected.created or 0)
        yield rpc.Compare(key=key, target=rpc.Compare.CREATE, result=equal, create_revision=create)


class _EtcdWatch(WatchThread):
    def __init__(
        self,
        url: str,
        keys: tuple[str, ...],
        on_entry: OnEntry,
        on_connection: OnConnection,
        *,
        client: _Client,
        backoff: Backoff,
        read_every_s: tuple[float, float],
    ) -> None:
        super().__init__(url, on_entry, on_connection, backoff)
        self._keys = keys
        self._client = client
        self._read_every_s = read_every_s
        self._revision = 0

    def _interrupt(self) -> None:
        self._client.close()

    def _follow(self) -> None:
        self._report_all()
        # Always from a revision that was just read: neither compaction nor a restored cluster can leave it behind.
        with closing(self._hints(self._revision + 1)) as hints:
            for revision in hints:
                if revision > self._revision:
                    self._report_all()

    def _report_all(self) -> None:
        with _translated(f"reading from {self._url}"):
            answers = [self._client.call(_RANGE, rpc.RangeRequest(key=key.encode())) for key in self._keys]
        self._revision = answers[0].header.revision
        self._report_connection(Connection(True))
        for key, answer in zip(self._keys, answers, strict=True):
            self._report_entry(_entry(key, answer))

    def _hints(self, start_revision: int) -> Generator[int, None, None]:
        """Revisions at which something happened to the keys, until it is time to read without being told."""
        over = threading.Event()

        def requests() -> Iterator[Any]:
            for key in self._keys:
                create = rpc.WatchCreateRequest(key=key.encode(), start_revision=start_revision)
                yield rpc.WatchRequest(create_request=create)
            over.wait()  # to say no more would half-close the stream, which not every server bears

        opened = time.monotonic()
        link = self._client.link()
        lifetime_s = random.uniform(*self._read_every_s)
        stream = link.watch.Watch(requests(), timeout=lifetime_s, metadata=(*link.token, _NO_LEADER))
        try:
            for response in stream:
                if response.canceled and response.compact_revision:
                    raise WatchEnded(f"the history before revision {response.compact_revision} is gone")
                if response.canceled:
                    raise WatchEnded(response.cancel_reason or "cancelled by etcd")
                if response.events:
                    yield max(event.kv.mod_revision for event in response.events)
            self._client.drop(link)
            raise WatchEnded("etcd closed the stream")
        except grpc.RpcError as e:
            if e.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                self._client.drop(link)
                raise WatchEnded(_why(e)) from e
        finally:
            over.set()
            stream.cancel()
            if time.monotonic() - opened >= _STEADY_S:
                self._backoff.reset()


class _Link:
    """A connection to one endpoint."""

    def __init__(self, endpoint: str, options: Sequence[tuple[str, int]]) -> None:
        self.channel = grpc.insecure_channel(endpoint, options)
        self.kv = rpc.KVStub(self.channel)
        self.watch = rpc.WatchStub(self.channel)
        self.lease = rpc.LeaseStub(self.channel)
        self.auth = rpc.AuthStub(self.channel)
        self.token: tuple[tuple[str, str], ...] = ()


_Method = Callable[[_Link], Callable[..., Any]]


class _Client:
    """Calls to a cluster: with a deadline, a valid token, and another endpoint after a failure. Thread-safe."""

    def __init__(
        self,
        endpoints: tuple[str, ...],
        options: Sequence[tuple[str, int]],
        deadline_s: float,
        username: str,
        password_file: Path | None,
    ) -> None:
        self._endpoints = endpoints
        self._options = options
        self._deadline_s = deadline_s
        self._username = username
        self._password_file = password_file
        self._lock = threading.Lock()
        self._next = 0
        self._link: _Link | None = None
        self._closed = False

    def link(self) -> _Link:
        """The connection in use. Raises UnavailableError after close."""
        with self._lock:
            if self._closed:
                raise UnavailableError("config store", "it has been closed")
            if self._link is None:
                self._link = _Link(self._endpoints[self._next], self._options)
            return self._link

    def drop(self, link: _Link) -> None:
        """Give up a connection that failed; the next one goes to the next endpoint."""
        with self._lock:
            if link is self._link:
                self._link = None
                self._next = (self._next + 1) % len(self._endpoints)
        link.channel.close()

    def close(self) -> None:
        """Cancel the calls under way and refuse new ones. Idempotent."""
        with self._lock:
            self._closed = True
            link, self._link = self._link, None
        if link is not None:
            link.channel.close()

    def call(self, method: _Method, request: Any) -> Any:
        """The answer to a request that may be sent twice, from whichever endpoint gives it.

        Raises grpc.RpcError, UnavailableError.
        """
        give_up = time.monotonic() + self._deadline_s * len(self._endpoints)
        for _ in range(
            max(2, len(self._endpoints)) - 1
        ):  # twice at least: a connection may have gone unnoticed
            try:
                return self.call_once(method, request)
            except grpc.RpcError as e:
                if e.code() not in _TRY_ANOTHER or time.monotonic() >= give_up:
                    raise
        return self.call_once(method, request)

    def call_once(self, method: _Method, request: Any) -> Any:
        """The answer of the endpoint in use. Raises grpc.RpcError, UnavailableError."""
        link = self.link()
        try:
            try:
                return self._send(link, method, request, new_token=False)
            except grpc.RpcError as e:
                if not self._username or not any(text in (e.details() or "") for text in _STALE_TOKEN):
                    raise
            return self._send(link, method, request, new_token=True)
        except grpc.RpcError as e:
            if e.code() in _TRY_ANOTHER:
                self.drop(link)
            raise
        except ValueError as e:  # grpc's answer when another thread has just closed the channel
            raise UnavailableError("config store", "the connection was closed") from e

    def _send(self, link: _Link, method: _Method, request: Any, *, new_token: bool) -> Any:
        if self._username and (new_token or not link.token):
            link.token = self._authenticate(link)
        return method(link)(request, timeout=self._deadline_s, metadata=(*link.token, _NO_LEADER))

    def _authenticate(self, link: _Link) -> tuple[tuple[str, str], ...]:
        assert self._password_file is not None
        try:
            password = self._password_file.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as e:
            raise UnavailableError("config store", f"can't read {self._password_file}: {e}") from e
        try:
            request = rpc.AuthenticateRequest(name=self._username, password=password)
            return (("token", link.auth.Authenticate(request, timeout=self._deadline_s).token),)
        except grpc.RpcError as e:
            if "authentication is not enabled" in (e.details() or ""):
                return ()
            raise


def _keep_alive(link: _Link) -> Callable[..., Any]:
    def once(request: Any, **options: Any) -> Any:
        return next(link.lease.LeaseKeepAlive(iter((request,)), **options), rpc.LeaseKeepAliveResponse())

    return once


def _entry(key: str, answer: Any) -> Entry:
    return _found(answer.kvs[0]) if answer.kvs else Entry(key, None, ABSENT)


def _found(kv: Any) -> Entry:
    return Entry(
        kv.key.decode(errors="replace"), bytes(kv.value), str(kv.mod_revision), str(kv.create_revision)
    )


@contextmanager
def _translated(what: str, todo: str = "") -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as e:
        if e.code() in _OPERATORS_FAULT or "larger than max" in (e.details() or ""):
            raise UsageError(what, e.details(), "see user, role, password and the size of the value") from e
        raise UnavailableError(what, _why(e), todo or "see whether etcd runs there and has a leader") from e


def _why(error: Any) -> str:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "no answer in time"
    return (error.details() or "").rpartition("last error: ")[2] or error.code().name
