# SPDX-License-Identifier: AGPL-3.0-or-later
"""`make fleet`: thousands of nodes on one real etcd, of which only the engines pretend.

How soon a wave acts, how soon all are back after an abort, what a version that is refused, fails or takes nodes with it
comes to, and what all of that costs etcd: in a steady state, when all nodes start, and when all reconnect at once.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from bench import fleet_scenes as scenes
from bench.fleet_engine import Times
from bench.fleet_etcd import Course
from bench.fleet_run import PretendedFleet, Size
from bench.fleet_scenes import DAY_S, MAX_ABORT_S, MAX_WAVE_S, Results, Rows, Wave
from bench.machine import NoiseMeter, describe
from bench.page import put
from bench.report import table
from edgeagent.core.rollout import Status
from edgeagent.observe.logs import setup_logging

NODES, PER_PROCESS, STEADY_S = 2000, 250, 300.0
QUICK_NODES, QUICK_STEADY_S = 100, 20.0
READ_EVERY_S = 30.0
"""A node reads its keys every second or two without any hint, which costs a client more than it costs etcd. Thousands
of them have a machine each; here they share one, and read after 30 to 60 s."""
_MB = 1 << 20


def main() -> int:
    """Run all of it, print the tables. Returns the exit code: 1 when a bound wasn't kept or something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--nodes", type=int, help=f"{NODES} by default, {QUICK_NODES} with --quick")
    parser.add_argument(
        "--read-every",
        type=float,
        default=READ_EVERY_S,
        help="seconds, up to twice as many; of a real node: 1",
    )
    parser.add_argument("--quick", action="store_true", help="few nodes, little time: shows that it works")
    parser.add_argument("--page", type=Path, help="a page that has a place for each table: docs/fleet.md")
    parser.add_argument("--out", type=Path, help="a file for the figures, as JSON")
    arguments = parser.parse_args()
    nodes = arguments.nodes or (QUICK_NODES if arguments.quick else NODES)
    read_every_s = arguments.read_every, 2 * arguments.read_every
    size = Size(nodes, max(1, round(nodes / PER_PROCESS)), read_every_s)
    setup_logging("error", "json")
    machine, noise = describe(), NoiseMeter()
    print(", ".join(f"{key} {value}" for key, value in machine.items()), flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="edgeagent-fleet-") as folder,
        PretendedFleet(Path(folder), size, Times()) as fleet,
    ):
        results = run(fleet, QUICK_STEADY_S if arguments.quick else STEADY_S)
    print(noise.read(), flush=True)
    for name, rows in results.tables.items():
        text = table(rows[0], rows[1:])
        if arguments.page:
            reads = f"which read every {read_every_s[0]:g} to {read_every_s[1]:g} s"
            about = f"{nodes} nodes, {reads}, and etcd on {machine['cores']} cores, {machine['processor']}"
            put(arguments.page, name, f"{text}\n<sub>{about}</sub>\n", of="fleet")
    if arguments.out:
        arguments.out.write_text(json.dumps({"machine": machine, **results.tables}, indent=1) + "\n")
    for problem in results.problems:
        print(f"not as it should be: {problem}", flush=True)
    return 1 if results.problems else 0


def run(fleet: PretendedFleet, steady_s: float) -> Results:
    """All scenes, one after the other; each table is printed as soon as it is there."""
    results = Results()
    costs: Rows = [("what", "lasted", "writes a second, most", "processor", "memory", "database")]
    nodes = len(fleet.names)
    started_s, course = scenes.all_start(fleet)
    costs.append(_cost(f"all start at once; the last is known after {started_s:.0f} s", course))
    quiet = scenes.steady(fleet, steady_s)
    costs.append(_cost("nothing happens", quiet))
    waves, course = scenes.good_version(fleet, "v2", results)
    costs.append(_cost(f"a roll-out in {len(waves)} waves", course))
    _add(results, "node", _per_node(quiet, course, nodes))
    _add(results, "waves", _waves(waves, results))
    _add(results, "aborts", _aborts(fleet, results))
    _add(results, "bad", _bad(fleet, results))
    took, led, course = scenes.all_reconnect(fleet)
    costs.append(
        _cost(
            f"all reconnect at once; the last after {took:.1f} s, a coordinator leads after {led:.1f} s",
            course,
        )
    )
    waves, course = scenes.good_version(fleet, "v5", results)
    costs.append(_cost("the next roll-out, after that", course))
    _add(results, "etcd", costs)
    return results


