# SPDX-License-Identifier: AGPL-3.0-or-later
"""Calls to an etcd cluster: channels, tokens, deadlines, and the next endpoint after a failure."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]

from edgeagent.errors import UnavailableError, UsageError
from edgeagent.intent.etcd_messages import rpc, stub
from edgeagent.intent.port import Access, Tls
from edgeagent.util.plain_file import open_plain_file
from edgeagent.util.proxy import environment_proxy

NO_LEADER = ("hasleader", "true")  # without it a member cut off from the others leaves a watch silent
TRY_ANOTHER = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
)
"""Answers after which another endpoint may do better; whether the request was performed is not known."""
_OPERATORS_FAULT = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
)
_USE_PEM = "use PEM files without a password; the key must be that of the certificate"
_SEE = "see whether etcd runs there and has a leader"
_SEE_TLS = "see tls: who signed the certificates of both sides, their names and their dates"
FULL = "etcd's database is full (alarm NOSPACE): it takes no writing, so nothing can be promoted or rolled back by key"
FULL_TODO = "compact and defragment it, then etcdctl alarm disarm; nodes go on serving, and can be changed by their API"
_JUST_S = 1.0
_MAX_LOGIN_S = 30.0  # etcd hashes a password for 70 ms of a core: a plant's come one after the other
_STALE_TOKEN = ("invalid auth token", "user name is empty", "revision in header is old", "auth store is old")


class Link:
    """A connection to one endpoint."""

    def __init__(self, endpoint: str, options: Sequence[tuple[str, int]], tls: Tls | None) -> None:
        if tls is None:
            self.channel = grpc.insecure_channel(endpoint, options)
        else:
            self.channel = grpc.secure_channel(endpoint, _credentials(tls), options)
        self.kv = stub(self.channel, "KV")
        self.watch = stub(self.channel, "Watch")
        self.lease = stub(self.channel, "Lease")
        self.auth = stub(self.channel, "Auth")
        self.maintenance = stub(self.channel, "Maintenance")


Method = Callable[[Link], Callable[..., Any]]


class Client:
    """Calls to a cluster: with a deadline, a valid token, and another endpoint after a failure. Thread-safe.

    deadline_s: longest wait for an answer of one endpoint (seconds). A log-in that wasn't answered in time is waited
    for twice as long the next time: one that is given up costs etcd as much as one that succeeds, so where a whole
    plant logs in with too little patience, nobody ever gets in.
    """

    def __init__(
        self,
        endpoints: tuple[str, ...],
        options: Sequence[tuple[str, int]],
        deadline_s: float,
        *,
        access: Access,
    ) -> None:
        self._endpoints = endpoints
        self._options = options
        self._deadline_s = deadline_s
        self._access = access
        self._lock = threading.Lock()
        self._next = 0
        self._link: Link | None = None
        self._login_s = deadline_s
        self._answered_at = -inf  # monotonic seconds, on the connection in use
        self.token: tuple[tuple[str, str], ...] = ()
        """Metadata that says who we are, of every member; () before the first log-in."""
        self.closed = False

    def link(self) -> Link:
        """The connection in use. Raises UnavailableError after close, or when a certificate can't be read."""
        with self._lock:
            if self.closed:
                raise UnavailableError("config store", "it has been closed")
            if self._link is None:
                self._link = Link(self._endpoints[self._next], self._options, self._access.tls)
            return self._link

    def drop(self, link: Link) -> None:
        """Give up a connection that failed; the next one goes to the next endpoint."""
        with self._lock:
            if link is self._link:
                self._link, self._answered_at = None, -inf
                self._next = (self._next + 1) % len(self._endpoints)
        link.channel.close()

    def has_just_answered(self) -> bool:
        """Whether the endpoint in use took a request, and who we are, a moment ago."""
        return time.monotonic() - self._answered_at < _JUST_S

    def close(self) -> None:
        """Cancel the calls under way and refuse new ones. Idempotent."""
        with self._lock:
            self.closed = True
            link, self._link = self._link, None
        if link is not None:
            link.channel.close()

    def answers(self, timeout_s: float) -> bool:
        """Whether an endpoint answers and knows a leader; without a login, which costs a server much."""
        for _ in self._endpoints:
            try:
                link = self.link()
                link.maintenance.Status(rpc.StatusRequest(), timeout=timeout_s, metadata=(NO_LEADER,))
                return True
            except grpc.RpcError as e:
                if e.code() not in TRY_ANOTHER:
                    return True
                self.drop(link)
            except (UnavailableError, ValueError):  # closed, or a certificate that can't be read
                return False
        return False

    def call(self, method: Method, request: Any) -> Any:
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
                if e.code() not in TRY_ANOTHER or time.monotonic() >= give_up:
                    raise
        return self.call_once(method, request)

    def call_once(self, method: Method, request: Any) -> Any:
        """The answer of the endpoint in use. Raises grpc.RpcError, UnavailableError."""
        link = self.link()
        try:
            try:
                answer = self._send(link, method, request, new_token=False)
            except grpc.RpcError as e:
                if not self._access.username or not any(text in (e.details() or "") for text in _STALE_TOKEN):
                    raise
                answer = self._send(link, method, request, new_token=True)
            with self._lock:
                if link is self._link:  # else another thread has given it up meanwhile
                    self._answered_at = time.monotonic()
            return answer
        except grpc.RpcError as e:
            if e.code() in TRY_ANOTHER:
                self.drop(link)
            raise
        except ValueError as e:  # grpc's answer when another thread has just closed the channel
            raise UnavailableError("config store", "the connection was closed") from e

    def _send(self, link: Link, method: Method, request: Any, *, new_token: bool) -> Any:
        if self._access.username and (new_token or not self.token):
            self.token = self._authenticate(link)
        return method(link)(request, timeout=self._deadline_s, metadata=(*self.token, NO_LEADER))

    def _authenticate(self, link: Link) -> tuple[tuple[str, str], ...]:
        password = self._access.password()
        try:
            request = rpc.AuthenticateRequest(name=self._access.username, password=password)
            token = link.auth.Authenticate(request, timeout=self._login_s).token
            self._login_s = self._deadline_s
            return (("token", token),)
        except grpc.RpcError as e:
            if e.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                self._login_s = min(2 * self._login_s, _MAX_LOGIN_S)
            if "authentication is not enabled" in (e.details() or ""):
                return ()
            raise


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Raises UnavailableError for files that can't be used: gRPC would end the whole process with them.

    A key of another certificate is one such, which a renewal leaves for an instant.
    """
    pems = _pems(tls)
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file:
            context.load_cert_chain(
                tls.cert_file, tls.key_file, password=""
            )  # one that needs another is refused
    except (OSError, ValueError) as e:  # ssl.SSLError is one
        raise UnavailableError("config store", f"{_names(tls)} can't be used: {e}", _USE_PEM) from e
    if _pems(tls) != pems:
        raise UnavailableError("config store", f"{_names(tls)} are just being written")
    return grpc.ssl_channel_credentials(*pems)


def _pems(tls: Tls) -> tuple[bytes | None, ...]:
    try:
        return tuple(_pem(path) if path else None for path in (tls.ca_file, tls.key_file, tls.cert_file))
    except OSError as e:
        raise UnavailableError("config store", f"can't read {e.filename}: {e.strerror}") from e


def _pem(path: Path) -> bytes:
    with open_plain_file(path) as file:
        return file.read()


def _names(tls: Tls) -> str:
    return ", ".join(str(path) for path in (tls.ca_file, tls.cert_file, tls.key_file) if path)


@contextmanager
def translated(what: str, todo: str = "") -> Iterator[None]:
    """Errors of gRPC become ours."""
    try:
        yield
    except grpc.RpcError as e:
        if "database space exceeded" in (e.details() or ""):
            raise UnavailableError(what, FULL, f"nothing was changed; {FULL_TODO}") from e
        if e.code() in _OPERATORS_FAULT or "larger than max" in (e.details() or ""):
            raise UsageError(what, e.details(), "see user, role, password and the size of the value") from e
        see = _SEE_TLS if "TSI_" in (e.details() or "") else _SEE
        raise UnavailableError(what, why_of(e), todo or f"{see}{_about_proxy()}") from e


def _about_proxy() -> str:
    proxy = environment_proxy()
    return (
        f"; the proxy of the environment ({proxy}) is asked only with options: {{http_proxy: true}}"
        if proxy
        else ""
    )


def why_of(error: Any) -> str:
    """The reason in a grpc.RpcError, for people."""
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "no answer in time"
    return (error.details() or "").rpartition("last error: ")[2] or error.code().name
