# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a page sees of a real node: events, figures, the login, a path prefix behind nginx."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from edgeagent.testing import NodeRunner, wait_for
from tests.support import nginx
from tests.support.published import publish_bytes


def connect(url: str) -> http.client.HTTPConnection:
    """To a node; whoever waits for too long fails."""
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)


class Events:
    """The events that one client gets, as they come."""

    def __init__(self, url: str, path: str = "/api/events", **headers: str) -> None:
        """Raises AssertionError when there are none to be had."""
        self.connection = connect(url)
        self.connection.request("GET", path, headers=headers)
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200, self.answer.read()
        self._all = self._parsed()

    def _parsed(self) -> Iterator[tuple[str, Any]]:
        kind = ""
        for line in self.answer:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                yield kind, json.loads(value)

    def next(self, kind: str) -> Any:
        """The content of the next event of this kind."""
        return next(content for found, content in self._all if found == kind)

    def rest(self) -> list[str]:
        """The kinds of those that come until the end."""
        return [kind for kind, _ in self._all]

    def close(self) -> None:
        """Go away."""
        self.answer.close()
        self.connection.close()


def get(url: str, path: str) -> Any:
    """The JSON answer to a GET."""
    connection = connect(url)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    found = json.load(answer)
    connection.close()
    return found


def test_a_node_is_watched(tmp_path: Path) -> None:
    """Hello and the status at once, figures each second, history as it happens; many viewers cost one rendering, one
    too many is refused, and none of them keeps the node from stopping."""
    with NodeRunner(tmp_path) as node:
        node.add_pipeline("line-1", "yolo", {"url": "synthetic://conveyor?fps=10"})
        node.start()
        events = Events(node.url)
        hello, status = events.next("hello"), events.next("status")
        assert hello["instance"] == status["instance"] == node.status()["instance"]
        assert hello["session_s"] is None
        figures = events.next("figures")["pipelines"]["line-1"]
        assert (figures["results"], figures["version"]) == (0, None)
        publish_bytes(str(node.store), "v1", b"weights", tmp_path)
        versions = get(node.url, "/api/models/yolo/versions")
        assert ([v["version"] for v in versions["versions"]], versions["error"]) == (["v1"], None)
        node.promote("not json {")
        assert events.next("history")["event"] == "intent"

        others = [Events(node.url) for _ in range(15)]
        for other in others:
            assert other.next("figures")["t"] > 0
        connection = connect(node.url)
        connection.request("GET", "/api/events")
        refused = connection.getresponse()
        assert (refused.status, json.load(refused)["error"]["why"]) == (503, "16 viewers look on already")
        others.pop().close()

        def entered() -> Events | None:
            try:
                return Events(node.url)
            except AssertionError:
                return None

        others.append(wait_for(entered, "the place of one who went"))
        series = get(node.url, "/api/series?seconds=5")
        assert [len(values) for values in series["pipelines"]["line-1"].values()] == [5, 5, 5, 5]
        assert series["pipelines"]["line-1"]["fps"][-1] == 0.0
        assert node.stop() == 0
        for viewer in (events, *others):
            assert viewer.rest()[-1] == "bye"


TOKEN, PREFIX = "t0ken", "/line7"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeRunner]:
    """A node with a token, to be shown below a path."""
    folder = tmp_path_factory.mktemp("guarded")
    token = folder / "token"
    token.touch(0o600)
    token.write_text(TOKEN)
    with NodeRunner(folder, {"api": {"token_file": str(token), "path_prefix": PREFIX}}) as node:
        yield node.start()


def ask(url: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer; the body is left aside."""
    connection = connect(url)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}


@pytest.mark.parametrize(
    "front",
    [
        "none",
        pytest.param("keeping", marks=pytest.mark.skipif(bool(nginx.MISSING), reason=nginx.MISSING)),
        pytest.param("stripping", marks=pytest.mark.skipif(bool(nginx.MISSING), reason=nginx.MISSING)),
    ],
)
def test_a_login_below_a_path(guarded: NodeRunner, tmp_path: Path, front: str) -> None:
    """From the page to the form, and with its cookie to the events, which come at once; when the session ends, so do
    they. Behind nginx with its defaults, and without."""
    with ExitStack() as stack:
        url = guarded.url
        if front != "none":
            proxy = stack.enter_context(nginx.Nginx(tmp_path / "nginx", guarded.url, PREFIX))
            url = getattr(proxy, front)
        status, headers = ask(url, "GET", f"{PREFIX}/")
        assert (status, headers["location"]) == (303, "login")
        assert ask(url, "GET", f"{PREFIX}/login")[0] == 200
        assert ask(url, "GET", f"{PREFIX}/api/status")[0] == 401
        login = json.dumps({"token": TOKEN}).encode()
        assert ask(url, "POST", f"{PREFIX}/login", login, origin="https://evil.example")[0] == 403
        status, headers = ask(url, "POST", f"{PREFIX}/login", login, origin=url)
        cookie, _, attributes = headers["set-cookie"].partition("; ")
        assert (status, attributes) == (204, "Max-Age=43200; Path=/line7; HttpOnly; SameSite=Strict")
        port = guarded.url.rpartition(":")[2]  # the node's own, whatever the proxy listens on
        assert cookie.startswith(f"edgeagent_session_node-under-test_{port}=")
        assert ask(url, "GET", f"{PREFIX}/", cookie=cookie)[0] == 200

        events = Events(url, f"{PREFIX}/api/events", cookie=cookie)
        assert events.next("hello")["session_s"] > 43_000
        assert events.next("figures")["pipelines"] == {}
        assert ask(url, "POST", f"{PREFIX}/logout", cookie=cookie, origin=url)[0] == 204
        assert events.next("bye") == {"why": "the session has ended: log in again"}
        assert events.rest() == []
        assert ask(url, "GET", f"{PREFIX}/api/status", cookie=cookie)[0] == 401


def test_a_node_restarts_under_an_open_page(guarded: NodeRunner) -> None:
    """Another process answers, which doesn't know the session: the page is led to the login."""
    login = json.dumps({"token": TOKEN}).encode()
    _, headers = ask(guarded.url, "POST", "/login", login)
    cookie = headers["set-cookie"].partition(";")[0]
    events = Events(guarded.url, cookie=cookie)
    before = events.next("hello")["instance"]
    assert guarded.stop() == 0
    assert events.rest()[-1] == "bye"
    guarded.start()
    assert ask(guarded.url, "GET", "/api/events", cookie=cookie)[0] == 401
    again = Events(guarded.url, authorization=f"Bearer {TOKEN}")
    assert again.next("hello")["instance"] != before
    again.close()
