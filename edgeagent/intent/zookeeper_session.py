# SPDX-License-Identifier: AGPL-3.0-or-later
"""A session with ZooKeeper: connected at its first use, begun anew when it is lost."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, KazooException, NoAuthError, NoNodeError
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.retry import KazooRetry

from edgeagent.errors import MissingExtraError, UnavailableError, UsageError
from edgeagent.intent.port import ABSENT, Access, Entry, Tls

_RECONNECT_MAX_S = 1.0  # kazoo's longest pause between two attempts
_CONNECT_S = 2.0  # of one attempt: kazoo would wait for as long as a session lasts
_LOOK_S = 0.05  # how often a wait looks whether it is still wanted


@dataclass(frozen=True)
class SessionSettings:
    """endpoints: "host:port" each. chroot: with its slash, or "". deadline_s: longest wait for a connection, and
    for an answer. session_s: how long the server keeps a session of which it hears nothing.
    """

    endpoints: tuple[str, ...]
    chroot: str
    access: Access
    deadline_s: float = 3.0
    session_s: float = 10.0

    @property
    def url(self) -> str:
        """As in the configuration."""
        return f"zk://{','.join(self.endpoints)}{self.chroot}"


class NoChrootError(UnavailableError):
    """ZooKeeper answers, but has no znode of that path (yet)."""


Hint = Callable[[object], None]


class Session:
    """Thread-safe. lasting: it isn't given up while the server is away, only the server ends it."""

    def __init__(self, settings: SessionSettings, *, session_s: float = 0.0, lasting: bool = False) -> None:
        self.url = settings.url
        self.closed = False
        self._settings = settings
        self._session_s = session_s or settings.session_s
        self._lasting = lasting
        self._lock = threading.Lock()
        self._client: KazooClient | None = None
        self._live = threading.Event()
        self._log = _LastWarning()

    def client(self) -> KazooClient:
        """A client that is connected. Raises UnavailableError, KazooException when kazoo has given up."""
        with self._lock:
            if self.closed:
                raise UnavailableError("config store", "it has been closed")
            if self._client is None:
                self._client = _make_client(self._settings, self._session_s, self._log)
                self._live = self._client.start_async()
            client, live = self._client, self._live
        give_up = time.monotonic() + self._settings.deadline_s
        while not live.wait(_LOOK_S):
            if self.closed:
                raise UnavailableError("config store", "it has been closed")
            if client.handler.failure:
                self.drop(client)
                raise client.handler.failure
            if time.monotonic() > give_up:
                if not self._lasting:
                    self.drop(client)
                why = self._log.text or "no connection in time"
                raise UnavailableError(f"config store {self.url}", why, "see whether ZooKeeper runs there")
        return client

    def id(self) -> int:
        """The number of the session. Raises UnavailableError, KazooException."""
        known = self.client().client_id
        if known is None:
            raise UnavailableError(f"config store {self.url}", "the connection was just lost")
        return int(known[0])

    def answer(self, asked: Any) -> Any:
        """What ZooKeeper answers to a request that was sent. Raises KazooException, KazooTimeoutError."""
        return asked.get(timeout=self._settings.deadline_s)

    def read(self, keys: Sequence[str], hint: Hint | None = None) -> list[Entry]:
        """The keys as they stand after a sync; `hint` is called once something happens to one of them.

        Raises KazooException, KazooTimeoutError, UnavailableError.
        """
        client = self.client()
        try:
            return self._read(client, keys, hint)
        except KazooException as e:
            failure = client.handler.failure or e
            if client.handler.failure or (isinstance(e, AuthFailedError | NoAuthError) and not self._lasting):
                self.drop(client)  # the next one reads the password anew
            raise failure from e

    def _read(self, client: KazooClient, keys: Sequence[str], hint: Hint | None) -> list[Entry]:
        # All is sent before the first answer is awaited; ZooKeeper answers a session in the order of its requests.
        synced, root = client.sync_async("/"), client.exists_async("/", watch=hint)
        hints = [client.exists_async(key, watch=hint) for key in keys] if hint else []
        # Each by itself, the last first: see IntentSource.watch.
        values = [client.get_async(key) for key in reversed(keys)][::-1]
        for asked in (synced, *hints):
            self.answer(asked)
        if self.answer(root) is None:
            chroot = self._settings.chroot
            raise NoChrootError(f"config store {self.url}", f"{chroot} does not exist there", "create it")
        return [self._entry(key, asked) for key, asked in zip(keys, values, strict=True)]

    def _entry(self, key: str, asked: Any) -> Entry:
        try:
            value, about = self.answer(asked)
        except NoNodeError:
            return Entry(key, None, ABSENT)
        return Entry(key, value or b"", str(about.mzxid), str(about.czxid))

    def descendants(self, prefix: str) -> set[str]:
        """The paths of all znodes under a prefix. Raises as `read` does."""
        self.read([])
        found: set[str] = set()
        level = [prefix.rstrip("/") or "/"]
        client = self.client()
        while level:
            asked = [client.get_children_async(path) for path in level]
            below = []
            for path, one in zip(level, asked, strict=True):
                try:
                    below += [f"{path.rstrip('/')}/{name}" for name in self.answer(one)]
                except NoNodeError:  # it went meanwhile
                    continue
            found.update(below)
            level = below
        return {path for path in found if path != "/zookeeper" and not path.startswith("/zookeeper/")}

    def drop(self, client: KazooClient | None) -> threading.Thread | None:
        """Give a client up; the next call makes another one. Its end is waited for by the thread that is returned."""
        with self._lock:
            if client is None or client is not self._client:
                return None
            self._client = None
        # Saying good-bye takes as long as the server likes, up to the length of the session.
        thread = threading.Thread(target=_stop, args=(client,), name="zookeeper-close", daemon=True)
        thread.start()
        return thread

    def close(self, *, wait: bool = False) -> None:
        """End the session and refuse new calls; wait: until the server knows, or for `deadline_s`. Idempotent."""
        with self._lock:
            self.closed = True
            client = self._client
        ending = self.drop(client)
        if ending and wait:
            ending.join(self._settings.deadline_s)


