# SPDX-License-Identifier: AGPL-3.0-or-later
"""The API over a real socket: start, stop, a taken port, and the command line's client against it."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from edgeagent import node as node_module
from edgeagent.cli.client import ask
from edgeagent.cli.main import main
from edgeagent.config import Config
from edgeagent.errors import ConflictError, NotFoundError, UnavailableError, UsageError
from edgeagent.node import Node
from edgeagent.observe.audit import AuditRecord
from edgeagent.observe.metrics import Metrics
from edgeagent.status.schema import History, Outcome, Status, to_json
from edgeagent.testing import wait_for
from edgeagent.web import server as server_module
from edgeagent.web.app import create_app
from edgeagent.web.server import ApiServer
from tests.support.statuses import a_status, an_outcome


class FakeNode:
    """A node with one model, `yolo`."""

    def status(self) -> Status:
        return a_status()

    def history(self, limit: int) -> str:
        return to_json(History(history=[AuditRecord("update", "yolo", "", "v1", "v2", why="\x1b[31mred")]))

    def ready(self) -> tuple[bool, str]:
        return True, ""

    async def rollback(self, model: str | None, by: str, if_epoch: int | None) -> Outcome:
        if model not in (None, "yolo"):
            raise NotFoundError(f"model {model}", "not on this node", "it has yolo")
        raise ConflictError("model yolo", "nothing before v1", "promote a version")

    async def promote(self, model: str, version: str, by: str, reason: str) -> Outcome:
        return an_outcome(model, version)


def served(work: Callable[[str], Any], token: str | None = None, node: Any = None) -> Any:
    """The result of `work(url)`, run in a thread beside a served node."""

    async def run() -> Any:
        server = ApiServer(create_app(node or FakeNode(), Metrics(), token=token), "127.0.0.1", 0)
        await server.start()
        try:
            return await asyncio.to_thread(work, server.url)
        finally:
            await server.stop()

    return asyncio.run(run())


def test_the_client_gets_the_status() -> None:
    """Over a real connection, whatever proxy is set in the environment."""
    assert served(lambda url: ask(url, "/api/status"))["node"] == "n1"


def test_proxies_are_left_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy for the internet must not see requests to a node."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert served(lambda url: ask(url, "/api/status"))["node"] == "n1"


def test_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """`status` and `history` show a person what matters, without control characters from the node."""
    assert served(lambda url: main(["status", "--url", url])) == 0
    out = capsys.readouterr().out
    for text in (
        "n1",
        "file:///x",
        "yolo",
        "v2",
        "onnxruntime-cpu",
        "held on v1 by eve until",
        "v4 is at FETCHING",
        "v2 rejected: class names differ",
        "last error: disk full",
        "line-1",
        "30.0",
        "9.5",
        "4711",
    ):
        assert text in out
    assert served(lambda url: main(["history", "--url", url])) == 0
    out = capsys.readouterr().out
    assert "v1 → v2" in out
    assert "\x1b" not in out


def test_json_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` gives a script what the node said."""
    assert served(lambda url: main(["status", "--json", "--url", url])) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(to_json(a_status()))


