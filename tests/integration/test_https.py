# SPDX-License-Identifier: AGPL-3.0-or-later
"""The API over https, with real certificates: who is trusted, what is renewed, and what the command line says."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from edgeagent.cli.client import ask
from edgeagent.cli.main import main
from edgeagent.config import ApiTlsConfig
from edgeagent.errors import UnavailableError, UsageError
from edgeagent.intent.port import Tls
from edgeagent.observe.metrics import Metrics
from edgeagent.status.schema import Status
from edgeagent.testing import wait_for
from edgeagent.web import server as server_module
from edgeagent.web import tls as tls_module
from edgeagent.web.app import create_app
from edgeagent.web.server import ApiServer
from edgeagent.web.tls import ServerTls
from tests.support.certificates import Authority, Identity
from tests.support.statuses import a_status


class FakeNode:
    """A node that can be asked for its status."""

    def status(self) -> Status:
        return a_status()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for long until renewed files are looked at."""
    monkeypatch.setattr(server_module, "RENEWAL_S", 0.05)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whom the clients trust."""
    return Authority(tmp_path / "authority")


@contextmanager
def served(settings: ApiTlsConfig) -> Iterator[str]:
    """The URL of a served node, while the block runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="loop")
    thread.start()
    app = create_app(cast("Any", FakeNode()), Metrics(), token=None)
    server = ApiServer(app, "127.0.0.1", 0, tls=ServerTls(settings))
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(60)
        yield server.url
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def settings_of(identity: Identity, client_ca: Path | None = None) -> ApiTlsConfig:
    """`api.tls` with this certificate."""
    return ApiTlsConfig(cert_file=identity.cert, key_file=identity.key, client_ca_file=client_ca)


def shown(url: str) -> str:
    """The certificate that the node shows."""
    host, _, port = url.removeprefix("https://").partition(":")
    return ssl.get_server_certificate((host, int(port)), timeout=30)


