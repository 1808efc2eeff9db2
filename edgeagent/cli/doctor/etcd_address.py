# SPDX-License-Identifier: AGPL-3.0-or-later
"""Why an etcd isn't reached, found out below what its client says: who listens there, and in which language."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from edgeagent.cli.doctor import reach

CLIENTS = "etcd's port for clients is 2379, unless its --listen-client-urls says otherwise"


def why_not(endpoints: Sequence[str], has_tls: bool) -> tuple[str, str] | None:
    """What is wrong at the first endpoint of which something is, and the remedy; None where nothing is found."""
    for endpoint in endpoints:
        host, _, port = endpoint.rpartition(":")
        if found := _at(host.strip("[]"), int(port), has_tls):
            why, todo = found
            return f"{endpoint}: {why}", todo
    return None


def _at(host: str, port: int, has_tls: bool) -> tuple[str, str] | None:
    match reach.no_connection(host, port):
        case socket.gaierror():
            return (
                "the name is not known",
                "check it, or the name server of this machine (resolvectl query NAME)",
            )
        case ConnectionRefusedError():
            return "nobody listens there", f"start etcd, and see that it listens on this address; {CLIENTS}"
        case TimeoutError():
            return "no answer at all", "check address, cable and firewalls on the way"
        case OSError() as e:
            return e.strerror or str(e), "check address and network"
    speaks = reach.speaks_tls(host, port)
    if speaks and not has_tls:
        return "it speaks TLS", "set tls: {ca_file: FILE}, with the authority that signed its certificate"
    if has_tls and not speaks:
        return "it speaks no TLS", "remove tls, or start etcd with --cert-file and --key-file"
    return _server(host, port, speaks)


def _server(host: str, port: int, tls: bool) -> tuple[str, str] | None:
    """Who it is."""
    version = reach.ask(host, port, "/version", tls=tls)
    if version is None:
        return None if tls else ("what listens there is no etcd", f"check host and port; {CLIENTS}")
    if not isinstance(version.doc, dict) or "etcdserver" not in version.doc:
        return "what listens there is no etcd", f"check host and port; {CLIENTS}"
    return None


def is_for_peers(endpoint: str, has_tls: bool) -> bool:
    """Whether that is the port by which etcd servers talk to each other. It answers clients, too, until somebody closes
    it to them."""
    host, _, port = endpoint.rpartition(":")
    members = reach.ask(host.strip("[]"), int(port), "/members", tls=has_tls)
    return members is not None and members.status == 200 and isinstance(members.doc, list)
