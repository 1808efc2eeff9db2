# SPDX-License-Identifier: AGPL-3.0-or-later
"""Many pretended nodes in a process: `python -m bench.fleet_crowd CROWD`, which says what happens and does what it is
told, a JSON value a line.

Each node has two connections of its own, as a real one: for its watch, and for what it writes and asks before it begins
(bench/fleet_channel.py).
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from queue import SimpleQueue
from typing import Any

from bench import fleet_channel
from bench.fleet_engine import Times, install
from bench.fleet_node import PretendedNode, node_config
from edgeagent.intent.etcd import EtcdConfigStore
from edgeagent.observe.logs import setup_logging

WRITERS = 32
"""Calls to etcd that a process has under way at most: each waits in a thread."""
_STARTED_A_SECOND = 100
"""Nodes of a process; together is meant, but one that waits for its neighbours' imports isn't the plant's."""

# In a plant each node, etcd and the coordinator have machines of their own; here they share one.
_GIVES_WAY = 10
"""How much nicer than etcd and the coordinator the nodes are."""
_COLLECTS_AFTER = 100_000
"""Garbage is looked for among what hundreds of nodes have, after so many new objects instead of 700."""


@dataclass(frozen=True)
class Crowd:
    """Which nodes: numbers from first on. read_every_s: see EtcdConfigStore."""

    endpoint: str
    first: int
    count: int
    times: Times = field(default_factory=Times)
    read_every_s: tuple[float, float] = (1.0, 2.0)

    @property
    def names(self) -> list[str]:
        """Of its nodes."""
        return [node_name(number) for number in range(self.first, self.first + self.count)]


def node_name(number: int) -> str:
    """Of the node of that number."""
    return f"node-{number:04}"


def labels_of(name: str) -> dict[str, str]:
    """Every node is on one of eight lines."""
    return {"line": "abcdefgh"[int(name.rpartition("-")[2]) % 8]}


# -- in the process ----------------------------------------------------------------------------------


async def live(crowd: Crowd, say: Callable[[Any], None]) -> None:
    """Until stdin ends."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(WRITERS))
    fleet_channel.install(loop)
    nodes: dict[str, PretendedNode] = {}

    def told(name: str, what: str, version: str) -> None:
        say([time.monotonic(), name, what, version])

    def start(name: str) -> None:
        watched = EtcdConfigStore([crowd.endpoint], read_every_s=crowd.read_every_s)
        written = EtcdConfigStore([crowd.endpoint])
        config = node_config(name, labels_of(name), watched.url, crowd.times.probation)
        nodes[name] = PretendedNode(config, watched, written, crowd.times, told)
        nodes[name].start()

    async def start_all(names: list[str]) -> None:
        for name in names:
            start(name)
            await asyncio.sleep(1 / _STARTED_A_SECOND)

    commands: dict[str, Callable[[list[str]], Any]] = {
        "start": start_all,
        "vanish": lambda names: asyncio.gather(*(nodes.pop(name).vanish() for name in names)),
    }
    while line := await asyncio.to_thread(sys.stdin.readline):
        what, names = json.loads(line)
        await commands[what]([name for name in names if name in crowd.names])


def main() -> None:
    """What the module says."""
    given = json.loads(sys.argv[1])
    crowd = Crowd(**{**given, "times": Times(**given["times"]), "read_every_s": tuple(given["read_every_s"])})
    setup_logging("error", "json")
    os.nice(_GIVES_WAY)
    gc.set_threshold(_COLLECTS_AFTER)
    install(crowd.times)

    said: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_write, args=(said,), daemon=True).start()
    asyncio.run(live(crowd, said.put))
    os._exit(0)  # thousands of threads, each at its own pace


def _write(said: SimpleQueue[Any]) -> None:
    """To stdout, for ever. Who writes gives the interpreter away, and hundreds have it before he gets it back: so not
    from the thread of the nodes."""
    while True:
        lines = [json.dumps(said.get())]
        while not said.empty():
            lines.append(json.dumps(said.get()))
        sys.stdout.write("\n".join((*lines, "")))
        sys.stdout.flush()


# -- from outside ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Happened:
    """One thing that happened on a node. at: monotonic seconds, which all processes of a machine share."""

    at: float
    node: str
    what: str
    version: str


class CrowdProcess:
    """One such process, and what it has said so far."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self._happened: list[Happened] = []
        command = [sys.executable, "-m", "bench.fleet_crowd", json.dumps(asdict(crowd))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.pid = self._process.pid
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def happened(self) -> list[Happened]:
        """What has happened so far. Raises RuntimeError when the process is gone."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the nodes from {self.crowd.names[0]} on are gone: their process has ended")
        return list(self._happened)

    def tell(self, what: str, names: list[str]) -> None:
        """Have some nodes `start` or `vanish`; those of other processes are passed over."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([what, names]) + "\n")

    def kill(self) -> None:
        """At once."""
        self._process.kill()
        self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._happened.append(Happened(*json.loads(line)))


if __name__ == "__main__":
    main()
