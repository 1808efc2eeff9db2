# SPDX-License-Identifier: AGPL-3.0-or-later
"""A part of `make soak`: the node is killed (kill -9) at random instants, again and again, with its disk full at times.

Meanwhile versions are promoted and rolled back, and now and then the state file is damaged before a start. What must
hold, over all runs of the node: no epoch names two digests; epochs grow; a roll-back that was answered with 200 is held
after the next start; each result is of the weights that its record names; no worker outlives its node; and at the end
it serves.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from bench.marked_network import METADATA, SIZE, marked_network
from bench.small_disk import SmallDisk
from edgeagent.errors import UnavailableError
from edgeagent.store.cache import RESERVE_BYTES
from edgeagent.testing import MODEL, PATIENCE_S, PIPELINE, NodeRunner, children, wait_for

VERSIONS = 8
WIDTH, HEIGHT = 320, 192
LONGEST_S = 20.0
"""From the start of a node to its death, or mostly from when its API answers."""


@dataclass
class Findings:
    """What the kills showed."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    epochs: dict[int, str] = field(default_factory=dict)  # of all runs → digest
    last_epoch: int = 0

    def check(self, record: dict[str, Any], digests: dict[str, str]) -> None:
        """One record of the run of now."""
        self.counts["records"] += 1
        epoch, version, digest = record["epoch"], record["version"], record["digest"]
        if self.epochs.setdefault(epoch, digest) != digest:
            self.faults.append(f"epoch {epoch} names {self.epochs[epoch]} and {digest}")
        if epoch < self.last_epoch:
            self.faults.append(f"epoch {epoch} after {self.last_epoch}")
        self.last_epoch = max(epoch, self.last_epoch)
        if digests[version] != digest:
            self.faults.append(f"{version} with digest {digest}")
        (found,) = record["detections"]
        centre = (found["xyxy"][0] + found["xyxy"][2]) / 2 * SIZE / WIDTH
        if round(centre - _centre(version)) != 0:
            self.faults.append(f"{version} found {found}, which is what other weights find")