def _add(results: Results, name: str, rows: Rows) -> None:
    results.tables[name] = rows
    print("\n" + table(rows[0], rows[1:]), flush=True)


def _cost(what: str, course: Course) -> tuple[str, ...]:
    first, last = course.looks[0], course.looks[-1]
    return (
        what,
        f"{last.at - first.at:.0f} s",
        f"{course.per_second('writes'):.1f}, {course.peak_per_second('writes'):.0f}",
        f"{course.per_second('cpu'):.0%} of a core",
        f"{course.most('memory') / _MB:.0f} MB",
        f"{last.database / _MB:.1f} MB, {course.grown('in_use') / _MB:+.2f}",
    )


def _per_node(quiet: Course, rollout: Course, nodes: int) -> Rows:
    """What one node writes: on a quiet day, and in a roll-out, each without compaction."""
    a_day = DAY_S / (quiet.looks[-1].at - quiet.looks[0].at) / nodes
    rows: Rows = [("a node", "writings", "bytes of key and value each", "bytes of database each", "database")]
    for what, course, times in (("on a quiet day", quiet, a_day), ("in a roll-out", rollout, 1 / nodes)):
        writings, grown = course.grown("writes"), course.grown("in_use")
        each = [f"{size / writings:.0f}" if writings else "" for size in (course.grown("written"), grown)]
        rows.append((what, f"{writings * times:.0f}", *each, f"{grown * times / 1000:.0f} kB"))
    return rows


def _waves(waves: list[Wave], results: Results) -> Rows:
    rows: Rows = [("wave", "new nodes", "all serve it", "all have acted", "the coordinator knows")]
    for wave in waves:
        times = (f"{seconds:.1f} s" for seconds in (wave.serve_s, wave.acted_s, wave.known_s))
        rows.append((wave.name, str(wave.nodes), *times))
        if wave.name == "25%":
            late = f"a wave of 25 % had acted after {wave.acted_s:.1f} s"
            results.check(wave.acted_s <= MAX_WAVE_S, late)
    return rows


def _aborts(fleet: PretendedFleet, results: Results) -> Rows:
    rows: Rows = [("a quarter of the fleet has the version", "all are back after the abort")]
    for settled, what in ((False, "on probation"), (True, "for good")):
        version = "v3-settled" if settled else "v3"
        took = scenes.taken_back(fleet, version, "v2", settled, results)
        rows.append((what, f"{took:.1f} s"))
        results.check(took <= MAX_ABORT_S, f"all were back {took:.1f} s after an abort ({what})")
    return rows


def _bad(fleet: PretendedFleet, results: Results) -> Rows:
    rows: Rows = [("the version", "the roll-out", "nodes that it served on", "why")]
    for version, waves, ends, what in (
        ("v4-fails", scenes.WAVES, Status.ABORTED, "fails on probation, everywhere"),
        # A first wave of one node would end it by chance: in two of five it is that which refuses.
        ("v4-40-refused", "50%,100%", Status.PAUSED, "is refused by 40 % of the nodes"),
    ):
        end, served = scenes.bad_version(fleet, version, waves, ends, results)
        rows.append((what, f"{end.status} in wave {end.plan.waves[end.wave]}", str(served), end.why))
    end = scenes.node_dies(fleet, "v4", results)
    rows.append(
        ("the first node dies with it", f"{end.status} in wave {end.plan.waves[end.wave]}", "1", end.why)
    )
    return rows


if __name__ == "__main__":
    sys.exit(main())
