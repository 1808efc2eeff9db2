# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an etcd that isn't reached is said to be, and what to do; how long a log-in is waited for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from edgeagent.errors import EdgeAgentError, UnavailableError, UsageError
from edgeagent.intent import etcd_client
from edgeagent.intent.etcd_client import Client, Link, translated
from edgeagent.intent.port import Access


class _Failed(grpc.RpcError):
    """What gRPC raises."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


def told(code: grpc.StatusCode, details: str) -> EdgeAgentError:
    """Our error for one of gRPC's."""
    with pytest.raises(EdgeAgentError) as raised, translated("reading"):
        raise _Failed(code, details)
    return raised.value


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_a_proxy_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be the only way there, and isn't asked unless one says so; its password stays where it is."""
    assert "proxy" not in str(told(grpc.StatusCode.UNAVAILABLE, "refused"))
    monkeypatch.setenv("http_proxy", "http://me:secret@proxy.plant:3128")
    error = told(grpc.StatusCode.UNAVAILABLE, "refused")
    assert "http_proxy=proxy.plant:3128" in error.todo
    assert "options: {http_proxy: true}" in error.todo
    assert "secret" not in str(error)


def test_whose_fault_it_is() -> None:
    """A full database may be mended, a wrong password isn't by trying again, and a handshake has certificates."""
    full = told(grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
    assert isinstance(full, UnavailableError)
    assert "NOSPACE" in full.why
    assert "nothing was changed" in full.todo
    assert isinstance(told(grpc.StatusCode.PERMISSION_DENIED, "permission denied"), UsageError)
    assert "certificates" in told(grpc.StatusCode.UNAVAILABLE, "Unwrap failed (TSI_DATA_CORRUPTED)").todo


class _Etcd:
    """Answers log-ins and questions as the test says: with the code of an error, or well (None)."""

    def __init__(self, *log_ins: grpc.StatusCode | None) -> None:
        self.log_ins = iter(log_ins)
        self.waited_s: list[float] = []
        self.tokens: list[str] = []
        self.failing = False

    def link(self, *_: object) -> Any:
        """A connection to it."""
        return SimpleNamespace(
            channel=SimpleNamespace(close=lambda: None), auth=SimpleNamespace(Authenticate=self.log_in)
        )

    def log_in(self, request: object, *, timeout: float) -> Any:
        self.waited_s.append(timeout)
        code = next(self.log_ins, None)
        if code:
            raise _Failed(code, "too late")
        return SimpleNamespace(token=f"token {len(self.waited_s)}")

    def ask(self, link: Link) -> Any:
        """A method of the client's."""

        def answer(request: object, *, timeout: float, metadata: tuple[tuple[str, str], ...]) -> str:
            if self.failing:
                self.failing = False
                raise _Failed(grpc.StatusCode.UNAVAILABLE, "reset")
            self.tokens.append(dict(metadata)["token"])
            return "answer"

        return answer


def _client(etcd: _Etcd, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(etcd_client, "Link", etcd.link)
    password = folder / "password"
    password.write_text("right")
    return Client(("a:2379",), (), 3.0, access=Access("node", password))


def test_a_log_in_is_waited_for_longer_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a whole plant logs in, one that is given up helps nobody. Once it has succeeded, as at first."""
    late = grpc.StatusCode.DEADLINE_EXCEEDED
    etcd = _Etcd(*[late] * 6, None, late, late)
    client = _client(etcd, tmp_path, monkeypatch)
    for _ in range(6):
        with pytest.raises(grpc.RpcError):
            client.call_once(etcd.ask, None)
    assert client.call_once(etcd.ask, None) == "answer"
    client.token = ()
    for _ in range(2):
        with pytest.raises(grpc.RpcError):
            client.call_once(etcd.ask, None)
    assert etcd.waited_s == [3, 6, 12, 24, 30, 30, 30, 3, 6]


def test_a_token_outlives_its_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that was away for a moment makes no log-ins: etcd keeps the token for minutes, each member of it."""
    etcd = _Etcd()
    client = _client(etcd, tmp_path, monkeypatch)
    assert client.call(etcd.ask, None) == "answer"
    etcd.failing = True
    assert client.call(etcd.ask, None) == "answer"
    assert etcd.tokens == ["token 1", "token 1"]


def test_only_the_connection_in_use_has_just_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writing is sent once: never over a connection that was not asked before, whoever gave up the last one."""
    etcd = _Etcd()
    client = _client(etcd, tmp_path, monkeypatch)
    assert not client.has_just_answered()
    client.call_once(etcd.ask, None)
    assert client.has_just_answered()
    etcd.failing = True
    with pytest.raises(grpc.RpcError):
        client.call_once(etcd.ask, None)
    assert not client.has_just_answered()

    def given_up_meanwhile(link: Link) -> Any:
        return lambda request, **options: client.drop(link)

    client.call_once(given_up_meanwhile, None)
    assert not client.has_just_answered()
    client.call_once(etcd.ask, None)
    monkeypatch.setattr(etcd_client, "_JUST_S", 0.0)
    assert not client.has_just_answered()