class KilledNode:
    """A node that is started, used, and killed."""

    def __init__(self, folder: Path, disk: SmallDisk, chance: random.Random) -> None:
        self.node = NodeRunner(folder, {"update": {"probation": {"seconds": 1}, "retry_seconds": 1}})
        self.node.add_pipeline(
            PIPELINE, MODEL, {"url": f"synthetic://conveyor?fps=30&width={WIDTH}&height={HEIGHT}"}
        )
        self.node.prefix = disk.prefix
        self.findings = Findings()
        self._disk = disk
        self._chance = chance
        self._digests = {version: self._publish(version) for version in _versions()}
        self._asked: deque[str] = deque([""], maxlen=3)  # the versions in the key, the last that of now
        self._is_read = True  # whether the node was seen to have read the key as it is now
        self._hold = ""  # the version that an answer said is held, as long as that must stand

    def run(self) -> None:
        """Start it, use it, and kill it at a random instant."""
        if self._chance.random() < 0.08:
            self._damage()
        started = threading.Event()
        if self._chance.random() < 0.3:
            started.set()  # then it may die before it has
        after_s = self._chance.uniform(0.2, LONGEST_S)
        killer = threading.Thread(target=self._kill, args=(self.node.process, started, after_s))
        killer.start()
        with suppress(UnavailableError, HTTPException):  # the latter: killed in the middle of its answer
            self.node.start()
            started.set()
            self._check_hold()
            while True:
                self._use()
        killer.join()
        self._disk.free()
        self._read_records()

    def serves_at_the_end(self) -> None:
        """Nothing that happened has left it unable to serve, or with something else than what is asked for."""
        self._promote()
        self.node.start()
        self.node.wait_active(self._aspired)
        wait_for(self.node.records, "frames served")
        self.node.stop()
        self._read_records()

    # -- what is done to it ----------------------------------------------------------------------------

    def _publish(self, version: str) -> str:
        weights = marked_network(self.node.folder / f"{version}.onnx", _centre(version))
        return self.node.publish(version, weights, metadata=METADATA).digest

    def _use(self) -> None:
        """What an operator and the machine do."""
        time.sleep(self._chance.uniform(0.0, 0.8))
        act = self._chance.choices(
            [self._promote, self._roll_back, self._disk.fill, self._disk.free], [4, 4, 2, 2]
        )[0]
        if act == self._disk.fill:
            self.findings.counts["times full"] += self._disk.available
        act()
        self.node.model()  # raises when the node is gone

    @property
    def _aspired(self) -> str:
        return self._asked[-1]

    def _promote(self) -> None:
        self._hold, self._is_read = "", False
        # None of the last ones: what the node aspires to tells then which writing of the key it has read.
        self._asked.append(self._chance.choice([v for v in _versions() if v not in self._asked]))
        self.node.promote(self._aspired)

    def _roll_back(self) -> None:
        model = self.node.model()
        self._is_read = self._is_read or bool(model["aspired"] == self._aspired and not model["held"])
        if not self._is_read:  # read after the roll-back, the key would end the hold
            return
        if not model["previous"]:
            self._promote()
            wait_for(lambda: self._is_stable(self.node.model()), f"{self._aspired} stable")
            self._is_read = True
        self._hold = ""
        code, answer = self.node.post("/rollback", {"by": "soak"})
        self.findings.counts[f"roll-backs answered {code}"] += 1
        if code == 200:
            self._hold = answer["held"]["version"]
            if self._chance.random() < 0.5:
                assert self.node.process is not None
                self.node.process.kill()

    def _is_stable(self, model: dict[str, Any]) -> bool:
        self._disk.free()  # else nothing new can come
        # Held: it may be this version that serves, by an earlier roll-back, and the key is still to be read.
        serves = model["state"] == "STABLE" and model["active"]["version"] == self._aspired
        return bool(serves and not model["held"])

    def _damage(self) -> None:
        path = self._disk.path / "models" / f"{MODEL}.json"
        if path.exists():
            path.write_bytes(path.read_bytes()[: self._chance.randrange(100)])
            self.findings.counts["damaged states"] += 1
            self._hold = ""

    def _kill(self, before: object, started: threading.Event, after_s: float) -> None:
        while self.node.process is before:
            time.sleep(0.005)
        process = self.node.process
        assert process is not None
        started.wait(PATIENCE_S)
        time.sleep(after_s)
        workers = children(process.pid)
        process.kill()
        process.wait()
        self.findings.counts["kills"] += 1
        with suppress(AssertionError):
            wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers), "workers gone", 30)
            return
        self.findings.faults.append(f"of the workers {workers} some outlive their node")

    # -- what must hold --------------------------------------------------------------------------------

    def _check_hold(self) -> None:
        if self._hold:
            held = self.node.model()["held"]
            self.findings.counts["holds looked at after a kill"] += 1
            if not held or held["version"] != self._hold:
                said = [
                    f"{r['event']} {r['result']} {r['to_version']} {r['why']}" for r in self.node.history()
                ]
                self.findings.faults.append(
                    f"{self._hold} was held, and after the kill {held} is; the key says {self._aspired};"
                    f" the history ends with {said[-6:]}"
                )
                self._hold = ""

    def _read_records(self) -> None:
        path = self.node.folder / f"{PIPELINE}.jsonl"
        if path.exists():
            for line in path.read_bytes().split(b"\n")[:-1]:  # the last one may have been cut by the kill
                self.findings.check(json.loads(line), self._digests)
            path.unlink()


def _versions() -> list[str]:
    return [f"v{number}" for number in range(VERSIONS)]


def _centre(version: str) -> int:
    """Where the weights of a version find their object, in pixels of their input: it tells them from all others."""
    return 12 + 5 * int(version[1:])


def show(findings: Findings) -> bool:
    """Print what was found; whether all held."""
    print("\n== kills of the node ==")
    for what, count in sorted(findings.counts.items()):
        print(f"  {what}: {count}")
    print(f"  epochs: {len(findings.epochs)}")
    print(f"  faults: {len(findings.faults)}")
    for fault in findings.faults[:20]:
        print(f"    {fault}")
    return not findings.faults


def main() -> int:
    """All kills."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeagent-soak-") as temp:
        folder = Path(temp).resolve()
        with SmallDisk(folder / "state", RESERVE_BYTES + (16 << 20)) as disk:
            if not disk.available:
                print("no small disk can be mounted here: it is never full", file=sys.stderr)
            killed = KilledNode(folder, disk, random.Random(arguments.seed))
            with killed.node:
                for number in range(arguments.kills):
                    killed.run()
                    if number % 10 == 9:
                        so_far = dict(killed.findings.counts), killed.findings.faults
                        print(f"{number + 1}/{arguments.kills} kills", *so_far, file=sys.stderr)
                killed.serves_at_the_end()
            return 0 if show(killed.findings) else 1


if __name__ == "__main__":
    sys.exit(main())
