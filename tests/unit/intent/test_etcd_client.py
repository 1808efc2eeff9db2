# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an etcd that isn't reached is said to be, and what to do."""

from __future__ import annotations

import grpc
import pytest

from edgeagent.errors import EdgeAgentError, UnavailableError, UsageError
from edgeagent.intent.etcd_client import translated


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
