# SPDX-License-Identifier: AGPL-3.0-or-later
"""`make soak`, its part on the API: a line goes on, and its operator gets through, while 500 connections hammer it.

The crowd asks whatever costs most, as fast as it is answered: status, the whole history, metrics, wrong requests; some
hold connections and say nothing, some finish no request. It comes and goes, so that frames with it and without it are
measured side by side. It is a process of the lowest priority: what is measured is the node, not who shares the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

import edgeagent.demo
from bench.bench_node import BenchNode
from edgeagent.cli.client import ask
from edgeagent.errors import ConflictError, EdgeAgentError
from edgeagent.testing import MODEL, wait_for

MAX_RATIO = 1.5
MAX_ANSWER_S = 15.0
ASK_EVERY_S = 1.0
_ASKED = (
    b"GET /api/status HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /api/history?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /nothing HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"POST /rollback HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n" + b'{"a": 1}\n',
)
Window = tuple[float, float]


def main() -> int:
    """Measure, and say what holds. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each phase")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--crowd", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.crowd:
        os.nice(19)
        asyncio.run(_crowd(arguments.crowd, arguments.connections))
        return 0
    with tempfile.TemporaryDirectory(prefix="edgeagent-soak-api-") as temp:
        return _measure(Path(temp), arguments.connections, arguments.seconds, arguments.rounds)


def _measure(folder: Path, connections: int, seconds: float, rounds: int) -> int:
    source = {"url": "synthetic://conveyor?fps=30", "live": True}
    node = BenchNode(folder, source, engine={"backend": "onnxruntime"}, update={"probation": {"seconds": 0}})
    for version in ("v1", "v2"):
        node.publish(version, Path(edgeagent.demo.__file__).parent / "weights" / f"{version}.onnx")
    quiet: list[Window] = []
    crowded: list[Window] = []
    answers: list[float] = []
    with node:
        node.start("v1")
        node.promote("v2")
        node.wait_active("v2")
        for _ in range(rounds):
            quiet.append(_watch(seconds))
            crowd = subprocess.Popen(
                [sys.executable, "-m", "bench.soak_api", "--crowd", node.url, f"--connections={connections}"]
            )
            try:
                time.sleep(2.0)  # until all of it is there
                crowded.append(_ask_for(node.url, seconds, answers))
            finally:
                crowd.kill()
                crowd.wait()
            time.sleep(1.0)
        # A whole roll-back, beside the crowd.
        crowd = subprocess.Popen(
            [sys.executable, "-m", "bench.soak_api", "--crowd", node.url, f"--connections={connections}"]
        )
        try:
            time.sleep(2.0)
            begin = time.monotonic()
            ask(node.url, "/rollback", None, {"by": "soak"})
            answers.append(time.monotonic() - begin)
        finally:
            crowd.kill()
            crowd.wait()
        wait_for(lambda: node.active(MODEL) == "v1", "rolled back", 30)
        node.stop()
        records = node.records()
    p99 = [_p99(records, windows) for windows in (quiet, crowded)]
    ratio = p99[1] / p99[0]
    print(
        f"latency p99: {p99[0]:.1f} ms without, {p99[1]:.1f} ms with {connections} connections that hammer the API"
    )
    print(f"p99 with / p99 without: {ratio:.2f} (at most {MAX_RATIO})")
    print(
        f"roll-backs: {len(answers)} asked and answered, after {np.median(answers):.2f} s, at most {max(answers):.2f} s"
    )
    return 0 if ratio <= MAX_RATIO and max(answers) <= MAX_ANSWER_S else 1


def _watch(seconds: float) -> Window:
    begin = time.time()
    time.sleep(seconds)
    return begin, time.time()


def _ask_for(url: str, seconds: float, answers: list[float]) -> Window:
    """Ask for a roll-back that the node must refuse, each second: what counts is that it answers, and when."""
    begin = time.time()
    while time.time() - begin < seconds:
        asked = time.monotonic()
        try:
            ask(url, "/rollback", None, {"by": "soak", "if_epoch": 0})
        except ConflictError:
            answers.append(time.monotonic() - asked)
        except EdgeAgentError as e:
            print(f"no answer to a roll-back: {e}")
            answers.append(float("inf"))
        time.sleep(ASK_EVERY_S)
    return begin, time.time()


def _p99(records: list[dict[str, float]], windows: list[Window]) -> float:
    found = [r["latency_ms"] for r in records if any(a <= r["ts"] <= b for a, b in windows)]
    return float(np.percentile(found, 99))


async def _crowd(url: str, connections: int) -> None:
    await asyncio.gather(
        *(_hammer(urlsplit(url).hostname or "", urlsplit(url).port or 0, i) for i in range(connections))
    )


async def _hammer(host: str, port: int, number: int) -> None:
    """One of ten says nothing, one of ten half of something, the others ask as fast as they are answered."""
    while True:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                if number % 10 == 0:
                    await reader.read()
                elif number % 10 == 1:
                    writer.write(b"GET /api/sta")
                    await reader.read()
                else:
                    await _ask_on(reader, writer, number)
            finally:
                writer.close()
        await asyncio.sleep(0.05)


async def _ask_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    while True:
        writer.write(_ASKED[number % len(_ASKED)])
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        await reader.readexactly(length)
        number += 1


if __name__ == "__main__":
    sys.exit(main())