def _stop(client: KazooClient) -> None:
    client.stop()
    client.close()


def _make_client(settings: SessionSettings, session_s: float, log: _LastWarning) -> KazooClient:
    access = settings.access
    auth = str(access.options.get("auth", "digest"))
    if auth not in ("digest", "sasl") or access.options.keys() - {"auth"}:
        raise UsageError(
            f"config store {settings.url}", "wrong options", "allowed: {auth: digest} or {auth: sasl}"
        )
    if auth == "sasl" and find_spec("puresasl") is None:
        raise MissingExtraError(
            f"config store {settings.url}", "SASL needs pure-sasl", "pip install 'edgeagent[zookeeper]'"
        )
    login = (access.username, access.password()) if access.password_file else None
    sasl = {"mechanism": "DIGEST-MD5", "username": login[0], "password": login[1]} if login else None
    return KazooClient(
        hosts=",".join(settings.endpoints) + settings.chroot,
        timeout=session_s,
        handler=_Handler(access.tls),
        auth_data=[("digest", ":".join(login))] if login and auth == "digest" else None,
        sasl_options=sasl if auth == "sasl" else None,
        connection_retry=KazooRetry(max_tries=-1, delay=0.1, max_delay=_RECONNECT_MAX_S),
        logger=log.logger,
    )


class _Handler(SequentialThreadingHandler):  # type: ignore[misc]
    """kazoo's threads, with connections of our own making: its TLS trusts the system's authorities in any case.

    failure: what ended a thread; kazoo lets some refusals of the server do that.
    """

    def __init__(self, tls: Tls | None) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self._tls = tls

    def spawn(self, func: Callable[..., object], *args: object, **named: object) -> threading.Thread:
        """A thread that runs `func`."""

        def run() -> None:
            try:
                func(*args, **named)
            except Exception as e:  # noqa: BLE001  (whatever it is, the session is over, and its user is told)
                self.failure = e

        thread: threading.Thread = super().spawn(run)
        return thread

    def create_connection(
        self, address: tuple[str, int], hostname: str, timeout: float, **_others: object
    ) -> socket.socket:
        """A socket that is connected, with TLS where that is wanted. Raises OSError."""
        return _connect(address, hostname, min(timeout, _CONNECT_S), self._tls)


def _connect(address: tuple[str, int], hostname: str, timeout_s: float, tls: Tls | None) -> socket.socket:
    plain = socket.create_connection(address, timeout_s)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is None:
        return plain
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
        return context.wrap_socket(plain, server_hostname=hostname)
    except BaseException:
        plain.close()
        raise


def answers(settings: SessionSettings, timeout_s: float) -> bool:
    """Whether a server answers and serves, without a session, which costs an ensemble a transaction."""
    for endpoint in settings.endpoints:
        host, _, port = endpoint.rpartition(":")
        host = host.strip("[]")
        try:
            with _connect((host, int(port)), host, timeout_s, settings.access.tls) as connection:
                connection.sendall(b"srvr")
                told = connection.recv(1024)  # also a server that doesn't tell its state says so
        except OSError:  # ssl.SSLError is one
            continue
        if told and b"not currently serving" not in told:
            return True
    return False


_NO_REASON = ("Transition to CONNECTING", "Failed connecting to Zookeeper within the connection retry policy")
"""What kazoo says of any attempt that fails or is given up: the reason was told before."""


class _LastWarning(logging.Handler):
    """Keeps what kazoo says of a failed connection, which it tells only its log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""
        self.logger = logging.Logger(
            "kazoo", logging.WARNING
        )  # not one of logging's tree: nobody else hears it
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        text = record.getMessage()
        if not text.startswith(_NO_REASON):
            self.text = text[:300]