def test_errors_come_in_the_words_of_the_node(capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stderr, exit code 1."""
    assert served(lambda url: main(["rollback", "--url", url])) == 1
    assert capsys.readouterr().err == "error: model yolo: nothing before v1; promote a version\n"
    assert served(lambda url: main(["rollback", "other", "--url", url])) == 1
    assert capsys.readouterr().err == "error: model other: not on this node; it has yolo\n"


def test_the_token_comes_from_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given as an option or as a variable; without it the command says what is missing."""
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("t0ken\n")
    assert served(lambda url: main(["status", "--url", url, "--token-file", str(path)]), "t0ken") == 0
    assert served(lambda url: main(["status", "--url", url]), "t0ken") == 2
    assert "give --token-file" in capsys.readouterr().err
    monkeypatch.setenv("EDGEAGENT_TOKEN_FILE", str(path))
    assert served(lambda url: main(["status", "--url", url]), "t0ken") == 0


def test_a_taken_port_is_said_clearly() -> None:
    """At the start, with what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = ApiServer(create_app(FakeNode(), Metrics()), "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(UnavailableError, match="the port is taken; stop what listens there"):
            asyncio.run(server.start())


def test_nothing_is_built_for_a_port_that_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried every few seconds while frames flow, and building takes a tenth of a second of processor time."""
    built: list[object] = []
    monkeypatch.setattr(node_module, "create_app", lambda *args, **more: built.append(args))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        api = {"host": "127.0.0.1", "port": taken.getsockname()[1]}
        config = Config.model_validate({"node": {"id": "n1", "state_dir": tmp_path}, "api": api})
        node = Node(config)
        assert not asyncio.run(node.api.start())
    assert "the port is taken" in node.api.error
    assert not built


def test_an_address_of_another_machine_is_wrong_usage() -> None:
    """It will not get better by waiting."""
    with pytest.raises(UsageError, match="no such address here"):
        asyncio.run(ApiServer(create_app(FakeNode(), Metrics()), "192.0.2.1", 0).start())


def test_signals_stay_with_the_node() -> None:
    """Starting and stopping the server leaves the handlers of the process alone."""

    async def run() -> tuple[Any, Any]:
        server = ApiServer(create_app(FakeNode(), Metrics()), "127.0.0.1", 0)
        await server.start()
        while_serving = signal.getsignal(signal.SIGTERM)
        await server.stop()
        await server.stop()
        return while_serving, signal.getsignal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    assert asyncio.run(run()) == (before, before)


def test_a_stopped_server_frees_its_port() -> None:
    """A restart gets the same port again at once."""

    async def run() -> None:
        first = ApiServer(create_app(FakeNode(), Metrics()), "127.0.0.1", 0)
        await first.start()
        await asyncio.to_thread(ask, first.url, "/api/status")
        await first.stop()
        second = ApiServer(create_app(FakeNode(), Metrics()), "127.0.0.1", first.port)
        await second.start()
        await second.stop()

    asyncio.run(run())


def test_a_stop_waits_for_no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """However seldom the server looks at the clock."""
    monkeypatch.setattr(server_module, "TICK_S", 3600.0)

    async def run() -> None:
        api = ApiServer(create_app(FakeNode(), Metrics()), "127.0.0.1", 0)
        await api.start()
        await asyncio.to_thread(ask, api.url, "/api/status")
        await api.stop()

    asyncio.run(run())


def test_what_is_no_node_is_said_to_be_none() -> None:
    """Nothing there, no HTTP there, no URL."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(UnavailableError, match="no answer"):
            ask(f"http://127.0.0.1:{closed.getsockname()[1]}", "/api/status")
    with pytest.raises(UsageError, match="not a URL of a node"):
        ask("file:///etc/passwd", "")
    with pytest.raises(UnavailableError, match="not that of a node"):
        served(lambda url: ask(url, "/metrics"))


def test_who_asks_nothing_does_not_lock_the_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are few: those without a whole request are cut, silent or dribbling, and give way before that."""
    monkeypatch.setattr(server_module, "REQUEST_SECONDS", 1.5)

    def work(url: str) -> Any:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with ExitStack() as open_ones:
            hoard = [open_ones.enter_context(socket.create_connection(address, 60)) for _ in range(300)]
            hoard[-1].sendall(b"GET / HT")
            answers = [ask(url, "/api/status")["node"] for _ in range(5)]
            assert hoard[-1].recv(1000) == b""
            return answers

    assert served(work) == ["n1"] * 5


def test_a_crowd_at_work_does_not_lock_the_others_out() -> None:
    """Requests that wait are few; beside them health and status answer, and the others are told to come again."""
    begun = threading.Barrier(33, timeout=60)
    go_on = threading.Event()

    class Node(FakeNode):
        async def promote(self, model: str, version: str, by: str, reason: str) -> Outcome:
            threading.Thread(target=begun.wait, daemon=True).start()
            while not go_on.is_set():
                await asyncio.sleep(0.01)
            return an_outcome(model, version)

    def work(url: str) -> tuple[bytes, str]:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with ExitStack() as open_ones:
            for _ in range(32):
                client = open_ones.enter_context(socket.create_connection(address, 60))
                body = b'{"version": "v2"}'
                head = (
                    b"POST /api/models/yolo/promote HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
                )
                client.sendall(head % len(body) + body)
            begun.wait()
            with pytest.raises(UnavailableError, match="32 requests before it are not done yet"):
                ask(url, "/api/status")
            with urllib.request.urlopen(f"{url}/healthz", timeout=60) as answer:
                health = answer.read()
            go_on.set()
            return health, wait_for(lambda: _try_to_ask(url), "the API answers")["node"]

    assert served(work, node=Node()) == (b"ok\n", "n1")


def _try_to_ask(url: str) -> Any:
    try:
        return ask(url, "/api/status")
    except UnavailableError:
        return None


def test_a_connection_that_is_in_use_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that asks again in time goes on for longer than the patience with one request."""
    monkeypatch.setattr(server_module, "REQUEST_SECONDS", 1.5)

    def work(url: str) -> list[int]:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        connection.connect()
        same, statuses = connection.sock, []
        end = time.monotonic() + 3.5
        while time.monotonic() < end:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
            assert connection.sock is same
            time.sleep(0.2)  # the pace of a reader, not a wait for something
        connection.close()
        return statuses

    assert set(served(work)) == {200}


@pytest.mark.parametrize("chunks", [1, 10])
def test_a_body_that_is_too_large_is_answered(chunks: int) -> None:
    """Also to a client that reads nothing before it has sent all, as most do; in chunks the length isn't told."""
    body = b"x" * (10_000_000 // chunks)

    def work(url: str) -> tuple[int, str, str | None]:
        with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:
            connection.request("PUT", "/api/pipelines/line-1", body if chunks == 1 else iter([body] * chunks))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())["error"]["why"], answer.getheader("connection")

    assert served(work) == (413, "its body has more than 65536 bytes", "close")


def test_half_a_request_does_nothing() -> None:
    """A client that goes away in the middle of its body asked for no roll-back."""
    asked: list[str | None] = []

    class Node(FakeNode):
        async def rollback(self, model: str | None, by: str, if_epoch: int | None) -> Outcome:
            asked.append(model)
            return an_outcome()

    async def run() -> None:
        server = ApiServer(create_app(Node(), Metrics()), "127.0.0.1", 0)
        await server.start()
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /rollback HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\n")
        await writer.drain()
        await asyncio.to_thread(ask, server.url, "/api/status")
        writer.close()
        await writer.wait_closed()
        await asyncio.to_thread(ask, server.url, "/rollback", None, {})  # whatever came before is done then
        await server.stop()

    asyncio.run(run())
    assert asked == [None]
