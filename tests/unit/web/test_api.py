# SPDX-License-Identifier: AGPL-3.0-or-later
"""The HTTP API over a node of the test's own: answers, errors, and who may ask. In memory, without sockets."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from edgeagent.core.receipts import ChainReport
from edgeagent.errors import (
    ConflictError,
    DirectiveError,
    EdgeAgentError,
    IntegrityError,
    NotFoundError,
    NotKeptError,
    UnavailableError,
    UsageError,
)
from edgeagent.observe.audit import AuditRecord
from edgeagent.observe.metrics import Metrics
from edgeagent.status.history_check import history_check
from edgeagent.status.schema import History, HistoryCheck, Outcome, Status, to_json
from edgeagent.web.app import create_app
from edgeagent.web.guard import MAX_BODY_BYTES
from tests.support.statuses import a_status, an_outcome


class FakeNode:
    """A node that does what the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.is_ready = (True, "")
        self.error: Exception | None = None

    def status(self) -> Status:
        return a_status()

    def history(self, limit: int) -> str:
        self.asked.append(("history", limit))
        return to_json(History(history=[AuditRecord("update", "yolo", when="2026-01-01T00:00:00.000Z")]))

    async def check_history(self, anchor: str) -> HistoryCheck:
        self.asked.append(("check_history", anchor))
        if self.error:
            raise self.error
        return history_check({"audit.jsonl": ChainReport(2, 1, "2:ab")})

    def ready(self) -> tuple[bool, str]:
        return self.is_ready

    async def rollback(self, model: str | None, by: str, if_epoch: int | None) -> Outcome:
        self.asked.append(("rollback", model, by, if_epoch))
        if self.error:
            raise self.error
        return an_outcome(model or "yolo")

    async def promote(self, model: str, version: str, by: str, reason: str) -> Outcome:
        self.asked.append(("promote", model, version, by, reason))
        return an_outcome(model, version)


@pytest.fixture
def node() -> FakeNode:
    """A fresh node."""
    return FakeNode()


def ask(
    node: FakeNode,
    method: str,
    path: str,
    *,
    token: str | None = None,
    base: str = "http://127.0.0.1:8080",
    **kwargs: Any,
) -> httpx.Response:
    """One request, as uvicorn would hand it over."""

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(node, Metrics(), token=token), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            return await client.request(method, path, **kwargs)

    return asyncio.run(asked())


def test_status(node: FakeNode) -> None:
    """The node's status as JSON."""
    answer = ask(node, "GET", "/api/status")
    assert answer.status_code == 200
    assert answer.json() == json.loads(to_json(a_status()))
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_health_and_readiness(node: FakeNode) -> None:
    """Alive is always 200; ready follows the node, and says why not."""
    node.is_ready = (False, "no version yet")
    assert ask(node, "GET", "/healthz").text == "ok\n"
    answer = ask(node, "GET", "/readyz")
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "why": "no version yet"})
    node.is_ready = (True, "")
    assert ask(node, "GET", "/readyz").status_code == 200


def test_metrics(node: FakeNode) -> None:
    """In the text format that Prometheus asks for."""
    answer = ask(node, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "edgeagent_config_store_connected 0.0" in answer.text


def test_history(node: FakeNode) -> None:
    """A hundred records unless told; the limit has limits."""
    [record] = ask(node, "GET", "/api/history").json()["history"]
    assert (record["event"], record["model"], record["stages"]) == ("update", "yolo", {})
    assert ask(node, "GET", "/api/history?limit=5").status_code == 200
    assert node.asked == [("history", 100), ("history", 5)]
    assert ask(node, "GET", "/api/history?limit=0").status_code == 422


def test_the_check_of_the_history(node: FakeNode) -> None:
    """What became of each chain; an anchor that is none is the request's mistake."""
    answer = ask(node, "GET", "/api/history/check?anchor=2%3Aab")
    assert answer.json()["intact"] is True
    assert answer.json()["logs"]["audit.jsonl"]["records"] == 2
    assert node.asked == [("check_history", "2:ab")]
    node.error = UsageError("the anchor", "'x' is not NUMBER:HASH")
    assert ask(node, "GET", "/api/history/check?anchor=x").status_code == 422
    assert ask(node, "GET", f"/api/history/check?anchor={'x' * 200}").status_code == 422


def test_index_and_openapi_need_nothing_from_elsewhere(node: FakeNode) -> None:
    """The page and the schema come from the node alone."""
    page = ask(node, "GET", "/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(
        r"""(src|href)=["']?(https?:)?/""", page.text
    )  # nor from the root: there may be a prefix
    paths = ask(node, "GET", "/openapi.json").json()["paths"]
    assert {"/rollback", "/api/models/{model}/promote", "/api/status"} <= set(paths)
    assert ask(node, "GET", "/docs").status_code == 404


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"content": b""}, {"headers": {"content-type": "application/x-www-form-urlencoded"}}],
)
def test_rollback_without_a_body(node: FakeNode, kwargs: dict[str, Any]) -> None:
    """`curl -X POST http://localhost:8080/rollback` is enough."""
    answer = ask(node, "POST", "/rollback", base="http://localhost:8080", **kwargs)
    assert (answer.status_code, answer.json()["model"]) == (200, "yolo")
    assert node.asked == [("rollback", None, "api from 127.0.0.1", None)]


