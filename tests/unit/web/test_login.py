# SPDX-License-Identifier: AGPL-3.0-or-later
"""The login over HTTP, and a node below a path: in memory, without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from edgeagent.observe.metrics import Metrics
from edgeagent.web.access import cookie_name
from edgeagent.web.app import create_app
from tests.support.statuses import a_status

TOKEN = "t0ken"
Work = Callable[[httpx.AsyncClient], Awaitable[Any]]


class FakeNode:
    """A node with a status."""

    def status(self) -> Any:
        return a_status()


def run(work: Work, *, token: str | None = TOKEN, prefix: str = "", base: str = "http://n.plant:8080") -> Any:
    """The result of `work`, with a client that keeps cookies as a browser does."""

    async def within() -> Any:
        app = create_app(FakeNode(), Metrics(), token=token, prefix=prefix)  # type: ignore[arg-type]
        transport = httpx.ASGITransport(app, client=("10.0.0.7", 1))
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            return await work(client)

    return asyncio.run(within())


def test_from_the_page_to_the_status() -> None:
    """Without a session the page leads to the form; with one, everything is open as with the token."""

    async def work(client: httpx.AsyncClient) -> None:
        page = await client.get("/")
        assert (page.status_code, page.headers["location"]) == (303, "login")
        form = await client.get("/login")
        assert 'action="login"' in form.text
        assert (await client.get("/page/index.html")).status_code == 200
        assert (await client.get("/api/status")).status_code == 401
        answer = await client.post("/login", json={"token": f" {TOKEN}\n"})
        assert answer.status_code == 204
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/api/status")).json()["node"] == "n1"
        out = await client.post("/logout")
        assert (out.status_code, "Max-Age=0" in out.headers["set-cookie"]) == (204, True)
        assert (await client.get("/api/status")).status_code == 401

    run(work)


def test_a_cookie_that_was_copied_ends_with_the_session() -> None:
    """Logging out is more than forgetting."""

    async def work(client: httpx.AsyncClient) -> None:
        answer = await client.post("/login", json={"token": TOKEN})
        cookie = answer.headers["set-cookie"].partition(";")[0]
        await client.post("/logout")
        assert (await client.get("/api/status", headers={"cookie": cookie})).status_code == 401

    run(work)


@pytest.mark.parametrize(
    ("base", "headers", "attributes"),
    [
        ("http://n.plant:8080", {}, "Max-Age=43200; Path=/; HttpOnly; SameSite=Strict"),
        ("https://n.plant", {}, "Max-Age=43200; Path=/; HttpOnly; SameSite=Strict; Secure"),
        # A proxy with TLS before it: the browser says so.
        (
            "http://n.plant",
            {"origin": "https://n.plant"},
            "Max-Age=43200; Path=/; HttpOnly; SameSite=Strict; Secure",
        ),
        # What anybody can claim is not listened to.
        (
            "http://n.plant",
            {"x-forwarded-proto": "https", "x-forwarded-prefix": "/x", "forwarded": "proto=https"},
            "Max-Age=43200; Path=/; HttpOnly; SameSite=Strict",
        ),
    ],
)
def test_the_cookie(base: str, headers: dict[str, str], attributes: str) -> None:
    """No script reads it, no other site sends it."""

    async def work(client: httpx.AsyncClient) -> str:
        answer = await client.post("/login", json={"token": TOKEN}, headers=headers)
        return str(answer.headers["set-cookie"])

    assert run(work, base=base).partition("; ")[2] == attributes


def test_a_form_without_scripts() -> None:
    """The browser is led on, or back."""

    async def work(client: httpx.AsyncClient) -> None:
        wrong = await client.post("/login", data={"token": "wrong"})
        assert (wrong.status_code, wrong.headers["location"]) == (303, "login#wrong")
        right = await client.post("/login", data={"token": TOKEN})
        assert (right.status_code, right.headers["location"]) == (303, "./")
        assert (await client.get("/")).status_code == 200

    run(work)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"token": "wrong"}', 401),
        (b'{"token": "\\ud800"}', 401),
        (b'{"token": 7}', 422),
        (b"{}", 422),
        (b"{", 422),
        (b"[" * 20_000, 422),
        (b"{" + b'"a":[' * 9_000, 422),
        (b"\xff", 422),
        (b"", 422),
        (b"&".join(b"token=a" for _ in range(50)), 422),
    ],
)
def test_bad_logins(body: bytes, status: int) -> None:
    """An answer in words, and no cookie."""

    async def work(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post("/login", content=body)

    answer = run(work)
    assert answer.status_code == status
    assert answer.json()["error"]["todo"]
    assert "set-cookie" not in answer.headers


def test_guessing() -> None:
    """At the form and as a bearer it is the same guessing; who has a session is not concerned."""

    async def work(client: httpx.AsyncClient) -> None:
        await client.post("/login", json={"token": TOKEN})
        for n in range(5):
            assert (await client.post("/login", json={"token": f"a{n}"})).status_code == 401
            bearer = {"authorization": f"Bearer b{n}"}
            assert (await client.get("/api/status", headers=bearer)).status_code == 401
        stopped = await client.get("/api/status", headers={"authorization": f"Bearer {TOKEN}"})
        assert (stopped.status_code, stopped.headers["retry-after"]) == (429, "60")
        assert (await client.post("/login", json={"token": TOKEN})).status_code == 429
        assert (await client.get("/api/status")).status_code == 200

    run(work)


def test_other_sites_get_nowhere() -> None:
    """Neither log somebody in or out, nor act with his session."""

    async def work(client: httpx.AsyncClient) -> None:
        await client.post("/login", json={"token": TOKEN})
        evil = {"origin": "https://evil.example"}
        for path in ("/login", "/logout", "/rollback"):
            assert (await client.post(path, headers=evil)).status_code == 403
        assert (await client.get("/api/status")).status_code == 200

    run(work)


def test_nobody_need_log_in_without_a_token() -> None:
    """The form leads to the page; a script that logs in all the same gets on."""

    async def work(client: httpx.AsyncClient) -> None:
        form = await client.get("/login")
        assert (form.status_code, form.headers["location"]) == (303, "./")
        answer = await client.post("/login", json={"token": "x"})
        assert (answer.status_code, "set-cookie" in answer.headers) == (204, False)
        assert (await client.get("/")).status_code == 200

    run(work, token=None, base="http://localhost")


def test_below_a_path() -> None:
    """Whether the proxy takes it off or not; the cookie is for this node alone."""

    async def work(client: httpx.AsyncClient) -> None:
        page = await client.get("/line7")
        assert (page.status_code, page.headers["location"]) == (307, "/line7/")
        assert (await client.get("/line7/")).headers["location"] == "login"
        answer = await client.post("/line7/login", json={"token": TOKEN})
        assert "Path=/line7;" in answer.headers["set-cookie"]
        assert (await client.get("/line7/api/status")).status_code == 200
        cookie = answer.headers["set-cookie"].partition(";")[0]
        assert (await client.get("/api/status", headers={"cookie": cookie})).status_code == 200
        doc = (await client.get("/line7/openapi.json")).json()
        assert doc["servers"] == [{"url": "/line7"}]
        for path in ("/line77/api/status", "/line7/line7/api/status"):
            assert (await client.get(path, headers={"cookie": cookie})).status_code == 404
        assert (await client.get("/line7/healthz")).text == "ok\n"

    run(work, prefix="/line7")


def test_two_nodes_of_one_machine_in_one_browser() -> None:
    """It keeps cookies by host, whatever the port: a login or logout at one ends no session at the other."""

    def node(port: int) -> httpx.ASGITransport:
        app = create_app(FakeNode(), Metrics(), token=TOKEN, cookie=cookie_name("press-07", port))  # type: ignore[arg-type]
        return httpx.ASGITransport(app)

    async def within() -> None:
        nodes = {f"http://n.plant:{port}": node(port) for port in (8080, 8081)}
        async with httpx.AsyncClient(mounts=nodes) as client:
            for url in nodes:
                assert (await client.post(f"{url}/login", json={"token": TOKEN})).status_code == 204
            assert [(await client.get(f"{url}/api/status")).status_code for url in nodes] == [200, 200]
            assert (await client.post("http://n.plant:8080/logout")).status_code == 204
            assert [(await client.get(f"{url}/api/status")).status_code for url in nodes] == [401, 200]

    asyncio.run(within())
