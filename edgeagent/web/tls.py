# SPDX-License-Identifier: AGPL-3.0-or-later
"""The API's certificate; one that was renewed is shown soon, without a restart."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import structlog

from edgeagent.config import ApiTlsConfig
from edgeagent.errors import UsageError

log = structlog.get_logger(__name__)


class ServerTls:
    """What `api.tls` names, for a server: `context` is to be given to each connection.

    The files are read when it is made, and by `look`; not for a client, where a disk that hangs would keep the event
    loop. Raises UsageError where they can't be used at the start.
    """

    def __init__(self, settings: ApiTlsConfig) -> None:
        self._settings = settings
        self._stamps = _stamps(settings)
        self._newest = _load(settings)
        self.context = _load(settings)
        self.context.sni_callback = self._choose  # called for each client, also for one that names no host

    def look(self) -> None:
        """Take over files that were renewed. To be called from a thread, one at a time.

        What can't be used (half written, a key of another certificate) is logged, and the certificate before stays.
        """
        stamps = _stamps(self._settings)
        if stamps != self._stamps:
            self._stamps = stamps
            try:
                self._newest = _load(self._settings)
                log.info("certificate.renewed", cert_file=str(self._settings.cert_file))
            except UsageError as e:
                log.warning("certificate.not_renewed", note="the one before stays", why=str(e))

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest


def _stamps(settings: ApiTlsConfig) -> tuple[tuple[int, int, int] | None, ...]:
    """What tells each file from its successor."""
    return tuple(map(_stamp, _files(settings)))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino


def _files(settings: ApiTlsConfig) -> list[Path]:
    return [p for p in (settings.cert_file, settings.key_file, settings.client_ca_file) if p]


def _load(settings: ApiTlsConfig) -> ssl.SSLContext:
    what = f"api.tls, {settings.cert_file}"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file, password=_no_password)
        if settings.client_ca_file:
            what = f"api.tls, {settings.client_ca_file}"
            context.load_verify_locations(settings.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except ssl.SSLError as e:
        todo = "use PEM files; the key must be that of the certificate"
        raise UsageError(what, f"can't be used ({e.reason or e})", todo) from e
    except OSError as e:
        raise UsageError(what, f"can't be read ({e.strerror})", "make it readable for the node's user") from e
    return context


def _no_password() -> str:
    raise UsageError(
        "api.tls", "the key asks for a password", "use a key without, readable for the node's user only"
    )
