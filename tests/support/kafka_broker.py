# SPDX-License-Identifier: AGPL-3.0-or-later
"""A process that is a Kafka broker: the mock cluster of librdkafka, which speaks the real protocol over TCP.

It obeys lines on stdin, one command each, and answers each with a line; the first line that it prints is its address.
The library's own functions are called, because the Python client offers only an empty cluster.
"""

from __future__ import annotations

import ctypes
import glob
import os
import sys
from typing import Any

import confluent_kafka


def _library() -> Any:
    folder = os.path.join(os.path.dirname(confluent_kafka.__file__), "..", "confluent_kafka.libs")
    library = ctypes.CDLL(glob.glob(os.path.join(folder, "librdkafka-*.so*"))[0])
    for name in ("rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return library


def main() -> None:
    """Serve until stdin ends."""
    library = _library()
    client = ctypes.c_void_p(library.rd_kafka_new(0, None, None, ctypes.c_size_t(0)))
    cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(client, 1))
    print(library.rd_kafka_mock_cluster_bootstraps(cluster).decode(), flush=True)
    for line in sys.stdin:
        command, *words = line.split()
        texts = [int(word) if word.isdecimal() else word.encode() for word in words]
        arguments = [ctypes.c_int64(t) if isinstance(t, int) else t for t in texts]
        print(getattr(library, f"rd_kafka_mock_{command}")(cluster, *arguments), flush=True)


if __name__ == "__main__":
    main()
