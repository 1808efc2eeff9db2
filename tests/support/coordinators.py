# SPDX-License-Identifier: AGPL-3.0-or-later
"""Coordinators as processes, which die where a test wants it, and a roll-out's history as etcd kept it.

`python -m tests.support.coordinators before|after N ...` is `edgeagent coordinate ...` that kills itself before or
after its N-th step is written; 0: the lead.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgeagent.cli import option_groups
from edgeagent.cli.main import main
from edgeagent.core.fleet_report import REPORTS, Phase, decode_report, node_and_model
from edgeagent.core.rollout import COORDINATOR_KEY, Rollout, Status, is_in, rollout_key
from edgeagent.core.rollout_document import decode_rollout
from edgeagent.errors import UnavailableError
from edgeagent.intent.etcd import _RANGE, EtcdConfigStore
from edgeagent.intent.etcd_messages import rpc
from edgeagent.intent.port import Expected, KeyValueStore, Lease, Outcome
from tests.support.etcd import EtcdServer
from tests.support.pretended_nodes import PretendedNodes
from tests.support.server_process import ServerProcess

LEASE_S = 2.0
"""The shortest that etcd gives."""


class CoordinatorProcess(ServerProcess):
    """`edgeagent coordinate`, in a process of its own. dies: ("before" or "after", N): see above."""

    starts_s = 60.0

    def __init__(self, name: str, folder: Path, url: str, *options: str, dies: tuple[str, int] | None = None):
        super().__init__(name, folder)
        self.name = name
        self._arguments = ["coordinate", "--config-store", url, "--id", name, "--lease", f"{LEASE_S:g}"]
        self._arguments += options
        self._dies = dies

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_dead(self) -> bool:
        """Whether it has killed itself."""
        assert self._process is not None
        return self._process.poll() == -signal.SIGKILL

    @property
    def log(self) -> str:
        """What it said."""
        return self._log_path.read_text()

    def end(self) -> int:
        """As a service manager ends it. Returns its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(60)

    def _command(self) -> Sequence[str]:
        if self._dies is None:
            return [sys.executable, "-m", "edgeagent", *self._arguments]
        side, number = self._dies
        return [sys.executable, "-m", "tests.support.coordinators", side, str(number), *self._arguments]

    def _serves(self) -> bool:
        return "coordinator.started" in self.log


class ActingNodes:
    """Pretended nodes that act all the time, on a thread; while the store is away they wait."""

    def __init__(self, url: str, model: str, names: Sequence[str]) -> None:
        self._store = EtcdConfigStore(url.removeprefix("etcd://").split(","))
        self.nodes = PretendedNodes(self._store, model, names)
        self.nodes.act()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._act, daemon=True)

    def __enter__(self) -> PretendedNodes:
        self._thread.start()
        return self.nodes

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._store.close()

    def _act(self) -> None:
        while not self._over.wait(0.05):
            with suppress(UnavailableError):
                self.nodes.act()


def history(server: EtcdServer, model: str, id: str = "r1") -> list[tuple[Status, int]]:
    """Status and wave of each writing of a roll-out, read at each of etcd's revisions.

    Fails where a wave was opened before all nodes of the one before it were stable.
    """
    with EtcdHistory(server) as past:
        found: list[tuple[Status, int]] = []
        last: tuple[Rollout, int] | None = None
        for revision in range(1, past.latest() + 1):
            stands = past.rollout(model, revision)
            if stands is None or stands[0].id != id or (last and stands[1] == last[1]):
                continue
            rollout = stands[0]
            if last and rollout.wave > max(0, last[0].wave):
                past.check_stable(model, last[0], revision)
            found.append((rollout.status, rollout.wave))
            last = stands
        return found


class EtcdHistory:
    """Keys as they were: nothing compacts a test's server."""

    def __init__(self, server: EtcdServer) -> None:
        self._server = server

    def __enter__(self) -> EtcdHistory:
        self._store = EtcdConfigStore([self._server.endpoint])
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def latest(self) -> int:
        """The revision now."""
        return int(self._range("/", 0).header.revision)

    def rollout(self, model: str, revision: int) -> tuple[Rollout, int] | None:
        """As it stood, and the revision at which that was written."""
        found = self._range(rollout_key(model), revision).kvs
        return (decode_rollout("it", found[0].value), found[0].mod_revision) if found else None

    def check_stable(self, model: str, rollout: Rollout, revision: int) -> None:
        """Fails unless all nodes of its open waves were stable on its version at a revision."""
        for kv in self._range(REPORTS, revision, REPORTS[:-1] + "0").kvs:
            names = node_and_model(kv.key.decode())
            assert names
            report = decode_report(kv.key.decode(), kv.value)
            if names[1] == model and is_in(rollout, names[0], report.labels):
                assert report.phase is Phase.STABLE, (
                    f"{names[0]} was not, when wave {rollout.wave + 1} opened"
                )

    def _range(self, key: str, revision: int, end: str = "") -> Any:
        request = rpc.RangeRequest(key=key.encode(), range_end=end.encode(), revision=revision)
        return self._store._client.call(_RANGE, request)


def _dying(store: KeyValueStore, side: str, number: int) -> KeyValueStore:
    transact, made = store.compare_and_set, 0

    def compare_and_set(
        expected: Sequence[Expected], writes: Mapping[str, bytes | None], lease: Lease | None = None
    ) -> Outcome:
        nonlocal made
        made += COORDINATOR_KEY not in writes
        is_it = number == (0 if COORDINATOR_KEY in writes else made)
        if is_it and side == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        outcome = transact(expected, writes, lease)
        if is_it and side == "after" and outcome is Outcome.WRITTEN:
            os.kill(os.getpid(), signal.SIGKILL)
        return outcome

    store.compare_and_set = compare_and_set  # type: ignore[method-assign]
    return store


if __name__ == "__main__":
    opened = option_groups.ConfigStore.open
    option_groups.ConfigStore.open = lambda self: _dying(opened(self), sys.argv[1], int(sys.argv[2]))  # type: ignore[method-assign]
    sys.exit(main(sys.argv[3:]))
