# SPDX-License-Identifier: AGPL-3.0-or-later
"""Those who look at a node, in a process of their own: `python -m bench.view_clients URL PIPELINE --viewers 3`.

Each reads the live picture of a pipeline and the events, over real connections, as a page does. It says `ready` when
all have begun, and what was read, as JSON, when its stdin ends. It runs at the lowest priority: a plant's viewers sit
at other machines, so their own work is not to be measured.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

_ANSWER_S = 30.0
_READ_BYTES = 1 << 16
_PICTURE, _EVENT = b"X-Edgeagent-Seq:", b"event:"


def main() -> None:
    """Look until stdin ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("pipeline")
    parser.add_argument("--viewers", type=int, default=3)
    arguments = parser.parse_args()
    os.nice(19)
    read: Counter[str] = Counter()
    paths = {
        "pictures": f"/api/pipelines/{arguments.pipeline}/preview.mjpg?width=640&fps=5",
        "events": "/api/events",
    }
    begun = [threading.Event() for _ in range(arguments.viewers * len(paths))]
    each = [(kind, path) for kind, path in paths.items() for _ in range(arguments.viewers)]
    for (kind, path), has_begun in zip(each, begun, strict=True):
        of = (arguments.url, path, kind, read, has_begun)
        threading.Thread(target=_look, args=of, daemon=True).start()
    for has_begun in begun:
        has_begun.wait(_ANSWER_S)
    print("ready", flush=True)
    sys.stdin.read()
    print(json.dumps(read), flush=True)
    os._exit(0)  # whoever still reads, reads no more


def _look(url: str, path: str, kind: str, read: Counter[str], has_begun: threading.Event) -> None:
    """Read, and count what was read."""
    mark = _PICTURE if kind == "pictures" else _EVENT
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_ANSWER_S)
    connection.request("GET", path)
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"{path} answered {answer.status}: {answer.read()!r}")
    rest = b""
    while data := answer.read1(_READ_BYTES):
        text = rest + data
        read[kind] += text.count(mark)
        read["bytes"] += len(data)
        rest = text[-len(mark) + 1 :]
        has_begun.set()


@contextmanager
def looking(url: str, pipeline: str, viewers: int) -> Iterator[dict[str, Any]]:
    """As many look at a node while the context lasts; afterwards the mapping says what they read."""
    command = [sys.executable, "-m", "bench.view_clients", url, pipeline, "--viewers", str(viewers)]
    read: dict[str, Any] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise SystemExit("those who should look at the node don't")
            yield read
            said, _ = process.communicate("")
            read.update(json.loads(said))
        finally:
            process.kill()


if __name__ == "__main__":
    main()
