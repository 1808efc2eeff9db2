# SPDX-License-Identifier: AGPL-3.0-or-later
"""Real nodes, each in processes of its own, on one real etcd and one store, with a real coordinator."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

from edgeagent.core.directive import current_key
from edgeagent.core.fleet_report import REPORTS, Phase, Report, decode_report, report_key
from edgeagent.core.rollout import Rollout, Status, archive_key, place, rollout_key
from edgeagent.core.rollout_document import decode_rollout
from edgeagent.fleet.presence import NODES
from edgeagent.intent.etcd import EtcdConfigStore
from edgeagent.testing import MODEL, PIPELINE, wait_for
from tests.support.etcd import EtcdServer
from tests.support.line import NodeHarness

PATIENCE_S = 240.0


class FleetNode(NodeHarness):
    """One of the fleet. etcd: where its intent is; store: the fleet's."""

    def __init__(
        self, folder: Path, name: str, etcd: EtcdServer, store: Path, source: dict[str, Any], **update: Any
    ) -> None:
        super().__init__(folder / name, source, spare_worker=False, **update)
        self.name = name
        self.store = store
        self.config["node"]["id"] = name
        self.config["config_store"] = {"url": etcd.url}
        self.config["model_store"]["url"] = str(store)

    def wait_versions(self, last: str) -> list[str]:
        """The versions that its results were of, one after the other, once one of `last` is the newest."""
        self.wait_records(lambda r: bool(r) and r[-1]["version"] == last, f"a frame of {last}")
        return self.served()

    def last_swap(self) -> float:
        """When its first result came from the version that serves, Unix seconds."""
        records = self.records(PIPELINE)
        return float(next(r["ts"] for r in records if r["epoch"] == records[-1]["epoch"]))

    def first_record(self, version: str) -> dict[str, Any]:
        """Its first result of this version."""
        return next(r for r in self.records(PIPELINE) if r["version"] == version)

    def served(self) -> list[str]:
        """The versions of its results, one after the other."""
        found = [str(r["version"]) for r in self.records(PIPELINE)]
        return found[:1] + [after for before, after in pairwise(found) if after != before]


class RealFleet:
    """Nodes press-1, press-2, … A context manager that leaves no process behind."""

    def __init__(self, folder: Path, size: int, source: dict[str, Any], **update: Any) -> None:
        """source: of each node's only pipeline; update: section of the configuration."""
        self._stack = ExitStack()
        self._folder = folder
        self.etcd = self._stack.enter_context(EtcdServer(folder / "etcd"))
        self.store = EtcdConfigStore([self.etcd.endpoint])
        self._stack.callback(self.store.close)
        models = folder / "store"
        models.mkdir()
        self.nodes = {
            name: self._stack.enter_context(FleetNode(folder, name, self.etcd, models, source, **update))
            for name in (f"press-{number}" for number in range(1, size + 1))
        }

    # -- what an operator does -------------------------------------------------------------------------

    @property
    def one(self) -> FleetNode:
        """A node, to publish with."""
        return self.nodes["press-1"]

    def promote(self, version: str) -> None:
        """Write `current`."""
        self.etcd.etcdctl("put", current_key(MODEL), version)

    def coordinate(self) -> None:
        """Start a coordinator."""
        command = [sys.executable, "-m", "edgeagent", "coordinate", "--config-store", self.etcd.url]
        with (self._folder / "coordinator.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self._stack.callback(process.wait, 60)
        self._stack.callback(process.terminate)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`edgeagent` with the config store."""
        command = [sys.executable, "-m", "edgeagent", *words, "--config-store", self.etcd.url]
        return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)

    def rollout(self, verb: str, *words: str) -> str:
        """`edgeagent rollout VERB yolo ...`, which is to succeed; what it says."""
        done = self.command("rollout", verb, MODEL, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # -- what is seen ------------------------------------------------------------------------------------

    def document(self) -> Rollout | None:
        """The roll-out in force, or the last one that was aborted."""
        value = self.store.get(rollout_key(MODEL)).value
        return decode_rollout("the roll-out", value) if value else None

    def archived(self) -> Rollout:
        """The last roll-out that has ended. Raises IndexError."""
        entries = self.store.list(archive_key(MODEL, ""))
        last = sorted(entries, key=lambda entry: int(entry.revision))[-1]
        return decode_rollout(last.key, last.value or b"")

    def in_order(self) -> list[FleetNode]:
        """The nodes in the order in which the last roll-out that has ended brought them in."""
        salt = self.archived().plan.salt
        return sorted(self.nodes.values(), key=lambda node: place(salt, node.name))

    def wait_status(self, wanted: Status, wave: int | None = None) -> Rollout:
        """Until the roll-out in force is so, in this wave."""

        def look() -> Rollout | None:
            found = self.document()
            is_so = found is not None and found.status is wanted and wave in (None, found.wave)
            return found if is_so else None

        return wait_for(look, f"the roll-out is {wanted}", PATIENCE_S)

    def report(self, name: str) -> Report:
        """What a node says."""
        key = report_key(name, MODEL)
        value = self.store.get(key).value
        return decode_report(key, value) if value else Report()

    def wait_phase(self, name: str, phase: Phase) -> Report:
        """Until a node says that it has come so far."""

        def look() -> Report | None:
            report = self.report(name)
            return report if report.phase is phase else None

        return wait_for(look, f"{name} {phase}", PATIENCE_S)

    def serving(self, version: str) -> set[str]:
        """The nodes that run and serve this version now."""
        return {name for name, node in self.running() if node.active() == version}

    def wait_serving(self, version: str, count: int) -> None:
        """Until so many nodes serve this version and say that it is stable."""

        def look() -> bool:
            reports = [self.report(name) for name in self.nodes]
            return sum((r.version, r.phase) == (version, Phase.STABLE) for r in reports) == count

        wait_for(look, f"{version} stable on {count} nodes", PATIENCE_S)

    def wait_reported(self, count: int | None = None) -> None:
        """Until so many nodes, all by default, are there and have said what they serve."""
        wanted = count or len(self.nodes)
        wait_for(
            lambda: len(self.store.list(REPORTS)) == len(self.store.list(NODES)) == wanted,
            f"{wanted} nodes are known",
            PATIENCE_S,
        )

    def running(self) -> Iterator[tuple[str, FleetNode]]:
        """The nodes whose process lives."""
        return ((n, node) for n, node in self.nodes.items() if node.process and node.process.poll() is None)

    def show_logs(self) -> None:
        """For pytest, which shows them when the test fails."""
        for log in (self._folder / "coordinator.log", *(node.log for node in self.nodes.values())):
            if log.exists():
                sys.stdout.write(f"== {log}\n{log.read_text()[-8000:]}\n")

    def __enter__(self) -> RealFleet:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
