# SPDX-License-Identifier: AGPL-3.0-or-later
"""`doctor` against real servers: an etcd, certificates, and a camera that only answers."""

from __future__ import annotations

import os
import re
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from edgeagent.cli.doctor import certificates, rtsp
from edgeagent.cli.doctor.finding import Finding
from edgeagent.cli.doctor.reach import speaks_tls
from edgeagent.cli.doctor.rtsp import Described
from tests.support.certificates import Authority
from tests.support.etcd import PATIENCE, EtcdServer, free_port
from tests.support.examinations import an_examination, found

SDP = (
    "v=0\r\nm=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\n"
)


@contextmanager
def answering(answer: Callable[[str], str]) -> Iterator[int]:
    """A server that answers each request; its port."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while request := b"".join(iter(self.rfile.readline, b"\r\n")).decode():
                self.wfile.write(answer(request).encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def reply(status: str, body: str = "", **headers: str) -> str:
    """An answer of RTSP."""
    lines = [
        f"RTSP/1.0 {status}",
        "CSeq: 1",
        *(f"{name.replace('_', '-')}: {text}" for name, text in headers.items()),
    ]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body])


def test_what_a_camera_answers() -> None:
    """With the right password its codecs, with another one or none 401; and 404 for a wrong path."""

    def camera(request: str) -> str:
        url = request.split()[1]
        if url.endswith("/nothing"):
            return reply("404 Not Found")
        secret, what = md5(b"me:cam:p@ss").hexdigest(), md5(f"DESCRIBE:{url}".encode()).hexdigest()
        right = md5(f"{secret}:abc:{what}".encode()).hexdigest()
        if f'response="{right}"' in request:
            return reply("200 OK", SDP)
        return reply("401 Unauthorized", WWW_Authenticate='Digest realm="cam", nonce="abc"')

    with answering(camera) as port:
        at = f"127.0.0.1:{port}"
        assert rtsp.describe(f"rtsp://me:p%40ss@{at}/stream") == Described(200, ("H265",))
        assert rtsp.describe(f"rtsp://me:other@{at}/stream") == Described(401, scheme="Digest")
        assert rtsp.describe(f"rtsp://{at}/stream") == Described(401, scheme="Digest")
        assert rtsp.describe(f"rtsp://{at}/nothing") == Described(404)
        assert not speaks_tls("127.0.0.1", port)
    assert rtsp.describe(f"rtsp://127.0.0.1:{free_port()}/stream") is None


def test_certificates(tmp_path: Path) -> None:
    """One that was signed by an authority, and one that has expired, are read without either."""
    authority = Authority(tmp_path)
    good, old = authority.identity("press-12"), authority.identity("old", days=-1)
    about = certificates.about(good.cert, good.key)
    assert about is not None
    assert (about.names, about.expired) == (("press-12", "localhost", "127.0.0.1"), "")
    assert about.ends - about.begins == pytest.approx(2 * 86_400, abs=5)
    assert certificates.about(old.cert, old.key) == certificates.About(expired="certificate has expired")
    assert certificates.about(good.cert, old.key) is None


def etcdctl(etcd: EtcdServer, *args: str, given: str = "") -> None:
    """As an operator types it."""
    subprocess.run(
        ["etcdctl", f"--endpoints={etcd.endpoint}", *args],
        input=given,
        text=True,
        check=True,
        capture_output=True,
        env={**os.environ, **PATIENCE},
    )


def of_the_store(folder: Path, **store: Any) -> list[Finding]:
    """What is found."""
    return found(an_examination(folder, config_store=store), "config-store")


def test_an_etcd_and_what_is_taken_for_it(tmp_path: Path) -> None:
    """Nobody, the peers' port, TLS that it doesn't speak, a user that it asks for, who may not read: each by itself."""
    peer_port = re.compile(r":(\d+)$")
    with EtcdServer(tmp_path / "etcd") as etcd:
        (finding,) = of_the_store(tmp_path, url=etcd.url)
        assert "no version is aspired" in finding.text
        x = an_examination(tmp_path, {"now": time.time}, config_store={"url": etcd.url})
        assert found(x, "clock") == []
        (finding,) = of_the_store(tmp_path, url=f"etcd://127.0.0.1:{free_port()}")
        assert "nobody listens there" in finding.text
        match = peer_port.search(etcd.peer)
        assert match
        *_, finding = of_the_store(tmp_path, url=f"etcd://127.0.0.1:{match[1]}")
        assert "by which etcd servers talk to each other" in finding.text
        ca = Authority(tmp_path / "ca").cert
        (finding,) = of_the_store(tmp_path, url=etcd.url, tls={"ca_file": ca})
        assert "it speaks no TLS" in finding.text

        password = tmp_path / "password"
        password.write_text("right")
        password.chmod(0o600)
        for user in ("root", "node"):
            etcdctl(etcd, "user", "add", user, "--new-user-password=right")
        etcdctl(etcd, "user", "grant-role", "root", "root")
        etcdctl(etcd, "role", "add", "reader")
        etcdctl(etcd, "role", "grant-permission", "reader", "read", "/models/", "--prefix")
        etcdctl(etcd, "user", "grant-role", "node", "reader")
        etcdctl(etcd, "auth", "enable")
        (finding,) = of_the_store(tmp_path, url=etcd.url)
        assert finding.todo == "it asks for a user: set username and password_file"
        login = {"username": "node", "password_file": password}
        (finding,) = of_the_store(tmp_path, url=etcd.url, **login)
        assert "(reading /edgeagent/coordinator, /edgeagent/nodes/press-12)" in finding.text
        etcdctl(
            etcd, "--user=root:right", "role", "grant-permission", "reader", "read", "/edgeagent/", "--prefix"
        )
        _, finding = of_the_store(tmp_path, url=etcd.url, **login)
        assert "may not write /edgeagent/nodes/press-12, /edgeagent/reports/press-12/yolo" in finding.text
        password.write_text("wrong")
        (finding,) = of_the_store(tmp_path, url=etcd.url, **login)
        assert "user or password is wrong" in finding.todo
