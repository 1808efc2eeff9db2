# SPDX-License-Identifier: AGPL-3.0-or-later
"""The login: a token for a cookie, which a browser sends by itself where no header can be set (images, events)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request, Response

from edgeagent.errors import RateLimitError, UnauthorizedError, UsageError
from edgeagent.web.access import SESSION_S, Access, Session
from edgeagent.web.answers import errors
from edgeagent.web.guard import SESSION
from edgeagent.web.page_routes import PageFiles, answer_file


def session_of(request: Request) -> Session | None:
    """The session that let this request in; None where it was let in otherwise."""
    found: Session | None = request.scope.get(SESSION)
    return found


def add_login(app: FastAPI, access: Access | None, files: PageFiles, prefix: str) -> None:
    """Routes of the login. access: None where nobody need log in. prefix: path that the cookie is for, "" for all."""

    @app.get("/login", include_in_schema=False)
    async def form(request: Request) -> Response:
        if access is None:
            return _go("./")
        return await answer_file(files, request, "login.html")

    @app.post(
        "/login",
        summary="Log in: the token as JSON, or of an HTML form, for a cookie that counts as the token does",
        status_code=204,
        responses=errors(408, 413, 422, 429, 503),
        openapi_extra=_BODY,
    )
    async def login(request: Request) -> Response:
        body = await request.body()
        is_form = not body.lstrip().startswith(b"{")
        if access is None:
            return _go("./") if is_form else Response(status_code=204)
        try:
            access.check(_token(body), request.client.host if request.client else "unknown")
        except (UnauthorizedError, RateLimitError):
            if is_form:
                return _go("login#wrong")
            raise
        answer = _go("./") if is_form else Response(status_code=204)
        answer.headers["set-cookie"] = _cookie(
            request, access.cookie, access.begin_session(), SESSION_S, prefix
        )
        return answer

    @app.post("/logout", summary="Log out: the session ends", status_code=204, responses=errors(503))
    async def logout(request: Request) -> Response:
        if access is None:
            return Response(status_code=204)
        if session := session_of(request):
            access.end_session(session)
        gone = _cookie(request, access.cookie, "", 0, prefix)
        return Response(status_code=204, headers={"set-cookie": gone})


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"token": {"type": "string"}},
                    "required": ["token"],
                }
            }
        },
    }
}


def _token(body: bytes) -> str:
    """The token in it, as it was typed or copied: with white space around it. Raises UsageError."""
    wrong = UsageError("the login", "its body has no token", 'send {"token": "…"}')
    try:
        text = body.decode()
        found = json.loads(text) if text.lstrip().startswith("{") else parse_qs(text, max_num_fields=10)
        token = found["token"]
    except (ValueError, KeyError, RecursionError) as e:
        raise wrong from e
    token = token[0] if isinstance(token, list) and token else token
    if not isinstance(token, str):
        raise wrong
    return token.strip()


def _cookie(request: Request, name: str, value: str, max_age: int, prefix: str) -> str:
    # Behind a proxy with TLS we see http; the browser itself says what its page came by.
    origin = request.headers.get("origin", "")
    secure = "; Secure" if request.url.scheme == "https" or origin.startswith("https://") else ""
    path = prefix or "/"
    return f"{name}={value}; Max-Age={max_age}; Path={path}; HttpOnly; SameSite=Strict{secure}"


def _go(where: str) -> Response:
    """Relative, so that it holds under whatever prefix a proxy has."""
    return Response(status_code=303, headers={"location": where})
