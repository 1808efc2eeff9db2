# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may talk to the API: checked before a request reaches any handler."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import ExitStack

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgeagent.config import is_loopback
from edgeagent.errors import RateLimitError, UnauthorizedError
from edgeagent.web.access import Access, Session

MAX_BODY_BYTES = 64 * 1024
MAX_HOOK_BODY_BYTES = 256 * 1024
HOOKS = "/api/hooks/"
HEALTH = "/healthz"
LOGIN, LOGOUT, PAGE = "/login", "/logout", "/page/"
SESSION = "edgeagent.session"
"""Where a request's scope has the session that let it in."""
_AT_ONCE = (HEALTH, "/readyz")
MAX_AT_WORK = 32
"""Requests that are worked on at a time; deliveries to hooks have as many of their own."""
BODY_SECONDS = 10.0
_HOST = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?\Z")
_READING = ("GET", "HEAD", "OPTIONS")
_HEADERS = (
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; "
        b"form-action 'self'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


def error_body(what: str, why: str, todo: str = "", **more: object) -> bytes:
    """The body of every answer that is not a success. more: further fields of it."""
    return json.dumps({"error": {"what": what, "why": why, "todo": todo, **more}}).encode()


class _Refused(Exception):
    """The request gets this answer and goes no further."""

    def __init__(self, status: int, why: str, todo: str = "", location: str = "") -> None:
        super().__init__(status, why, todo)
        self.status = status
        self.location = location
        self.body = error_body("request refused", why, todo)


_NO_TOKEN = _Refused(
    401, "the token is missing or wrong", "send the header Authorization: Bearer TOKEN, or log in at /login"
)


class Guard:
    """ASGI middleware. Without a token: only names of this machine as Host (a name that an attacker points
    at 127.0.0.1 is not one). With a token: it, or the cookie of a login, is asked for everywhere but at /healthz and
    what a login needs: the form, and the page's files, which are in every package. A POST to a hook needs neither: it
    is signed, which is checked there. Always: no requests from other sites, no large or endless bodies, headers
    that keep browsers careful.
    """

    def __init__(self, app: ASGIApp, access: Access | None, has_hooks: bool = False) -> None:
        """access: None where no token is asked for."""
        self._app = app
        self._has_hooks = has_hooks
        self._access = access
        self._at_work = {False: 0, True: 0}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or refuse it."""
        if scope["type"] != "http":
            return  # no websockets here; uvicorn closes the connection

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                added = [header for header in _HEADERS if header[0] not in given]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        try:
            headers = _headers(scope)
            is_hook = self._has_hooks and scope["method"] == "POST" and scope["path"].startswith(HOOKS)
            self._check_site(scope["method"], headers)
            if not is_hook:
                self._check_host(headers)
                scope = {**scope, SESSION: self._check_token(scope, headers)}
            if scope["method"] not in _READING:
                limit = MAX_HOOK_BODY_BYTES if is_hook else MAX_BODY_BYTES
                receive = _replay(await _read_body(headers, receive, limit), receive)
                # Every body here is JSON, also one that `curl -d` calls a form.
                rest = [(k, v) for k, v in scope["headers"] if k.lower() != b"content-type"]
                scope = {**scope, "headers": [*rest, (b"content-type", b"application/json")]}
        except _Refused as refused:
            await _answer(refused, scope, send_with_headers)
            return
        await self._app_within_limits(is_hook, scope, receive, send_with_headers)

    async def _app_within_limits(self, is_hook: bool, scope: Scope, receive: Receive, send: Send) -> None:
        """Requests that wait, such as for a disk, are few; deliveries don't stand in the operator's way."""
        if self._at_work[is_hook] >= MAX_AT_WORK and scope["path"] not in _AT_ONCE:
            why = f"{MAX_AT_WORK} requests before it are not done yet"
            await _answer(_Refused(503, why, "ask again in a while"), scope, send)
            return
        self._at_work[is_hook] += 1
        with ExitStack() as work:
            work.callback(self._done, is_hook)

            async def answer(message: Message) -> None:
                work.close()  # from here on the client may keep only itself waiting
                await send(message)

            await self._app(scope, receive, answer)

    def _done(self, is_hook: bool) -> None:
        self._at_work[is_hook] -= 1

    def _check_host(self, headers: dict[str, str]) -> None:
        if self._access is None and not is_loopback(host_name(headers.get("host", ""))):
            raise _Refused(
                403,
                f"without a token only this machine is served, not Host {headers.get('host', '')[:100]!r}",
                "use http://localhost, or set api.token_file",
            )

    def _check_site(self, method: str, headers: dict[str, str]) -> None:
        site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "")
        followed_a_link = method == "GET" and mode == "navigate"
        if site not in ("none", "same-origin") and not followed_a_link:
            raise _Refused(
                403, "it comes from another site", "use the API from its own pages or without a browser"
            )
        origin = headers.get("origin")
        host = headers.get("host", "")
        if (
            method not in _READING
            and origin is not None
            and origin.partition("://")[2].lower() != host.lower()
        ):
            raise _Refused(
                403, "its Origin is another site", "use the API from its own pages or without a browser"
            )

    def _check_token(self, scope: Scope, headers: dict[str, str]) -> Session | None:
        """The session that lets the request in; None where it has none, and needs none."""
        if self._access is None or scope["path"] == HEALTH:
            return None
        session = None
        if given := headers.get("authorization", ""):
            self._check_bearer(self._access, given, scope)
        else:
            session = self._access.session(headers.get("cookie", ""))
        if session is None and not given:
            if _is_open(scope):
                return None
            if scope["path"] == "/" and scope["method"] in _READING:
                raise _Refused(303, "there is no session", "log in", location="login")
            raise _NO_TOKEN
        if connection := scope.get("state", {}).get("connection"):
            connection.token_shown()
        return session

    def _check_bearer(self, access: Access, given: str, scope: Scope) -> None:
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer":
            raise _NO_TOKEN
        try:
            access.check(token.strip(), scope["client"][0] if scope.get("client") else "unknown")
        except UnauthorizedError as e:
            raise _NO_TOKEN from e
        except RateLimitError as e:
            raise _Refused(429, e.why, e.todo) from e


def _is_open(scope: Scope) -> bool:
    """What is needed before a login, and tells nobody anything."""
    path = scope["path"]
    return path in (LOGIN, LOGOUT) if scope["method"] == "POST" else path == LOGIN or path.startswith(PAGE)


def _headers(scope: Scope) -> dict[str, str]:
    """Headers by lower-case name. Refuses two of a kind that decides something."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1").lower()
        if name in headers and name in ("host", "origin", "authorization", "content-length"):
            raise _Refused(400, f"the header {name} is given twice")
        value = raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}; {value}" if name == "cookie" and name in headers else value
    return headers