def test_rollback_of_a_model(node: FakeNode) -> None:
    """Named in the path, on the word of the one who asks."""
    assert (
        ask(node, "POST", "/api/models/yolo/rollback", json={"by": "eve\n", "if_epoch": 3}).status_code == 200
    )
    assert node.asked == [("rollback", "yolo", "eve from 127.0.0.1", 3)]


def test_promote(node: FakeNode) -> None:
    """Accepted, and handed to the node; also as `curl -d` sends it."""
    body = b'{"version": "v2", "reason": "finds more"}'
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert ask(node, "POST", "/api/models/yolo/promote", content=body, headers=form).status_code == 202
    assert node.asked == [("promote", "yolo", "v2", "api from 127.0.0.1", "finds more")]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"version": 2}', b'{"version": "v2", "force": true}', b"\xff"]
)
def test_promote_with_a_wrong_body(node: FakeNode, body: bytes) -> None:
    """Refused in the form of every error, and the node is not asked."""
    answer = ask(node, "POST", "/api/models/yolo/promote", content=body)
    assert answer.status_code in (400, 422)
    assert set(answer.json()["error"]) == {"what", "why", "todo"}
    assert not node.asked


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (NotFoundError, 404),
        (ConflictError, 409),
        (UsageError, 422),
        (DirectiveError, 422),
        (UnavailableError, 503),
        (NotKeptError, 507),
        (IntegrityError, 500),
    ],
)
def test_errors_of_the_node(node: FakeNode, kind: type[EdgeAgentError], status: int) -> None:
    """Each kind has its code; the body says what, why and what to do."""
    node.error = kind("model yolo", "nothing before v1", "promote one")
    answer = ask(node, "POST", "/rollback")
    assert answer.status_code == status
    assert answer.json() == {
        "error": {"what": "model yolo", "why": "nothing before v1", "todo": "promote one"}
    }


def test_an_unexpected_error_tells_nothing_of_the_inside(node: FakeNode) -> None:
    """500 in the usual form, details only in the log."""
    node.error = RuntimeError("secret detail")
    answer = ask(node, "POST", "/rollback")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["error"]["why"] == "internal error"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nope", 404), ("GET", "/rollback", 405)])
def test_what_does_not_exist(node: FakeNode, method: str, path: str, status: int) -> None:
    """Unknown paths and methods answer in the form of every error."""
    answer = ask(node, method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["what"] == f"{method} {path}"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "",
        "10.0.0.1",
        "[",
        "0.0.0.0",
        "evil@localhost",
        "localhost/x",
    ],
)
def test_without_a_token_other_hosts_are_refused(node: FakeNode, host: str) -> None:
    """A name that an attacker lets point at this machine opens nothing, not even reading."""
    answer = ask(node, "GET", "/api/status", headers={"host": host})
    assert answer.status_code == 403
    assert "error" in answer.json()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]", "[::1]:8080"])
def test_names_of_this_machine_are_served(node: FakeNode, host: str) -> None:
    """With and without a port."""
    assert ask(node, "GET", "/api/status", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ],
)
@pytest.mark.parametrize("token", [None, "t"])
def test_other_sites_change_nothing(node: FakeNode, headers: dict[str, str], token: str | None) -> None:
    """A page of another origin can't roll back, with a token or without."""
    answer = ask(node, "POST", "/rollback", token=token, headers={**headers, "authorization": "Bearer t"})
    assert answer.status_code == 403
    assert not node.asked


