# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mistakes about cameras, secrets and the API that `doctor` finds."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from edgeagent.cli.doctor import api, cameras, certificates
from edgeagent.cli.doctor.certificates import About
from edgeagent.cli.doctor.finding import Finding
from edgeagent.cli.doctor.rtsp import Described
from edgeagent.config import SourceConfig
from edgeagent.errors import UnavailableError
from tests.support.examinations import NOW, an_examination, at, found, only

DAY = 86_400.0


def gives_nothing(source: SourceConfig) -> str:
    """As the capture worker says it."""
    raise UnavailableError("source", "camera:554 answers, but sends no video", "check source.url")


def said_of(tmp_path: Path, url: str, machine: dict[str, Any] | None = None) -> Finding:
    """What is found about a camera that gives nothing."""
    source = {"name": "line-1", "model": "yolo", "source": {"url": url}}
    x = an_examination(tmp_path, machine, pipelines=[source])
    (finding,) = cameras.sources(x, gives_nothing)
    assert finding.level == "FAIL"
    return finding


@pytest.mark.parametrize(
    ("url", "answer", "says", "todo"),
    [
        (
            "rtsp://camera/a",
            Described(401, scheme="Digest"),
            "asks for user and password",
            "rtsp://USER:PASSWORD@",
        ),
        ("rtsp://me:pw@camera/a", Described(401), "user or password is wrong", "percent-encoded"),
        ("rtsp://camera/a", Described(404), "no stream at /a", "manual"),
        ("rtsp://camera/a", Described(200, ("H266",)), "its codec is H266", "H.264"),
        ("rtsp://camera/a", Described(200), "no video", "another path"),
        ("rtsp://camera/a", Described(453), "no room for another viewer", "close others"),
        ("rtsp://camera/a", Described(200, ("H264",)), "sends no video", "check source.url"),
        ("rtsp://camera/a", None, "sends no video", "check source.url"),
    ],
)
def test_why_a_network_camera_gives_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, answer: Described | None, says: str, todo: str
) -> None:
    """Password, path and codec are three mistakes; FFmpeg calls them one. No password is shown."""
    monkeypatch.setattr(cameras.rtsp, "describe", lambda url: answer)
    finding = said_of(tmp_path, url)
    assert says in finding.text
    assert todo in finding.todo
    assert "pw" not in finding.text


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    """The others are named."""
    at(an_examination(tmp_path), "dev/video2", "")
    assert "there are video2" in said_of(tmp_path, "/dev/video0").text
    assert "there is no camera at all" in said_of(tmp_path / "other", "/dev/video0").text


def test_a_device_of_a_group_that_the_user_is_not_in(tmp_path: Path) -> None:
    """The group is named, whatever it is here."""
    device = at(an_examination(tmp_path), "dev/video0", "")
    device.chmod(0o660)
    finding = said_of(tmp_path, "/dev/video0", {"groups": frozenset({device.stat().st_gid + 1})})
    assert "is not in the group" in finding.text
    assert "usermod -aG" in finding.todo


def test_a_source_that_gives_a_frame(tmp_path: Path) -> None:
    """Its size is kept for later checks."""
    x = an_examination(tmp_path)
    assert [f.level for f in cameras.sources(x, lambda source: "1280x720, 25.0 fps")] == ["ok"]
    assert x.sizes == {"line-1": (1280, 720)}


def test_no_pipelines(tmp_path: Path) -> None:
    """A node that serves nothing."""
    assert only(an_examination(tmp_path, pipelines=[]), "sources").subject == "pipelines"


@pytest.mark.parametrize(
    ("text", "mode", "check", "says"),
    [
        (None, 0o600, "secret-files", "can't be read"),
        ("0123456789abcdef0123", 0o644, "secret-files", "open to others"),
        ("", 0o600, "secret-files", "empty"),
        ("$$$$$$", 0o600, "token", "can be guessed"),
    ],
)
def test_a_token_file(tmp_path: Path, text: str | None, mode: int, check: str, says: str) -> None:
    """Missing, readable for all, empty, short; never shown."""
    file = tmp_path / "token"
    if text is not None:
        file.write_text(text)
        file.chmod(mode)
    finding = only(an_examination(tmp_path, api={"token_file": file, "host": "127.0.0.1"}), check)
    assert says in finding.text
    assert "$$" not in str(finding)


def test_secrets_in_clear_text(tmp_path: Path) -> None:
    """What can be read on its way, with the remedy."""
    x = an_examination(tmp_path, api={"token_file": tmp_path / "token", "host": "0.0.0.0"})
    assert "api.tls" in only(x, "clear-text").todo


@pytest.mark.parametrize(
    ("port", "code", "says", "todo"),
    [
        (8080, errno.EADDRINUSE, "taken", "another api.port"),
        (80, errno.EACCES, "below 1024", "CAP_NET_BIND_SERVICE"),
    ],
)
def test_a_port_that_can_not_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int, code: int, says: str, todo: str
) -> None:
    """Somebody has it, or it is for root."""

    def listen(host: str, number: int) -> Any:
        why = "the port is taken" if code == errno.EADDRINUSE else os.strerror(code)
        raise UnavailableError(f"api at {host} port {number}", why, "set another api.port")

    monkeypatch.setattr(api, "listen", listen)
    finding = only(an_examination(tmp_path, api={"port": port}), "api")
    assert says in finding.text
    assert todo in finding.todo


@pytest.mark.parametrize(
    ("about", "levels"),
    [
        (About(("press-12.plant.lan",), NOW - DAY, NOW + 90 * DAY), []),
        (About(("*.plant.lan",), NOW - DAY, NOW + 90 * DAY), []),
        (About(("press-13",), NOW - DAY, NOW + 90 * DAY), ["warn"]),
        (About(("press-12",), NOW - DAY, NOW + 3 * DAY), ["warn"]),
        (About(expired="certificate has expired"), ["FAIL"]),
        (None, []),
    ],
)
def test_the_certificate_of_the_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, about: About | None, levels: list[str]
) -> None:
    """Expired, about to, or for another name."""
    monkeypatch.setattr(certificates, "about", lambda cert, key: about)
    tls = {"cert_file": tmp_path / "a.pem", "key_file": tmp_path / "a.key"}
    x = an_examination(tmp_path, api={"host": "0.0.0.0", "token_file": tmp_path / "token", "tls": tls})
    assert [f.level for f in found(x, "certificate")] == levels


def test_the_certificate_for_the_config_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node's own, which etcd would refuse without saying why."""
    tls = {"cert_file": tmp_path / "a.pem", "key_file": tmp_path / "a.key"}
    x = an_examination(tmp_path, config_store={"url": "etcd://etcd.lan:2379", "tls": tls})
    monkeypatch.setattr(certificates, "about", lambda cert, key: About(expired="certificate has expired"))
    assert only(x, "config-store-certificate").level == "FAIL"
    monkeypatch.setattr(certificates, "about", lambda cert, key: About((), NOW, NOW + DAY))
    assert "1 more days" in only(x, "config-store-certificate").text
