# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is done to the pretended fleet, and what came of it: one function a scene."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from bench.fleet_etcd import Course, course_of
from bench.fleet_node import MODEL
from bench.fleet_run import PretendedFleet, wait_for
from edgeagent.core.rollout import FOLLOWED, GOES_BACK, Rollout, Status

MAX_WAVE_S, MAX_ABORT_S = 10.0, 5.0
"""From opening a wave of a quarter to all of its nodes having acted, and from an abort to all being back."""
_ACTED = ("stable", "rejected", "rolled_back")
_LATE_S = 0.5
"""What is told of a node, and what is seen of the document, may be out of order by so much."""
WAVES, BAKE_S = "1,5%,25%,100%", 3
RECONNECT_S = 5.0
"""How long etcd is away in the storm."""
DAY_S = 86_400.0


Rows = list[tuple[str, ...]]


@dataclass
class Results:
    """Tables by name: rows of cells, the first row is the header. problems: what is not as it should be."""

    tables: dict[str, Rows] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def check(self, holds: bool, problem: str) -> None:
        """Note a problem unless it holds."""
        if not holds:
            self.problems.append(problem)


@dataclass(frozen=True)
class Wave:
    """One wave: its nodes that are new, and the seconds from its opening until the last of them served, had acted, and
    the coordinator knew that."""

    name: str
    nodes: int
    serve_s: float
    acted_s: float
    known_s: float


def all_start(fleet: PretendedFleet) -> tuple[float, Course]:
    """All nodes start at once: seconds until the last one has said that it lives, and what etcd did meanwhile."""
    began = time.monotonic()
    with course_of(fleet.etcd) as course:
        fleet.start(fleet.names)
        _wait_for_all(fleet, lambda: fleet.first(began, "serves", version="v1"), fleet.names, "v1 serves")
        wait_for(lambda: fleet.present() == len(fleet.names), "all are present")
        took = time.monotonic() - began
        wait_for(lambda: fleet.reported() == len(fleet.names), "all have a report")
    return took, course


def steady(fleet: PretendedFleet, seconds: float) -> Course:
    """Nothing happens."""
    with course_of(fleet.etcd) as course:
        time.sleep(seconds)
    return course


def good_version(fleet: PretendedFleet, version: str, results: Results) -> tuple[list[Wave], Course]:
    """It reaches all, one wave after the other; nobody has it before his wave is open."""
    began = time.monotonic()
    with course_of(fleet.etcd) as course:
        start_rollout(fleet, version)
        end = fleet.wait_halted(began, version)
        if end.status is Status.DONE:  # who came in the middle of it may still be at it
            _wait_for_all(fleet, lambda: fleet.first(began, *_ACTED, version=version), fleet.names, "acted")
    if end.status is not Status.DONE:
        results.problems.append(f"{version} is {end.status}: {end.why}")
        return [], course
    served = fleet.first(began, "serves", version=version)
    check_order(fleet, began, served, results)
    return list(_waves(fleet, began, version)), course


def taken_back(fleet: PretendedFleet, version: str, before: str, settled: bool, results: Results) -> float:
    """A quarter of the fleet has the version, some for good (`settled`) or all on probation; then somebody aborts.
    Seconds until all are back."""
    began = time.monotonic()
    start_rollout(fleet, version, waves="25%,100%", bake_s=3600)
    opened = fleet.wait_seen(began, lambda r: r.plan.version == version and r.wave == 0, "the wave is open")
    inside = fleet.inside(opened)
    what = "stable" if settled else "serves"
    _wait_for_all(fleet, lambda: fleet.first(began, what, version=version), inside, f"{version} {what}")
    asked = time.monotonic()
    fleet.command("rollout", "abort", MODEL, "--reason", "to see how soon all are back")
    aborting = wait_for(lambda: fleet.find(asked, lambda r: r.status in GOES_BACK), "it is aborting")
    _wait_for_all(
        fleet, lambda: fleet.first(asked, "serves", version=before), inside, f"{before} serves again"
    )
    took = max(fleet.first(asked, "serves", version=before)[name] for name in inside) - aborting.at
    served = set(fleet.first(began, "serves", version=version))
    results.check(served == inside, f"{version} served on {len(served - inside)} nodes that were not in")
    fleet.wait_halted(began, version)
    return took


