# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fleet of pretended nodes on one real etcd, with a real coordinator: how it is started, told, and looked at."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from bench.etcd_server import Etcd
from bench.fleet_crowd import Crowd, CrowdProcess, Happened, labels_of, node_name
from bench.fleet_engine import Times
from bench.fleet_node import MODEL
from edgeagent.core.directive import current_key
from edgeagent.core.fleet_report import REPORTS, Report, decode_report, report_key
from edgeagent.core.rollout import COORDINATOR_KEY, ENDED, Rollout, Status, archive_key, is_in, rollout_key
from edgeagent.core.rollout_document import decode_rollout
from edgeagent.errors import RolloutError
from edgeagent.fleet.presence import NODES
from edgeagent.intent.etcd import EtcdConfigStore
from edgeagent.intent.port import Entry

PATIENCE_S = 300.0
_LOOK_S = 0.25
T = TypeVar("T")
COMPACTION = ("--auto-compaction-mode=periodic", "--auto-compaction-retention=1h")
"""What docs/operating.md says of etcd."""


@dataclass(frozen=True)
class Seen:
    """The roll-out's document as it stood from `at` on (monotonic seconds); None: there was none."""

    at: float
    rollout: Rollout | None


@dataclass(frozen=True)
class Size:
    """How many nodes, in how many processes; read_every_s: between two reads of a node's watch without any hint."""

    nodes: int
    processes: int
    read_every_s: tuple[float, float]


class PretendedFleet:
    """A context manager; nothing of it is left afterwards."""

    def __init__(self, folder: Path, size: Size, times: Times) -> None:
        self.names = [node_name(n) for n in range(size.nodes)]
        self.seen: list[Seen] = []
        self._stack = ExitStack()
        self.etcd = Etcd(folder / "etcd", *COMPACTION)
        self._stack.callback(self.etcd.kill)
        self.url = f"etcd://127.0.0.1:{self.etcd.port}"
        self.etcd.ctl("put", current_key(MODEL), "v1")
        self.store = EtcdConfigStore([f"127.0.0.1:{self.etcd.port}"])
        self._stack.callback(self.store.close)
        self.store.watch([rollout_key(MODEL)], self._document, lambda _: None)
        self._log = folder / "coordinator.log"
        self.crowds = [self._crowd(crowd) for crowd in _crowds(self.etcd, size, times)]
        self.coordinate()

    # -- what is done to it --------------------------------------------------------------------------

    def coordinate(self) -> None:
        """Start a coordinator, and wait until it leads."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "edgeagent", "coordinate", "--config-store", self.url]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self._stack.callback(_end, process)
        wait_for(self.is_led, "a coordinator leads")

    def start(self, names: Sequence[str]) -> None:
        """These nodes begin to live, all at once."""
        for crowd in self.crowds:
            crowd.tell("start", list(names))

    def vanish(self, names: Sequence[str]) -> None:
        """These nodes lose their power."""
        for crowd in self.crowds:
            crowd.tell("vanish", list(names))

    def command(self, *words: str) -> str:
        """`edgeagent` with the config store: what it says. Raises CalledProcessError."""
        command = [sys.executable, "-m", "edgeagent", *words, "--config-store", self.url]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    # -- what is seen of it --------------------------------------------------------------------------

    def happened(self, since: float) -> list[Happened]:
        """What happened on the nodes since then (monotonic seconds), in order."""
        found = [h for crowd in self.crowds for h in crowd.happened if h.at >= since]
        return sorted(found, key=lambda h: h.at)

    def first(self, since: float, *whats: str, version: str = "") -> dict[str, float]:
        """When one of these first happened on each node since then; to this version, if it is given."""
        found: dict[str, float] = {}
        for h in self.happened(since):
            if h.what in whats and version in ("", h.version):
                found.setdefault(h.node, h.at)
        return found

    def inside(self, rollout: Rollout) -> set[str]:
        """The nodes of its open waves."""
        return {name for name in self.names if is_in(rollout, name, labels_of(name))}

    def present(self) -> int:
        """How many nodes say that they live."""
        return self._count(NODES)

    def reported(self) -> int:
        """How many nodes have said what they serve."""
        return self._count(REPORTS)

    def report(self, name: str) -> Report:
        """What a node has said that it serves. Raises UnavailableError, RolloutError."""
        key = report_key(name, MODEL)
        value = self.store.get(key).value
        return decode_report(key, value) if value else Report()

    def connected(self) -> int:
        """How many nodes can read the config store, as far as they know."""
        last: dict[str, str] = {}
        for h in self.happened(0.0):
            if h.what in ("connected", "lost"):
                last[h.node] = h.what
        return sum(what == "connected" for what in last.values())

    def is_led(self) -> bool:
        """Whether there is a coordinator."""
        return bool(self.store.get(COORDINATOR_KEY).value)

    def find(self, since: float, fulfilled: Callable[[Rollout], bool]) -> Seen | None:
        """The first document since then of which it is true."""
        return next((s for s in self.seen if s.at >= since and s.rollout and fulfilled(s.rollout)), None)

    def wait_seen(self, since: float, fulfilled: Callable[[Rollout], bool], what: str) -> Rollout:
        """The same, when it has come. Raises AssertionError."""
        seen = wait_for(lambda: self.find(since, fulfilled), what)
        assert seen.rollout
        return seen.rollout

    def wait_halted(self, since: float, version: str) -> Rollout:
        """The roll-out of the version that began since then, when it has ended or is paused. Raises AssertionError."""
        mine = self.wait_seen(since, lambda r: r.plan.version == version, f"a roll-out of {version}")

        def look() -> Rollout | None:
            last = self.seen[-1].rollout
            if last is None or last.id != mine.id:  # what became of it is kept elsewhere
                value = self.store.get(archive_key(MODEL, mine.id)).value
                return decode_rollout("archive", value) if value else None
            return last if last.status in (Status.PAUSED, *ENDED) else None

        return wait_for(look, f"the roll-out of {version} halts")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _count(self, prefix: str) -> int:
        timeout = f"--command-timeout={PATIENCE_S:g}s"
        return len(self.etcd.ctl("get", "--prefix", "--keys-only", timeout, prefix).split())

    def _crowd(self, crowd: Crowd) -> CrowdProcess:
        process = CrowdProcess(crowd)
        self._stack.callback(process.kill)
        return process

    def _document(self, entry: Entry) -> None:
        try:
            rollout = decode_rollout(entry.key, entry.value) if entry.value else None
        except RolloutError:
            return
        self.seen.append(Seen(time.monotonic(), rollout))


def wait_for(look: Callable[[], T | None], what: str) -> T:
    """The first result that is true. Raises AssertionError."""
    give_up = time.monotonic() + PATIENCE_S
    while not (found := look()):
        if time.monotonic() > give_up:
            raise AssertionError(f"{what}: not within {PATIENCE_S:g} s")
        time.sleep(_LOOK_S)
    return found


def _crowds(etcd: Etcd, size: Size, times: Times) -> list[Crowd]:
    endpoint, each = f"127.0.0.1:{etcd.port}", -(-size.nodes // size.processes)
    return [
        Crowd(endpoint, first, min(each, size.nodes - first), times, size.read_every_s)
        for first in range(0, size.nodes, each)
    ]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
