# SPDX-License-Identifier: AGPL-3.0-or-later
"""Posts JSON to a receiver over HTTP, signed; says whether it is to be tried again.

No redirect is followed, no proxy of the environment is used: what the configuration says is where it goes.
"""

from __future__ import annotations

import hashlib
import http.client
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from edgeagent import __version__
from edgeagent.core.text import clean
from edgeagent.core.webhook import SIGNATURE, check_secret, sign
from edgeagent.errors import EdgeAgentError, UnavailableError
from edgeagent.sinks.address import names_a_server, only_encrypted, server_of
from edgeagent.sinks.delivery import DeliveryError
from edgeagent.util.client_tls import client_context
from edgeagent.util.secret import read_secret
from edgeagent.util.settings import Section, TlsConfig

_PORTS = {"http": 80, "https": 443}
_FOR_GOOD = frozenset((400, 405, 406, 410, 411, 413, 414, 415, 422, 431, 451, 501))
"""The same body will never pass. Others may: a receiver that isn't up, a token or an address that is put right."""
TOO_LARGE = 413
_MAX_ANSWER = 2000
_MAX_WORDS = 200
_MAX_RETRY_S = 3600.0


class HttpConfig(Section):
    """Where to, and how it is proved that it comes from this node.

    url: where to. secret_file: shared with the receiver; each body is signed with it. token_file: a bearer token
    beside. timeout_seconds: of connecting, and of each wait for an answer.
    """

    url: str
    secret_file: Path | None = None
    token_file: Path | None = None
    tls: TlsConfig | None = None
    timeout_seconds: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 10.0

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        good = names_a_server(url, _PORTS)
        if not good or not url.isascii() or not url.isprintable() or " " in url or len(url) > 2000:
            raise ValueError("is no address to post to; allowed: https://host/path or http://host:port/path")
        return url

    @field_validator("tls")
    @classmethod
    def _only_with_tls(cls, tls: TlsConfig | None, info: ValidationInfo) -> TlsConfig | None:
        return only_encrypted(tls, info.data.get("url"), "http", "https://host/path")

    @property
    def shown_url(self) -> str:
        """How status, log and alarms call the receiver: without a secret that its address holds."""
        return clean(self.url)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return server_of(self.url, _PORTS)

    def readable_token(self) -> tuple[str, str] | None:
        """The host that gets it in clear text, and what that means; None where nobody can read it, or there is none.

        The secret is never sent.
        """
        if self.encrypted or self.token_file is None:
            return None
        return self.address[0], "the receiver is sent the token in clear text; use https"

    @property
    def encrypted(self) -> bool:
        """Whether nobody can read on the way."""
        return self.url.startswith("https:")


class HttpPoster:
    """One connection, kept as long as the receiver keeps it. From one thread, but for `abort`."""

    def __init__(self, config: HttpConfig) -> None:
        self._config = config
        parts = urlsplit(config.url)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._connection: HTTPConnection | None = None
        self._aborted = False
        self._lock = threading.Lock()

    def post(self, body: bytes) -> None:
        """Returns when the receiver has answered that it has it.

        Raises DeliveryError; `refused` is 1 where the same body will never be taken.
        """
        headers = self._headers(body)
        try:
            response, answer = self._exchange(body, headers)
        except (OSError, http.client.HTTPException) as e:
            self.close()
            raise DeliveryError(_why(e, self._config.timeout_seconds)) from e
        if not 200 <= response.status < 300:
            raise _refusal(response, answer)

    def abort(self) -> None:
        """Whoever waits for the receiver, waits no more; until `close`. From any thread."""
        with self._lock:
            self._aborted = True
            sock = self._connection.sock if self._connection else None
        if isinstance(sock, socket.socket):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; the next post opens another. Idempotent."""
        with self._lock:
            connection, self._connection = self._connection, None
            self._aborted = False
        if connection:
            connection.close()

    def try_out(self) -> str:
        """Connect for real, and post nothing. Raises EdgeAgentError."""
        what = self._config.shown_url
        self._secrets()
        try:
            self._connect()
        except (OSError, http.client.HTTPException) as e:
            why = _why(e, self._config.timeout_seconds)
            raise UnavailableError(what, why, "see url and tls, and that it runs") from e
        finally:
            self.close()
        return f"{what} can be reached; nothing was posted"

    def _headers(self, body: bytes) -> dict[str, str]:
        try:
            secret, token = self._secrets()
        except EdgeAgentError as e:
            raise DeliveryError(str(e)) from e
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"edgeagent/{__version__}",
            "X-Edgeagent-Delivery": hashlib.sha256(body).hexdigest()[:32],
        }
        if secret:
            headers[SIGNATURE] = sign(secret, body, int(time.time()))
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _secrets(self) -> tuple[str, str]:
        """As they are now in the files. Raises UsageError."""
        c = self._config
        secret = read_secret(c.secret_file) if c.secret_file else ""
        if secret:
            check_secret("generic", secret)
        return secret, read_secret(c.token_file) if c.token_file else ""

    def _exchange(self, body: bytes, headers: dict[str, str]) -> tuple[HTTPResponse, bytes]:
        """Of a connection that was used before and has ended meanwhile, nothing is said: another is opened."""
        if self._connection and not self._aborted:
            with suppress(http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                return self._request(self._connection, body, headers)
            if self._aborted:
                raise TimeoutError
            self.close()
        return self._request(self._connect(), body, headers)

    def _request(
        self, connection: HTTPConnection, body: bytes, headers: dict[str, str]
    ) -> tuple[HTTPResponse, bytes]:
        connection.request("POST", self._target, body, headers)
        response = connection.getresponse()
        answer = response.read(_MAX_ANSWER)
        if not response.isclosed():  # it says more than anybody reads
            self.close()
        return response, answer

    def _connect(self) -> HTTPConnection:
        c = self._config
        host, port = c.address
        connection: HTTPConnection
        if c.encrypted:
            try:
                context = client_context(c.tls, c.url)
            except EdgeAgentError as e:
                raise OSError(str(e)) from e
            connection = HTTPSConnection(host, port, timeout=c.timeout_seconds, context=context)
        else:
            connection = HTTPConnection(host, port, timeout=c.timeout_seconds)
        connection.connect()
        with self._lock:
            self._connection = connection
        return connection


def _why(error: Exception, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    text = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
    return clean(text, _MAX_WORDS)


def _refusal(response: HTTPResponse, answer: bytes) -> DeliveryError:
    status = response.status
    words = clean(" ".join(answer.decode("utf-8", "replace").split()), _MAX_WORDS)
    why = f"it answers {status} {response.reason}" + (f": {words}" if words else "")
    if 300 <= status < 400:
        why = f"it answers {status}, a redirect, which is not followed: set url to where it leads"
    if status in _FOR_GOOD:
        return RefusedError(clean(why), status)
    return DeliveryError(clean(why), retry_s=_retry_after(response.getheader("Retry-After", "")))


class RefusedError(DeliveryError):
    """The same body will never be taken. status: of the answer."""

    def __init__(self, why: str, status: int) -> None:
        super().__init__(why, refused=1)
        self.status = status


def _retry_after(header: str) -> float | None:
    """Seconds until the receiver wants to be asked again, an hour at most; None where it doesn't say."""
    text = header.strip()[:60]
    if text.isascii() and text.isdecimal():
        return min(float(text), _MAX_RETRY_S)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return min(max((when - datetime.now(UTC)).total_seconds(), 0.0), _MAX_RETRY_S)
