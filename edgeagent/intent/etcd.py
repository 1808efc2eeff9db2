# SPDX-License-Identifier: AGPL-3.0-or-later
"""Config store in etcd.

Messages and methods are made in etcd_messages.py; the watch is in etcd_watch.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any
from weakref import WeakSet

import grpc  # type: ignore[import-untyped]

from edgeagent.errors import UnavailableError, UsageError
from edgeagent.intent.etcd_client import TRY_ANOTHER, Client, translated
from edgeagent.intent.etcd_health import Health, ask_health, compaction_advice, room_advice
from edgeagent.intent.etcd_messages import rpc
from edgeagent.intent.etcd_watch import MESSAGE_BYTES, EtcdWatch, entry_of, found_entry
from edgeagent.intent.port import (
    ABSENT,
    Access,
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
from edgeagent.util.backoff import Backoff

_NO_ACCESS = Access()
_RANGE = attrgetter("kv.Range")
_PUT = attrgetter("kv.Put")
_TXN = attrgetter("kv.Txn")
_GRANT = attrgetter("lease.LeaseGrant")
_REVOKE = attrgetter("lease.LeaseRevoke")
_KEEP_ALIVE = attrgetter("lease.LeaseKeepAlive")
_WATCH_DEADLINE_S = 2.0  # longest wait of a watch for an answer: so long it doesn't notice that it is deaf
_MANY_REVISIONS = 1000
PAGE_KEYS = 500  # in one answer, which gRPC limits to 4 MiB


def open_source(address: Address, access: Access) -> EtcdConfigStore:
    """The etcd at an address."""
    return EtcdConfigStore(address.endpoints, access=access)


class EtcdConfigStore:
    """Keys of an etcd cluster, reached through one of `endpoints` ("host:port") at a time.

    access: its only option is `http_proxy`: whether the proxy that the environment names is used.
    deadline_s: longest wait for an answer of one endpoint; all of them are tried before a call gives up.
    read_every_s: limits of the time after which the keys are read without any event (seconds).
    backoff_s: limits of the delay after the first and after many failures of a watch (seconds).
    keepalive_s: time between pings, and how long to wait for their answer (seconds). etcd bears no pace below 5 s.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        access: Access = _NO_ACCESS,
        deadline_s: float = 3.0,
        read_every_s: tuple[float, float] = (1.0, 2.0),
        backoff_s: tuple[float, float] = (0.1, 30.0),
        keepalive_s: tuple[float, float] = (10.0, 5.0),
    ) -> None:
        self.url = f"etcd://{','.join(endpoints)}"
        self._read_every_s = read_every_s
        self._backoff_s = backoff_s
        if access.options.keys() - {"http_proxy"}:
            raise UsageError(
                f"config store {self.url}", "unknown options", "allowed: {http_proxy: true or false}"
            )
        options = (
            # gRPC would take http_proxy from the environment, also for a server beside it.
            ("grpc.enable_http_proxy", int(str(access.options.get("http_proxy", False)).lower() == "true")),
            ("grpc.keepalive_time_ms", int(keepalive_s[0] * 1000)),
            ("grpc.keepalive_timeout_ms", int(keepalive_s[1] * 1000)),
            # What counts in gRPC 1.85 (60 s by default), whatever keepalive_timeout_ms says.
            ("grpc.http2.ping_timeout_ms", int(keepalive_s[1] * 1000)),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.use_local_subchannel_pool", 1),  # a new channel is not to inherit gRPC's own back-off
        )
        # A client each for calls and for every watch: a failed call doesn't disturb a watch that works.
        self._client = Client(tuple(endpoints), options, deadline_s, access=access)
        large = ("grpc.max_receive_message_length", MESSAGE_BYTES)
        deadline_s = min(deadline_s, _WATCH_DEADLINE_S)
        self._new_watch_client = partial(
            Client, tuple(endpoints), (*options, large), deadline_s, access=access
        )
        self._watches: WeakSet[EtcdWatch] = WeakSet()

    def get(self, key: str) -> Entry:
        """Read one key, linearizably. Raises UnavailableError; UsageError if etcd refuses the user."""
        with translated(f"reading {key} from {self.url}"):
            return entry_of(key, self._client.call(_RANGE, rpc.RangeRequest(key=key.encode())))

    def put(self, key: str, value: bytes, lease: Lease | None = None) -> None:
        """Write one key. Raises UnavailableError; UsageError if etcd refuses the user or the size of the value."""
        self._prepare_writing(key)
        with translated(f"writing {key} to {self.url}", "read the key: it may have been written even so"):
            self._client.call_once(_PUT, _put(key, value, lease))

    def list(self, prefix: str) -> Sequence[Entry]:
        """See KeyValueStore.list; in pages, all at the revision of the first.

        Raises UnavailableError, also when that revision is compacted meanwhile.
        """
        check_prefix(prefix)
        found: list[Entry] = []
        start, end, revision = prefix.encode(), prefix[:-1].encode() + b"0", 0  # "0" follows "/"
        with translated(f"listing {prefix} of {self.url}"):
            while True:
                page = self._page(start, end, revision)
                found += [found_entry(kv) for kv in page.kvs]
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
        compare = [compare for e in expected for compare in _compares(e)]
        if not writes:
            return self._check(expected, compare)
        success = [_operation(key, value, lease) for key, value in writes.items()]
        self._prepare_writing(next(iter(writes)))
        with translated(f"writing {', '.join(writes)} to {self.url}"):
            try:
                answer = self._client.call_once(_TXN, rpc.TxnRequest(compare=compare, success=success))
            except grpc.RpcError as e:
                if e.code() in TRY_ANOTHER:
                    return Outcome.UNKNOWN
                raise
        return Outcome.WRITTEN if answer.succeeded else Outcome.REFUSED

    def _prepare_writing(self, key: str) -> None:
        """Have an endpoint that works and a valid token: a writing is sent only once."""
        if not self._client.has_just_answered():
            self.get(key)

    def _check(self, expected: Sequence[Expected], compare: Sequence[Any]) -> Outcome:
        # A transaction of comparisons alone is answered by any member from what it knows, be it out of date: etcd waits
        # for the others only where something is read. So the first key is counted.
        read = [rpc.RangeRequest(key=e.key.encode(), count_only=True) for e in expected[:1]]
        success = [rpc.RequestOp(request_range=one) for one in read]
        with translated(f"reading {', '.join(e.key for e in expected)} from {self.url}"):
            answer = self._client.call(_TXN, rpc.TxnRequest(compare=compare, success=success))
        return Outcome.WRITTEN if answer.succeeded else Outcome.REFUSED

    def lease(self, ttl_s: float) -> Lease:
        """A lease of `ttl_s`, rounded up to seconds. Raises UnavailableError; UsageError if etcd refuses the user."""
        with translated(f"asking {self.url} for a lease"):
            granted = self._client.call(_GRANT, rpc.LeaseGrantRequest(TTL=math.ceil(ttl_s)))
        return _EtcdLease(self.url, self._client, granted.ID, granted.TTL)

    def advice(self) -> str:
        """See Advising: whether its history is ever compacted, and its file made smaller. UsageError if etcd refuses
        the user."""
        key = b"/models/"
        with translated(f"reading from {self.url}"):
            revisions = self._client.call(_RANGE, rpc.RangeRequest(key=key)).header.revision
            try:
                self._client.call(_RANGE, rpc.RangeRequest(key=key, revision=1))
            except grpc.RpcError as e:
                if e.code() is not grpc.StatusCode.OUT_OF_RANGE:
                    raise
                return room_advice(ask_health(self._client) or Health())  # the first revision was dropped
        if revisions <= _MANY_REVISIONS:
            return ""
        return compaction_advice(revisions, ask_health(self._client) or Health())

    def watch(self, keys: Sequence[str], on_entry: OnEntry, on_connection: OnConnection) -> Watch:
        """See IntentSource.watch; `connected`: the keys can be read. Raises UnavailableError after close."""
        if self._client.closed:  # nobody would end this watch
            raise UnavailableError(f"config store {self.url}", "it has been closed")
        watch = EtcdWatch(
            self.url,
            tuple(keys),
            on_entry,
            on_connection,
            client=self._new_watch_client(),
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

    def __init__(self, url: str, client: Client, id: int, ttl_s: float) -> None:
        self.ttl_s = ttl_s
        self.id = id
        self._url = url
        self._client = client

    def keep_alive(self) -> bool:
        """See Lease.keep_alive."""
        with translated(f"renewing a lease of {self._url}"):
            return bool(self._client.call(_KEEP_ALIVE, rpc.LeaseKeepAliveRequest(ID=self.id)).TTL)

    def revoke(self) -> None:
        """See Lease.revoke."""
        with translated(f"ending a lease of {self._url}"):
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
