# SPDX-License-Identifier: AGPL-3.0-or-later
"""The API over https, with real certificates: who is trusted, what is renewed, and what the command line says."""

from __future__ import annotations

import asyncio
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
from edgeagent.web.app import create_app
from edgeagent.web.server import ApiServer
from edgeagent.web.tls import ServerTls
from tests.support.certificates import Authority, Identity
from tests.support.statuses import a_status


class FakeNode:
    """A node that can be asked for its status."""

    def status(self) -> Status:
        return a_status()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whom the clients trust."""
    return Authority(tmp_path / "authority")


@contextmanager
def served(settings: ApiTlsConfig) -> Iterator[str]:
    """The URL of a served node, while the block runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    app = create_app(cast("Any", FakeNode()), Metrics(), token=None)
    server = ApiServer(app, "127.0.0.1", 0, tls=ServerTls(settings).context)
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
        assert shown(url) == first
        assert ask(url, "/api/status", tls=tls)
        identity.key.write_text(key)
        renewed = authority.identity("server").cert.read_text()
        assert shown(url).strip() in renewed
        assert shown(url) != first
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
        assert ask(url, "/api/status", tls=Tls(authority.cert))


def test_clients_that_must_show_a_certificate(authority: Authority, tmp_path: Path) -> None:
    """One of the authority that is named; none, or one of another, is refused."""
    other = Authority(tmp_path / "other")
    ours, theirs = authority.identity("client"), other.identity("client")
    with served(settings_of(authority.identity("server"), authority.cert)) as url:
        assert ask(url, "/api/status", tls=Tls(authority.cert, ours.cert, ours.key))
        for tls in (Tls(authority.cert), Tls(authority.cert, theirs.cert, theirs.key)):
            with pytest.raises(UnavailableError):
                ask(url, "/api/status", tls=tls)


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