def host_name(host: str) -> str:
    """`[::1]:8080` → `::1`, `localhost:8080` → `localhost`; "" for what is no host, such as `evil@localhost`."""
    found = _HOST.match(host)
    return found["host"].strip("[]") if found else ""


async def _read_body(headers: dict[str, str], receive: Receive, limit: int) -> bytes:
    too_large = _Refused(413, f"its body has more than {limit} bytes", "send a smaller one")
    length = headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 12 or int(length) > limit:
        raise too_large
    body = bytearray()  # which grows in place, however small the pieces
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if (
                    message["type"] == "http.disconnect"
                ):  # half a request is none, whatever it has said so far
                    raise _Refused(400, "the client went away before its body was whole")
                body += message.get("body", b"")
                if len(body) > limit:
                    raise too_large
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError as e:
        raise _Refused(408, f"its body did not arrive within {BODY_SECONDS:g} s") from e


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed


async def _answer(refused: _Refused, scope: Scope, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(refused.body)).encode())]
    if refused.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="edgeagent"'))
    if refused.status == 429:
        headers.append((b"retry-after", b"60"))
    if refused.location:
        headers.append((b"location", refused.location.encode()))
    if refused.status in (408, 413):
        headers.append((b"connection", b"close"))
    connection = scope.get("state", {}).get("connection") if refused.status == 413 else None
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": refused.body, "more_body": connection is not None})
    if connection is not None:
        await connection.drop_rest()  # whoever reads no answer until all is sent shall have it, too
        await send({"type": "http.response.body"})
