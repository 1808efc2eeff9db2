# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a certificate says of itself: until when it holds, and for which names."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import FAIL, OK, WARN, Finding
from edgeagent.config import is_loopback

SOON_S = 14 * 86_400
_RENEW = "renew it; it is read anew by itself"


@dataclass(frozen=True)
class About:
    """names: DNS names and addresses; begins, ends: Unix seconds. expired: it doesn't hold now, and then the rest isn't
    known."""

    names: tuple[str, ...] = ()
    begins: float = 0.0
    ends: float = 0.0
    expired: str = ""


def about(cert_file: Path, key_file: Path) -> About | None:
    """Of a certificate and its key, by a handshake with itself, in memory. None where that tells nothing."""
    try:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(cert_file, key_file, password="")
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself is who is trusted
        client.load_verify_locations(cert_file)
        found = _handshake(server, client)
        names = tuple(
            value for kind, value in found.get("subjectAltName", ()) if kind in ("DNS", "IP Address")
        )
        return About(
            names, ssl.cert_time_to_seconds(found["notBefore"]), ssl.cert_time_to_seconds(found["notAfter"])
        )
    except ssl.SSLCertVerificationError as e:
        return About(expired=e.verify_message)
    except (OSError, ValueError, KeyError):
        return None


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    """The server's certificate, as the client sees it."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    at_server = server.wrap_bio(up, down, server_side=True)
    at_client = client.wrap_bio(down, up)
    for _ in range(10):
        for side in (at_client, at_server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return dict(at_client.getpeercert() or {})


def of_the_api(x: Examination) -> Iterator[Finding]:
    """Whether it holds, still does in two weeks, and names this machine."""
    tls = x.config.api.tls
    found = about(tls.cert_file, tls.key_file) if tls else None
    if tls is None or found is None:
        return  # what can't be used is said of the API itself
    if found.expired:
        yield Finding(FAIL, "api.tls", f"{tls.cert_file}: {found.expired}", _RENEW)
        return
    left = found.ends - x.machine.now()
    if left < SOON_S:
        yield Finding(WARN, "api.tls", f"{tls.cert_file} holds for {left / 86_400:.0f} more days", _RENEW)
    else:
        until = time.strftime("%Y-%m-%d", time.gmtime(found.ends))
        yield Finding(OK, "api.tls", f"holds until {until}, for {', '.join(found.names) or 'no name'}")
    wanted = _names(x)
    if not any(_fits(name, host) for name in found.names for host in wanted):
        text = f"{tls.cert_file} is for {', '.join(found.names) or 'no name'}, not for {' or '.join(wanted)}"
        yield Finding(WARN, "api.tls", text, "have it made out to the name that clients use (subjectAltName)")


def of_the_config_store(x: Examination) -> Iterator[Finding]:
    """The node's own, that it shows there."""
    tls = x.config.config_store.tls
    if tls is None or not (tls.cert_file and tls.key_file):
        return
    found = about(tls.cert_file, tls.key_file)
    if found and found.expired:
        yield Finding(FAIL, "config_store.tls", f"{tls.cert_file}: {found.expired}", "renew it")
    elif found and found.ends - x.machine.now() < SOON_S:
        days = (found.ends - x.machine.now()) / 86_400
        yield Finding(WARN, "config_store.tls", f"{tls.cert_file} holds for {days:.0f} more days", "renew it")


def _names(x: Examination) -> list[str]:
    """By which clients may know this machine."""
    host = x.config.api.host
    if host in ("0.0.0.0", "::", ""):
        return [x.machine.hostname]
    return [host, x.machine.hostname] if is_loopback(host) else [host]


def _fits(name: str, host: str) -> bool:
    """Whether a certificate's name, which may begin with `*.`, is for this host, or for it in some domain."""
    name, host = name.lower(), host.lower()
    if name.startswith("*."):
        return "." not in host or host.partition(".")[2] == name[2:]
    return name == host or name.partition(".")[0] == host
