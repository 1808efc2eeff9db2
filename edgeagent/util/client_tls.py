# SPDX-License-Identifier: AGPL-3.0-or-later
"""TLS of a connection that the node opens."""

from __future__ import annotations

import ssl

from edgeagent.errors import UsageError
from edgeagent.util.settings import TlsConfig


def client_context(tls: TlsConfig | None, what: str) -> ssl.SSLContext:
    """Trusts whom the files say, or the system; shows their certificate. Reads the files, which may be renewed.

    what: for the error's text. Raises UsageError for files that can't be used.
    """
    try:
        context = ssl.create_default_context(cafile=str(tls.ca_file) if tls and tls.ca_file else None)
        if tls and tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ValueError) as e:  # ssl.SSLError is an OSError
        raise UsageError(
            what, f"its certificates can't be read ({e})", "see tls: PEM files, readable for the node"
        ) from e
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
