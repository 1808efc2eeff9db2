# SPDX-License-Identifier: AGPL-3.0-or-later
"""An S3-compatible server (moto) in a process of its own, on a free port."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

DEADLINE_S = 60.0


@dataclass(frozen=True)
class S3Store:
    """url: of an empty bucket. options: what fsspec needs to reach it."""

    url: str
    options: dict[str, object]


@contextmanager
def s3_server() -> Iterator[str]:
    """Run the server until the block ends; gives its endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    endpoint = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + DEADLINE_S
        while not _answers(endpoint):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"moto did not start (exit {process.poll()})")
            time.sleep(0.1)
        yield endpoint
    finally:
        process.kill()
        process.wait()


def s3_store(endpoint: str, bucket: str) -> S3Store:
    """A new empty bucket."""
    request = urllib.request.Request(f"{endpoint}/{bucket}", method="PUT")
    urllib.request.urlopen(request, timeout=10).close()
    options: dict[str, object] = {
        "endpoint_url": endpoint,
        "key": "test",
        "secret": "test",
        "client_kwargs": {"region_name": "us-east-1"},
    }
    return S3Store(f"s3://{bucket}", options)


def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(f"{endpoint}/moto-api/data.json", timeout=5).close()
    except (urllib.error.URLError, OSError):
        return False
    return True
