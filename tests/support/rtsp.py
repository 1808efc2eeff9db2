# SPDX-License-Identifier: AGPL-3.0-or-later
"""An RTSP camera on loopback that sends H.264 over its TCP connection, behind a network that can hold it back."""

from __future__ import annotations

import re
import socketserver
from typing import Any

from tests.support.live_stream import LiveStream, Network

_SDP = b"""v=0\r
o=- 0 0 IN IP4 127.0.0.1\r
s=live\r
t=0 0\r
m=video 0 RTP/AVP 96\r
a=rtpmap:96 H264/90000\r
a=fmtp:96 packetization-mode=1\r
a=control:track1\r
"""


class RtspCamera(LiveStream):
    """See LiveStream; its frames have the times of RTP."""

    scheme, container = "rtsp", "rtp"

    def talk(self, handler: socketserver.StreamRequestHandler) -> bool:
        """Until the client wants to see; False when it has gone before."""
        while request := handler.rfile.readline():
            method = request.split()[0]
            headers = b"".join(iter(handler.rfile.readline, b"\r\n"))
            lines = [b"RTSP/1.0 200 OK", b"CSeq: " + _field(headers, b"CSeq"), b"Session: 1"]
            body = _SDP if method == b"DESCRIBE" else b""
            if method == b"SETUP":
                lines.append(b"Transport: " + _field(headers, b"Transport"))
            if body:
                lines += [b"Content-Type: application/sdp", b"Content-Length: %d" % len(body)]
            handler.wfile.write(b"\r\n".join([*lines, b"", body]))
            if method == b"PLAY":
                return True
        return False

    def file(self, network: Network) -> Any:
        """Where FFmpeg writes one RTP packet at a time."""
        return _Interleaved(network)


class _Interleaved:
    def __init__(self, network: Network) -> None:
        self._network = network

    def write(self, data: bytes) -> int:
        is_report = 200 <= data[1] <= 204
        self._network.write(b"$" + bytes([is_report]) + len(data).to_bytes(2, "big") + data)
        return len(data)


def _field(headers: bytes, name: bytes) -> bytes:
    found = re.search(rb"(?im)^" + name + rb": *(.*?)\r$", headers)
    assert found, f"no {name!r}"
    return found.group(1)
