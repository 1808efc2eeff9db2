# SPDX-License-Identifier: AGPL-3.0-or-later
"""Addresses of those who are sent something: a scheme and a host that can be looked up, without a log-in."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from edgeagent.util.settings import TlsConfig


def names_a_server(url: str, ports: Mapping[str, int]) -> bool:
    """Whether it names a host by one of these schemes. ports: that each scheme has where none is given."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ports and parts.hostname and (parts.port or 1) and "@" not in parts.netloc
        (parts.hostname or "").encode("idna")  # as it is looked up; an empty part, such as in a..b, is none
    except ValueError:
        return False
    return bool(good)


def server_of(url: str, ports: Mapping[str, int]) -> tuple[str, int]:
    """Host and port. ports: as above."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or ports[parts.scheme]


def only_encrypted(tls: TlsConfig | None, url: str | None, plain: str, form: str) -> TlsConfig | None:
    """These certificates, unless they are of no use. url: None where that was wrong already; plain: the scheme that is
    not encrypted; form: an address that is. Raises ValueError."""
    if tls and url is not None and url.startswith(f"{plain}:"):
        raise ValueError(f"is given with {plain}://, which is not encrypted; allowed: {form} with it")
    return tls
