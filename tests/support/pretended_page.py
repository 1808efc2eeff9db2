# SPDX-License-Identifier: AGPL-3.0-or-later
"""The page's own files in a browser, over a node that only pretends: each answer is what a test says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from edgeagent.web.page_routes import FOLDER, TYPES

URL = "http://node.invalid/a/prefix/"
"""Below a path, as behind a reverse proxy: an address that begins at the root would miss it."""
POLICY = "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'"
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="640" height="360"><rect width="640" height="360" fill="#345"/>'
    '<rect x="200" y="90" width="240" height="180" fill="#b98"/></svg>'
)
Answer = Callable[[str, dict[str, str], Any], tuple[int, Any]]


class PretendedNode:
    """Answers requests of a page.

    answers: the JSON of a GET by path, such as `api/status`; a path that isn't there is 404. asked: the other requests,
    as `(method, path, body)`; each is answered with `on_ask`, 200 and {} unless it is replaced. is_logged_in: whether
    the page's session counts. gone: files of the page that can't be had, such as `page/app.js`.
    """

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.is_logged_in = True
        self.gone: set[str] = set()
        self.events: list[tuple[str, Any]] = [("hello", {"instance": "a", "version": "1", "time": 1.8e9})]
        self.asked: list[tuple[str, str, Any]] = []
        self.on_ask: Answer = lambda _path, _query, _body: (200, {})

    def attach(self, context: Any) -> None:
        """Answer for everything that pages of a browser context ask of URL."""
        context.route(URL + "**", self._answer)

    def _answer(self, route: Any) -> None:
        request = route.request
        asked = urlsplit(request.url)
        path = asked.path.removeprefix(urlsplit(URL).path)
        if path.startswith("api/") and not self.is_logged_in:
            route.fulfill(
                status=401, json={"error": {"what": "request refused", "why": "no session", "todo": ""}}
            )
            return
        if request.method != "GET":
            body = json.loads(request.post_data) if request.post_data else None
            self.asked.append((request.method, path, body))
            status, doc = self.on_ask(path, dict(parse_qsl(asked.query)), body)
            route.fulfill(status=status, json=doc)
        elif path == "api/events":
            text = "".join(
                f"event: {kind}\ndata: {json.dumps(data)}\n\n" for kind, data in self._all_events()
            )
            route.fulfill(content_type="text/event-stream", body=text)
        elif path.endswith((".jpg", ".mjpg")):
            route.fulfill(content_type="image/svg+xml", body=_SVG)
        elif path in self.answers:
            route.fulfill(json=self.answers[path])
        else:
            self._file(route, path)

    def _all_events(self) -> list[tuple[str, Any]]:
        status = self.answers.get("api/status")
        return [*self.events, *([("status", status)] if status else [])]

    def _file(self, route: Any, path: str) -> None:
        names = {"": "index.html", "login": "login.html"}
        file = FOLDER / names.get(path, path.removeprefix("page/"))
        if path not in self.gone and file.is_file() and (path in names or path.startswith("page/")):
            headers = {"content-type": TYPES[file.suffix], "content-security-policy": POLICY}
            route.fulfill(headers=headers, body=file.read_bytes())
        else:
            error = {"what": path, "why": "Not Found", "todo": ""}
            route.fulfill(status=404, json={"error": error})