def test_the_command_line_over_https(
    authority: Authority, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With the authority all works; without it, or with another, nothing is sent, and the error says why."""
    with served(settings_of(authority.identity("server"))) as url:
        assert url.startswith("https://")
        assert main(["status", "--url", url, "--ca-file", str(authority.cert)]) == 0
        assert "yolo" in capsys.readouterr().out
        other = Authority(tmp_path / "other")
        for trust in ([], ["--ca-file", str(other.cert)]):
            assert main(["status", "--url", url, *trust]) == 1
            told = capsys.readouterr().err
            assert "certificate verify failed" in told
            assert "--ca-file" in told
        assert main(["status", "--url", url, "--ca-file", str(tmp_path / "none")]) == 2
        assert "No such file" in capsys.readouterr().err
        plain = url.replace("https", "http")
        with pytest.raises(UnavailableError):
            ask(plain, "/api/status")
        with pytest.raises(UsageError, match="certificates need https"):
            ask(plain, "/api/status", tls=Tls(authority.cert))


def test_a_renewed_certificate_is_shown_without_a_restart(authority: Authority) -> None:
    """Its files are replaced while the node runs; half a renewal leaves what was there."""
    identity = authority.identity("server")
    tls = Tls(authority.cert)
    with served(settings_of(identity)) as url, capture_logs() as logs:
        first = shown(url)
        assert first.strip() in identity.cert.read_text()
        key = identity.key.read_text()
        identity.key.write_text("half a k")
        wait_for(lambda: [line for line in logs if line["event"] == "certificate.not_renewed"], "a look")
        assert shown(url) == first
        assert ask(url, "/api/status", tls=tls)
        identity.key.write_text(key)
        renewed = authority.identity("server").cert.read_text()
        wait_for(lambda: shown(url) != first, "the new certificate")
        assert shown(url).strip() in renewed
        assert ask(url, "/api/status", tls=tls)
    told = [line["event"] for line in logs if line["event"].startswith("certificate.")]
    assert told[0] == "certificate.not_renewed"
    assert told[-1] == "certificate.renewed"


def test_an_expired_certificate_is_refused_and_its_successor_taken(authority: Authority) -> None:
    """By whoever asks; the node goes on."""
    identity = authority.identity("server", days=-1)
    with served(settings_of(identity)) as url:
        with pytest.raises(UnavailableError, match="certificate has expired"):
            ask(url, "/api/status", tls=Tls(authority.cert))
        authority.identity("server")
        wait_for(lambda: _answers(url, Tls(authority.cert)), "the new certificate")


def _answers(url: str, tls: Tls) -> bool:
    try:
        return bool(ask(url, "/api/status", tls=tls))
    except UnavailableError:
        return False


def test_clients_that_must_show_a_certificate(authority: Authority, tmp_path: Path) -> None:
    """One of the authority that is named; none, or one of another, is refused."""
    other = Authority(tmp_path / "other")
    ours, theirs = authority.identity("client"), other.identity("client")
    with served(settings_of(authority.identity("server"), authority.cert)) as url:
        assert ask(url, "/api/status", tls=Tls(authority.cert, ours.cert, ours.key))
        for tls in (Tls(authority.cert), Tls(authority.cert, theirs.cert, theirs.key)):
            with pytest.raises(UnavailableError):
                ask(url, "/api/status", tls=tls)


def test_no_file_is_read_for_a_client(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs would keep the event loop: the files are looked at elsewhere."""
    readers: set[int] = set()
    stamp = tls_module._stamp

    def noting(path: Path) -> Any:
        readers.add(threading.get_ident())
        return stamp(path)

    with served(settings_of(authority.identity("server"))) as url:
        monkeypatch.setattr(tls_module, "_stamp", noting)
        loops = {t.ident for t in threading.enumerate() if t.name == "loop"}
        wait_for(lambda: shown(url) and readers, "a look")
    assert loops
    assert not readers & loops


def test_clients_that_greet_at_once_are_answered_one_by_one(authority: Authority) -> None:
    """Each answer costs a signature: it is a turn of its own, and the share of the loop's time counts it."""
    happened: list[str] = []
    tls = ServerTls(settings_of(authority.identity("server")))
    tls.context.sni_callback = lambda *_: happened.append("hello")  # called when a hello is answered

    async def run() -> None:
        server = ApiServer(
            create_app(cast("Any", FakeNode()), Metrics(), token=None), "127.0.0.1", 0, tls=tls
        )
        rest_of = server.turns.rest

        async def rest(begin: float, rounds: int = 1) -> None:
            await rest_of(begin, rounds)
            happened.append("rest")

        server.turns.rest = rest  # type: ignore[method-assign]
        await server.start()
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        while happened.count("rest") < len(silent):  # all are accepted
            await asyncio.sleep(0.01)
        happened.clear()
        for client in silent:
            client.sendall(_hello())
        while happened.count("hello") < len(silent):
            await asyncio.sleep(0.01)
        for client in silent:
            client.close()
        await server.stop()

    asyncio.run(asyncio.wait_for(run(), 60))
    assert happened[:39] == (["hello", "rest"] * 20)[:39]


def _hello() -> bytes:
    """What a client sends first."""
    sent = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


def test_what_can_not_be_a_certificate(authority: Authority, tmp_path: Path) -> None:
    """It is said which file, and what to do."""
    server, client = authority.identity("server"), authority.identity("client")
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for cert, key, client_ca, why in (
        (tmp_path / "none.pem", server.key, None, "can't be read"),
        (server.cert, client.key, None, "the key must be that of the certificate"),
        (broken, server.key, None, "use PEM files"),
        (server.cert, server.key, broken, "use PEM files"),
    ):
        with pytest.raises(UsageError, match=why):
            ServerTls(ApiTlsConfig(cert_file=cert, key_file=key, client_ca_file=client_ca))
