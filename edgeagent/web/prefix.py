# SPDX-License-Identifier: AGPL-3.0-or-later
"""A node below a path of a reverse proxy, whether that takes the path off or not."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class PathPrefix:
    """ASGI middleware. Takes the prefix off a path that has it; what has none was taken off by the proxy already.

    Only the configuration says what the prefix is: no header of a request does.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        """prefix: such as `/line7`, without a slash at its end."""
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        if scope["type"] == "http" and scope["path"] == self._prefix:
            headers = [(b"location", f"{self._prefix}/".encode()), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 307, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        if scope["type"] == "http" and scope["path"].startswith(self._prefix + "/"):
            raw = scope.get("raw_path") or b""
            if raw.startswith(self._prefix.encode() + b"/"):
                raw = raw[len(self._prefix) :]
            scope = {**scope, "path": scope["path"][len(self._prefix) :], "raw_path": raw}
        await self._app(scope, receive, send)
