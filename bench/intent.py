# SPDX-License-Identifier: AGPL-3.0-or-later
"""Write to act: how long after an intent is written a node works on it, for each source that is given.

python -m bench.intent etcd://127.0.0.1:2379 zk://127.0.0.1:2181 kafka://127.0.0.1:9092/intents file:///tmp/intent

The clock starts when the write begins, and stops when the node's status first names the version as aspired: in the
same step the node begins to fetch it. With --webhook each source is also written through a webhook of its node, where
the clock starts when the signed delivery is posted. The API is asked every 2 ms, and its answer is in the figure.
Writes go to the model `bench-intent`; each source gets a node of its own, which serves nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import statistics
import tempfile
import time
import urllib.request
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

from edgeagent.core.directive import current_key
from edgeagent.intent.port import Access
from edgeagent.intent.url import open_writer
from edgeagent.testing import NodeRunner, wait_for

MODEL = "bench-intent"
GOAL_S = 0.3
_POLL_S = 0.002
_PATIENCE_S = 60.0
_BETWEEN_S = 0.25
_SECRET = "only-for-this-benchmark"


def main() -> None:
    """Print a line for each source: median, least and most of the delays, in milliseconds; and the node's memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("urls", nargs="+", metavar="URL")
    parser.add_argument("--writes", type=int, default=20, help="to each source (default 20)")
    parser.add_argument("--options", type=json.loads, default={}, help="of Kafka's client, as JSON")
    parser.add_argument("--webhook", action="store_true", help="also through a webhook of the node")
    arguments = parser.parse_args()
    print(
        f"{'source':<34} {'median':>8} {'least':>8} {'most':>8}   ms, {arguments.writes} writes, node's memory"
    )
    for url, by_hook in product(arguments.urls, (False, True) if arguments.webhook else (False,)):
        options = arguments.options if url.startswith("kafka:") else {}
        delays, memory = measure(url, options, arguments.writes, by_hook)
        name = f"webhook, {url}" if by_hook else url
        figures = (statistics.median(delays), min(delays), max(delays))
        good = "" if figures[0] <= GOAL_S else f"  over the goal of {GOAL_S * 1000:.0f} ms"
        print(
            f"{name:<34} {' '.join(f'{s * 1000:8.1f}' for s in figures)}   {memory >> 20} MB{good}",
            flush=True,
        )


def measure(url: str, options: dict[str, str], writes: int, by_hook: bool = False) -> tuple[list[float], int]:
    """Seconds from each write until the node acted, and the node's resident memory afterwards in bytes."""
    config: dict[str, dict[str, Any]] = {
        "config_store": {"url": url, "options": options},
        "update": {"spare_worker": False},
    }
    with (
        tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as folder,
        closing(open_writer(url, Access(options=options))) as writer,
        NodeRunner(Path(folder), config) as node,
    ):
        secret = Path(folder) / "secret"
        secret.touch(0o600)
        secret.write_text(_SECRET)
        node.config.setdefault("api", {})["hooks"] = {
            "bench": {"secret_file": str(secret), "style": "generic"}
        }
        node.add_pipeline("line-1", MODEL, {"url": str(Path(folder) / "absent")})
        writer.put(current_key(MODEL), b"v0")
        node.start()
        wait_for(lambda: node.model(MODEL)["aspired"] == "v0", f"{url} read")
        delays = []
        for n in range(1, writes + 1):
            time.sleep(_BETWEEN_S)
            began = time.perf_counter()
            if by_hook:
                _post(f"{node.url}/api/hooks/bench", f"v{n}")
            else:
                writer.put(current_key(MODEL), b"v%d" % n)
            while node.model(MODEL)["aspired"] != f"v{n}":
                if time.perf_counter() - began > _PATIENCE_S:
                    raise TimeoutError(f"{url}: the node doesn't see v{n}")
                time.sleep(_POLL_S)
            delays.append(time.perf_counter() - began)
        return delays, _resident(node.pid)


def _post(url: str, version: str) -> None:
    """Ask for a version as a script does. Raises urllib.error.HTTPError when it is refused."""
    body = json.dumps({"model": MODEL, "version": version}).encode()
    sent = str(int(time.time()))
    mac = hmac.new(_SECRET.encode(), sent.encode() + b"." + body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-Edgeagent-Signature": f"t={sent},v1={mac}"}
    urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=_PATIENCE_S).close()


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise OSError(f"process {pid} has no VmRSS")


if __name__ == "__main__":
    main()