def test_own_pages_may(node: FakeNode) -> None:
    """The node's own page has its origin; a link from elsewhere may lead here."""
    own = {"origin": "http://127.0.0.1:8080", "sec-fetch-site": "same-origin"}
    assert ask(node, "POST", "/rollback", headers=own).status_code == 200
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert ask(node, "GET", "/", headers=link).status_code == 200
    embedded = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert ask(node, "GET", "/api/status", headers=embedded).status_code == 403


@pytest.mark.parametrize(
    "path", ["/readyz", "/metrics", "/api/status", "/api/history", "/openapi.json", "/nope"]
)
def test_with_a_token_everything_asks_for_it(node: FakeNode, path: str) -> None:
    """401 without or with a wrong one, whatever the path; the right one opens, from any host name."""
    base = "http://press-07:8080"
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic t0ken"},
        {"authorization": "Bearer"},
    ):
        answer = ask(node, "GET", path, token="t0ken", base=base, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    answer = ask(node, "GET", path, token="t0ken", base=base, headers={"authorization": "bearer t0ken"})
    assert answer.status_code == (404 if path == "/nope" else 200)


def test_with_a_token_health_is_open(node: FakeNode) -> None:
    """Whoever asks may know that the process is alive."""
    assert ask(node, "GET", "/healthz", token="t0ken", base="http://press-07").status_code == 200


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 1024


@pytest.mark.parametrize("content", [b"x" * (MAX_BODY_BYTES + 1), "endless"], ids=["long", "endless"])
def test_a_large_body_is_refused(node: FakeNode, content: Any) -> None:
    """Whether its length is told or not."""
    answer = ask(node, "POST", "/rollback", content=_endless() if content == "endless" else content)
    assert answer.status_code == 413
    assert not node.asked


def test_a_header_given_twice_is_refused(node: FakeNode) -> None:
    """Two Host headers could mean one thing to a proxy and another to us."""
    answer = ask(node, "GET", "/api/status", headers=[("host", "localhost"), ("host", "evil.example")])
    assert answer.status_code == 400


@pytest.mark.parametrize("path", ["/api/status/", "/healthz/"])
def test_nothing_is_redirected(node: FakeNode, path: str) -> None:
    """A redirect would be built from a Host header, which anybody can write."""
    answer = ask(node, "GET", path, token="t", headers={"authorization": "Bearer t", "host": "evil.example"})
    assert answer.status_code == 404
    assert "evil" not in str(answer.headers)


def test_every_answer_is_described(node: FakeNode) -> None:
    """Whatever error the node has, each request may get it, or says in OpenAPI that it doesn't."""
    paths = ask(node, "GET", "/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method, described in methods.items():
            codes = set(described["responses"])
            if path != "/healthz":
                assert {"400", "401", "403", "500", "503"} <= codes, (path, method)
            if method == "post" and path not in ("/login", "/logout"):
                assert {"404", "408", "409", "413", "422"} <= codes, (path, method)


def test_openapi_describes_what_is_answered(node: FakeNode) -> None:
    """Each request has the form of its answer and of its errors there, as a client generator needs them."""
    schema = ask(node, "GET", "/openapi.json").json()

    def described(path: str, method: str, code: str) -> str:
        answer = schema["paths"][path][method]["responses"][code]["content"]["application/json"]["schema"]
        return str(answer["$ref"]).rpartition("/")[2]

    assert described("/api/status", "get", "200") == "Status"
    assert described("/api/history", "get", "200") == "History"
    assert described("/readyz", "get", "503") == "Readiness"
    rollback, promote = "/api/models/{model}/rollback", "/api/models/{model}/promote"
    assert {described(rollback, "post", "200"), described(promote, "post", "202")} == {"Outcome"}
    for path in ("/rollback", rollback, promote):
        errors = {described(path, "post", code) for code in ("401", "403", "404", "409", "413", "422", "503")}
        assert errors == {"ErrorAnswer"}
    assert "epoch" in schema["components"]["schemas"]["ActiveEngine"]["required"]


def test_a_file_name_that_is_no_unicode_does_not_hide_the_status(node: FakeNode) -> None:
    """A picture whose name is in Latin-1 comes with lone surrogates."""
    odd = a_status().model_copy(update={"disk_error": "caf\udce9.jpg: is broken"})
    node.status = lambda: odd  # type: ignore[method-assign]
    answer = ask(node, "GET", "/api/status")
    assert (answer.status_code, answer.json()["disk_error"]) == (200, "caf?.jpg: is broken")
