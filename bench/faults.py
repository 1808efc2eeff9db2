# SPDX-License-Identifier: AGPL-3.0-or-later
"""`make faults`: versions that load well and judge wrongly, and what a node does about each of them.

Every fault is tried on a node of its own, on the demo's line and a real etcd: the good v2 serves, the faulty one is
asked for. Three settings: all guards, without a golden set, and with probation alone. Then the other side: the good v2
must get past all guards, and so must the same weights against themselves, again and again; and what the guards cost.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import fault_alarms
from bench.fault_node import FPS, GOLDEN_FRAMES, GOLDEN_SEEDS, SEED, SETTINGS, FaultNode, Setting, lead_to
from bench.fault_outcome import (
    NOT_CAUGHT,
    Outcome,
    back_after,
    caught_by,
    decision,
    longest_gap,
    lost_frames,
    served_by,
    wrong,
)
from bench.fault_runtime import install
from bench.fault_versions import FAULTS, GOOD, MORE, FaultVersion, find_fault
from bench.machine import describe
from bench.page import put
from bench.report import table
from edgeagent.core.directive import Directive
from edgeagent.demo.golden_set import write_golden_set
from edgeagent.scenes.conveyor import Conveyor
from edgeagent.testing import wait_for

PATIENCE_S = 300.0
AFTERWARDS_FRAMES = 30
AGAIN = {"all": 20, "no-golden": 60, "probation": 120}
"""How often the same weights are promoted against themselves; a golden set takes half a minute each time."""


def main() -> int:
    """Run what is asked for, print the tables. Returns the exit code: 1 when a frame was lost, a good version refused,
    or a fault not caught where it should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    names = [fault.name for fault in (*FAULTS, *MORE)]
    parser.add_argument("--only", action="append", choices=names, metavar="FAULT", help=", ".join(names))
    parser.add_argument("--setting", action="append", choices=[s.name for s in SETTINGS])
    parser.add_argument("--more", action="store_true", help="also further faults of these kinds")
    parser.add_argument("--quick", action="store_true", help="few repetitions: shows that it works")
    parser.add_argument("--part", action="append", choices=("matrix", "alarms", "cost"))
    parser.add_argument(
        "--page", type=Path, help="a page that has a place for each table, such as docs/safety.md"
    )
    parser.add_argument("--out", type=Path, help="a folder for results.json and the nodes' folders")
    arguments = parser.parse_args()
    faults = [find_fault(n) for n in arguments.only] if arguments.only else list(FAULTS)
    faults += MORE if arguments.more else ()
    settings = [s for s in SETTINGS if not arguments.setting or s.name in arguments.setting]
    parts = arguments.part or ("matrix", "alarms", "cost")
    results: dict[str, Any] = {"machine": describe()}
    print(", ".join(f"{key} {value}" for key, value in results["machine"].items()), flush=True)
    held, tables = True, {}
    with _folder(arguments.out) as folder:
        lead_to(install(folder / "site"))
        golden = write_golden_set(folder / "golden", GOLDEN_SEEDS, GOLDEN_FRAMES)
        if "matrix" in parts:
            for setting in settings:
                outcomes = list(_matrix(folder, golden, setting, faults))
                results[f"matrix {setting.name}"] = [asdict(o) for o in outcomes]
                tables[setting.name] = show(outcomes)
                held &= all(o.lost == 0 for o in outcomes)
                held &= setting.name == "no-golden" or all(o.caught_by != NOT_CAUGHT for o in outcomes)
        if "alarms" in parts:
            alarms = []
            for setting in settings:
                times = 2 if arguments.quick else AGAIN[setting.name]
                found = fault_alarms.good_versions(folder, golden, setting, times)
                alarms.append(found)
                held &= not found.refused
            results["alarms"] = [asdict(found) for found in alarms]
            tables["alarms"] = fault_alarms.show_alarms(alarms)
            print("\n" + tables["alarms"], flush=True)
        if "cost" in parts:
            costs = fault_alarms.cost(folder, arguments.quick)
            results["cost"] = [asdict(found) for found in costs]
            tables["cost"] = fault_alarms.show_cost(costs)
            print("\n" + tables["cost"], flush=True)
        for name, text in tables.items() if arguments.page else ():
            put(arguments.page, name, f"{text}\n<sub>{results['machine']['processor']}</sub>\n")
        if arguments.out:
            (folder / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    return 0 if held else 1


def _matrix(
    folder: Path, golden: Path, setting: Setting, faults: Sequence[FaultVersion]
) -> Iterator[Outcome]:
    print(f"\n## {setting.what}\n", flush=True)
    outcomes = []
    for fault in faults:
        outcome = try_fault(folder / f"{setting.name}-{fault.name}", golden, setting, fault)
        outcomes.append(outcome)
        print(f"{fault.name}: {outcome.caught_by}: {outcome.why}", file=sys.stderr, flush=True)
        yield outcome
    print(show(outcomes), flush=True)


def show(outcomes: Sequence[Outcome]) -> str:
    """The table of one setting."""
    header = ("fault", "caught by", "after frames", "with objects", "seconds", "wrong frames served", "lost")
    rows = [
        (
            find_fault(o.fault).what,
            o.caught_by,
            str(o.frames),
            str(o.objects_frames),
            f"{o.seconds:.1f}",
            str(o.wrong),
            str(o.lost),
        )
        for o in outcomes
    ]
    return table(header, rows)


def try_fault(folder: Path, golden: Path, setting: Setting, fault: FaultVersion) -> Outcome:
    """One row: a node serves the good version, is asked for the faulty one, and decides. Raises AssertionError when it
    doesn't within PATIENCE_S."""
    folder.mkdir(parents=True)
    weights = folder / "faulty.onnx"
    fault.make(GOOD, weights)
    with (
        fault_alarms.etcd_in(folder) as etcd,
        FaultNode(folder, etcd, setting.update(golden), in_runtime=fault.in_runtime) as node,
    ):
        node.publish_copy("good")
        node.publish(fault.name, weights)
        node.start("good")
        node.wait_settled(setting.settled_frames)
        asked = node.ask(Directive(fault.name, by="faults", reason=fault.what))
        decided = wait_for(
            lambda: decision(node.history(), fault.name), f"a decision on {fault.name}", PATIENCE_S
        )
        at, last = time.time(), node.last_seq
        wait_for(lambda: node.last_seq >= last + AFTERWARDS_FRAMES, "the line goes on")
        node.stop()
        records = node.records()
    own = served_by(records, fault.name)
    wrong_frames, with_objects = wrong(own, Conveyor(seed=SEED, fps=FPS))
    return Outcome(
        fault.name,
        caught_by(decided),
        str(decided["why"]),
        len(own),
        with_objects,
        back_after(records, fault.name) if own else at - asked,
        longest_gap(records, asked),
        wrong_frames,
        lost_frames(records),
    )


@contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    if wanted:
        wanted.mkdir(parents=True)
        yield wanted.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="edgeagent-faults-") as temp:
        yield Path(temp)


if __name__ == "__main__":
    sys.exit(main())
