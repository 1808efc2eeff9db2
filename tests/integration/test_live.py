# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a page sees of a real node: events, figures, the login, a path prefix behind nginx."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgeagent.testing import NodeRunner, wait_for
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
