# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who has shown the token: in the request itself, or at a login, which is remembered by a cookie.

A session is a signed text, kept by the browser alone. Its secret belongs to the process and the token, so it ends with
either of them; and no clock but the process's own has to be right.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edgeagent.config import is_loopback
from edgeagent.errors import RateLimitError, UnauthorizedError

COOKIE = "edgeagent_session"
SESSION_S = 12 * 3600
MAX_COOKIES = 8
"""Of our name in one request: one for each path below which the node was seen."""
MAX_REVOKED = 10_000
MAX_WRONG = 10
WRONG_S = 60.0
MAX_PEERS = 1000


def cookie_name(node: str, port: int) -> str:
    """For the sessions of this node alone. A browser keeps a cookie for a host and a path, whatever the port: if all
    nodes called theirs the same, a login at one would end that at another. The port tells two nodes of one machine
    apart, the id two machines behind one proxy.
    """
    return f"{COOKIE}_{node}_{port}"


class Session:
    """A login, until it expires or is ended."""

    def __init__(self, id: str, expires: float, access: Access) -> None:
        """expires: by the clock of `access`."""
        self.id = id
        self.expires = expires
        self._access = access

    @property
    def seconds_left(self) -> float:
        """For how long it counts; 0 once it doesn't."""
        return self._access.seconds_left(self)

    @property
    def valid(self) -> bool:
        """Whether it still counts."""
        return self.seconds_left > 0


class Access:
    """The one token, and the sessions of those who have shown it. On the event loop's thread. clock: monotonic;
    cookie: the name under which a browser keeps them."""

    def __init__(self, token: str, clock: Callable[[], float] = time.monotonic, cookie: str = COOKIE) -> None:
        """Sessions of another process, or of another token, don't count."""
        self.cookie = cookie
        self._token = token.encode()
        self._key = hmac.digest(secrets.token_bytes(32), self._token, hashlib.sha256)
        self._clock = clock
        self._revoked: dict[str, float] = {}
        self._wrong = _WrongTokens()

    def check(self, given: str, peer: str) -> None:
        """Whether this is the token. Raises UnauthorizedError; RateLimitError after too many others from this address.

        Of another machine's address not even the right one counts then. On this machine it does: whoever works here,
        and the proxy that most others come through, must not be locked out by one of those.
        """
        now = self._clock()
        exceeded = self._wrong.exceeded(peer, now)
        right = hmac.compare_digest(given.encode("utf-8", "replace"), self._token)
        if right and (not exceeded or is_loopback(peer)):
            return
        if exceeded:
            raise RateLimitError("the token", "too many wrong ones from this address", "wait a minute")
        if given:
            self._wrong.count(peer, given, now)
        raise UnauthorizedError("the token", "it is wrong", "it is in the file that api.token_file names")

    def begin_session(self) -> str:
        """The value of a cookie, for who has shown the token."""
        told = f"{secrets.token_urlsafe(16)}.{int(self._clock()) + SESSION_S}"
        return f"{told}.{self._signature(told)}"

    def session(self, cookies: str) -> Session | None:
        """The session of a request, by its header Cookie; None when it has none that counts."""
        pairs = (pair.strip().partition("=") for pair in cookies.split(";"))
        values = [value for name, _, value in pairs if name == self.cookie]
        for value in values[:MAX_COOKIES]:
            told, _, signature = value.rpartition(".")
            if hmac.compare_digest(signature.encode("utf-8", "replace"), self._signature(told).encode()):
                id, _, expires = told.partition(".")
                session = Session(id, float(expires), self)
                if session.valid:
                    return session
        return None

    def seconds_left(self, session: Session) -> float:
        """For how long a session counts; 0 once it doesn't."""
        return 0.0 if session.id in self._revoked else max(0.0, session.expires - self._clock())

    def end_session(self, session: Session) -> None:
        """It doesn't count any more, whoever has a copy of it."""
        now = self._clock()
        self._revoked = {id: expires for id, expires in self._revoked.items() if expires > now}
        self._revoked[session.id] = session.expires
        while len(self._revoked) > MAX_REVOKED:
            del self._revoked[next(iter(self._revoked))]

    def _signature(self, told: str) -> str:
        made = hmac.digest(self._key, told.encode("utf-8", "replace"), hashlib.sha256)
        return base64.urlsafe_b64encode(made).decode().rstrip("=")


@dataclass
class _Tried:
    """The different wrong tokens of an address since then."""

    since: float
    tokens: set[bytes] = field(default_factory=set)


class _WrongTokens:
    """Counts different ones by address: who always sends the same old one guesses nothing."""

    def __init__(self) -> None:
        self._tried: dict[str, _Tried] = {}

    def exceeded(self, peer: str, now: float) -> bool:
        """Whether there were too many within a minute."""
        tried = self._tried.get(peer)
        if tried and now - tried.since >= WRONG_S:
            del self._tried[peer]
            return False
        return tried is not None and len(tried.tokens) >= MAX_WRONG

    def count(self, peer: str, token: str, now: float) -> None:
        """One more."""
        tried = self._tried.setdefault(peer, _Tried(now))
        tried.tokens.add(hashlib.sha256(token.encode("utf-8", "replace")).digest()[:8])
        while len(self._tried) > MAX_PEERS:
            del self._tried[next(iter(self._tried))]