def bad_version(
    fleet: PretendedFleet, version: str, waves: str, ends: Status, results: Results
) -> tuple[Rollout, int]:
    """Nodes refuse it, or it fails on them: how the roll-out stands in the end, and on how many nodes it served."""
    began = time.monotonic()
    start_rollout(fleet, version, waves)
    end = fleet.wait_halted(began, version)
    results.check(end.status is ends, f"{version} ended {end.status} instead of {ends}: {end.why}")
    if end.status is Status.PAUSED:
        asked = time.monotonic()
        fleet.command("rollout", "abort", MODEL, "--reason", "it was refused")
        fleet.wait_seen(asked, lambda r: r.status is Status.ABORTED, "it is aborted")
    served = fleet.first(began, "serves", version=version)
    results.check(
        served.keys() <= fleet.inside(end), f"{version} served on nodes that no open wave had brought in"
    )
    return end, len(served)


def node_dies(fleet: PretendedFleet, version: str, results: Results) -> Rollout:
    """The canary's power goes when it has the version: no other node gets it."""
    began = time.monotonic()
    start_rollout(fleet, version, bake_s=3600)
    served = wait_for(lambda: fleet.first(began, "serves", version=version), "the canary serves")
    (canary,) = served  # what it hasn't said that it did, it hasn't done
    wait_for(lambda: fleet.report(canary).version == version, "the canary has said so")
    fleet.vanish(list(served))
    end = fleet.wait_halted(began, version)
    results.check(end.status is Status.ABORTED, f"the canary vanished, and the roll-out is {end.status}")
    results.check(len(fleet.first(began, "serves", version=version)) == 1, "a second node took it up")
    fleet.start(list(served))
    wait_for(lambda: fleet.present() == len(fleet.names), "it is back")
    return end


def all_reconnect(fleet: PretendedFleet) -> tuple[float, float, Course]:
    """etcd is killed and comes back, and all nodes with it. Seconds after that until the last one could read, and until
    a coordinator led again."""
    fleet.etcd.kill()
    time.sleep(RECONNECT_S)
    wait_for(lambda: fleet.connected() == 0, "all have noticed")
    fleet.etcd.start()
    began = time.monotonic()
    with course_of(fleet.etcd) as course:
        wait_for(lambda: fleet.connected() == len(fleet.names), "all are connected")
        took = max(fleet.first(began - RECONNECT_S, "connected").values()) - began
        wait_for(fleet.is_led, "a coordinator leads")
        led = time.monotonic() - began
        time.sleep(RECONNECT_S)
        wait_for(lambda: fleet.present() == len(fleet.names), "all are present")
    return took, led, course


def start_rollout(fleet: PretendedFleet, version: str, waves: str = WAVES, bake_s: int = BAKE_S) -> None:
    """As an operator does."""
    fleet.command("rollout", "start", MODEL, version, "--waves", waves, "--bake", str(bake_s))


def check_order(fleet: PretendedFleet, began: float, served: dict[str, float], results: Results) -> None:
    """Whether a wave that had the node in was open when the version began to serve on it."""
    early = set(served)
    for seen in fleet.seen:
        if seen.rollout and seen.at >= began:
            early -= {
                name for name in fleet.inside(seen.rollout) if seen.at <= served.get(name, 0.0) + _LATE_S
            }
    results.check(not early, f"{len(early)} nodes had it before their wave")


def _waves(fleet: PretendedFleet, began: float, version: str) -> Iterable[Wave]:
    served = fleet.first(began, "serves", version=version)
    acted = fleet.first(began, *_ACTED, version=version)
    before: set[str] = set()
    index = 0
    while opened := fleet.find(began, partial(_is_open, index)):
        assert opened.rollout
        nodes = fleet.inside(opened.rollout) - before
        before |= nodes
        last = [max((which[n] for n in nodes), default=opened.at) for which in (served, acted)]
        baking = fleet.find(opened.at, partial(_bakes, index))
        last.append(baking.at if baking else math.nan)
        yield Wave(opened.rollout.plan.waves[index], len(nodes), *(at - opened.at for at in last))
        index += 1


def _is_open(wave: int, rollout: Rollout) -> bool:
    return rollout.wave == wave and rollout.status in FOLLOWED


def _bakes(wave: int, rollout: Rollout) -> bool:
    return (rollout.wave, rollout.status) == (wave, Status.BAKING)


def _wait_for_all(
    fleet: PretendedFleet, look: Callable[[], dict[str, float]], names: Iterable[str], what: str
) -> None:
    wanted = set(names)
    wait_for(lambda: wanted <= look().keys(), f"{what} on all {len(wanted)} nodes")
