# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an RTSP camera answers when it is asked for its stream: FFmpeg says no more than that it got none."""

from __future__ import annotations

import hashlib
import re
import socket
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

_TIMEOUT_S = 4.0
_MOST = 64 * 1024
_CHALLENGE = re.compile(r'(\w{1,64})="?([^",]{0,1024})"?')


@dataclass(frozen=True)
class Described:
    """The answer to DESCRIBE. status: such as 200, 401, 404; codecs: of its video, by SDP; scheme: of the log-in that
    it asks for ("" for none)."""

    status: int
    codecs: tuple[str, ...] = ()
    scheme: str = ""


def describe(url: str) -> Described | None:
    """Ask for it, with the user and password in the URL where the camera wants them. None: no answer of this kind."""
    parts = urlsplit(url)
    try:
        with socket.create_connection(
            (parts.hostname or "", parts.port or 554), timeout=_TIMEOUT_S
        ) as connection:
            connection.settimeout(_TIMEOUT_S)
            answer = _exchange(connection, _asked(_bare(parts)), 1)
            challenge = _header(answer, "www-authenticate")
            if _status(answer) == 401 and parts.username and challenge:
                answer = _exchange(connection, _asked(_bare(parts), _login(parts, challenge)), 2)
    except (OSError, ValueError):
        return None
    status = _status(answer)
    if status is None:
        return None
    return Described(status, _codecs(answer), challenge.partition(" ")[0] if status == 401 else "")


def _bare(parts: SplitResult) -> str:
    """Without user and password."""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _asked(url: str, login: str = "") -> str:
    also = f"Authorization: {login}\r\n" if login else ""
    return f"DESCRIBE {url} RTSP/1.0\r\nCSeq: {{number}}\r\nAccept: application/sdp\r\n{also}\r\n"


def _exchange(connection: socket.socket, request: str, number: int) -> str:
    connection.sendall(request.replace("{number}", str(number)).encode())
    data = b""
    while b"\r\n\r\n" not in data and len(data) < _MOST and (more := connection.recv(4096)):
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = _header(head.decode("latin-1"), "content-length")
    while len(body) < min(int(length or 0), _MOST) and (more := connection.recv(4096)):
        body += more
    return head.decode("latin-1") + "\r\n\r\n" + body.decode("latin-1")


def _status(answer: str) -> int | None:
    match = re.match(r"RTSP/1\.0 (\d{3})", answer)
    return int(match[1]) if match else None


def _header(answer: str, name: str) -> str:
    for line in answer.partition("\r\n\r\n")[0].split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return ""


def _codecs(answer: str) -> tuple[str, ...]:
    """Of the video in an SDP, such as H264."""
    found: list[str] = []
    is_video = False
    for line in answer.partition("\r\n\r\n")[2].splitlines():
        if line.startswith("m="):
            is_video = line.startswith("m=video")
        elif is_video and (match := re.match(r"a=rtpmap:\d+ ([\w.-]+)/", line)):
            found.append(match[1])
    return tuple(found)


def _login(parts: SplitResult, challenge: str) -> str:
    """By Digest (RFC 2069, as cameras have it) or Basic, whichever is asked for."""
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if challenge.lower().startswith("basic"):
        return "Basic " + b64encode(f"{user}:{password}".encode()).decode()
    given = dict(_CHALLENGE.findall(challenge))
    realm, nonce, url = given.get("realm", ""), given.get("nonce", ""), _bare(parts)
    secret, what = _md5(f"{user}:{realm}:{password}"), _md5(f"DESCRIBE:{url}")
    response = _md5(f"{secret}:{nonce}:{what}")
    return f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{url}", response="{response}"'


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
