# SPDX-License-Identifier: AGPL-3.0-or-later
"""Proxies of the environment that catch what lies on the own network."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import WARN, Finding

_LOCAL = (".local", ".lan", ".internal", ".home.arpa")


def proxies(x: Examination) -> Iterator[Finding]:
    """Only what is asked over http, which alone takes them: model store and cameras."""
    environ = {name.lower(): value for name, value in x.machine.environ.items()}
    urls = {"model store": x.config.model_store.url}
    urls |= {f"source of {p.name}": p.source.url for p in x.config.pipelines}
    if endpoint := x.config.model_store.storage_options.get("endpoint_url"):
        urls["model store"] = str(endpoint)
    for subject, url in urls.items():
        parts = _parts(url)
        if parts is None:
            continue
        scheme, host = parts
        variable = f"{scheme}_proxy"
        proxy = environ.get(variable) or ""
        exempt = _is_exempt(host, environ.get("no_proxy", ""))
        if proxy and _is_near(host) and not exempt:
            address = proxy.rpartition("@")[2]
            text = f"{host} would be asked through the proxy {address} of the environment ({variable})"
            yield Finding(
                WARN, subject, text, f"add it to no_proxy: no_proxy={host},… in the unit's environment"
            )


def _parts(url: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname) if parts.scheme in ("http", "https") and parts.hostname else None


def _is_near(host: str) -> bool:
    """Whether a host is on the own network, as far as its name tells."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(_LOCAL)


def _is_exempt(host: str, no_proxy: str) -> bool:
    """As curl and requests read the variable: names and their domains, addresses and networks."""
    for entry in (entry.strip().lower() for entry in no_proxy.split(",")):
        if entry == "*" or (entry and (host == entry.lstrip(".") or host.endswith(f".{entry.lstrip('.')}"))):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False
