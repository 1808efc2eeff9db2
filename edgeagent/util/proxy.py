# SPDX-License-Identifier: AGPL-3.0-or-later
"""The proxy that the environment names."""

from __future__ import annotations

import os
from urllib.parse import urlsplit


def environment_proxy() -> str:
    """`variable=host:port` of the one that gRPC would take, without user and password; "" where there is none."""
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        if value := os.environ.get(name):
            try:
                parts = urlsplit(value if "://" in value else f"http://{value}")
            except ValueError:
                return name
            return f"{name}={parts.netloc.rpartition('@')[2]}"
    return ""
