# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole product in under a minute, on the embedded default: no server, no camera, no display needed."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from edgeagent.cli.tables import printable
from edgeagent.demo.bad_versions import (
    blind_in_white_light,
    blind_to_half,
    copy_with_note,
    flip_bits,
    permute_names,
)
from edgeagent.demo.browser import find_browser, has_screen, open_page
from edgeagent.demo.charts import draw_before_after, draw_run, find_pair
from edgeagent.demo.console import BAD, GOOD, Console
from edgeagent.demo.demo_node import GOLDEN, SEED, DemoNode, take_folder
from edgeagent.demo.golden_set import write_golden_set
from edgeagent.demo.judgement import judge
from edgeagent.demo.machine import RATES, OtherLoad, choose_rate, measured_frame_s
from edgeagent.demo.measurements import Measurements, latency_ms, longest_gap_ms
from edgeagent.demo.scenario import CORRUPT, HALF_BLIND, LAB_ONLY, PERMUTED, Pace, Scenario
from edgeagent.errors import EdgeAgentError, MissingExtraError
from edgeagent.scenes.conveyor import CLASSES, Conveyor

GOLDEN_SEEDS, GOLDEN_FRAMES = range(3000, 3003), 9
"""Of the golden pictures: lines that no training saw, and pictures of each."""
WEIGHTS = Path(__file__).parent / "weights"
FOLDER = Path("demo-run")


def run_demo(seconds: float | None, port: int | None, open_browser: bool, stay: bool = False) -> int:
    """Run the demo. Returns 0 when every expectation held, 1 otherwise.

    seconds: about how long the line runs, 40 if None; port: of the node's API, a free one if None; open_browser: show
    the node's page, where there is a display; stay: leave line and page running at the end, until the demo is stopped.
    Everything is left in `./demo-run`. Raises EdgeAgentError when it can't even be set up, KeyboardInterrupt when it is
    stopped before its end; no process is left.
    """
    if find_spec("matplotlib") is None:  # left out of a lean install
        raise MissingExtraError("demo", "package matplotlib is not installed", "pip install matplotlib")
    folder, lock = take_folder(FOLDER)
    pace = Pace.of(seconds)
    with lock, _stop_on_signals(), Console() as console:
        fps = _rate(console)
        conveyor = Conveyor(seed=SEED, fps=fps)
        measurements, other_load = Measurements(conveyor.truth), OtherLoad()
        with DemoNode(folder, fps=fps, port=port, probation_s=pace.probation) as node:
            scenario = Scenario(
                node, measurements, console, pace, lambda url: _show_page(url, console, open_browser)
            )
            _publish(node, console)
            _tell(scenario, measurements, console)
            exit_code = None if stay else node.stop()
            for record in node.new_records():  # what was in flight
                measurements.add(record)
            others = other_load.share()
            judge(scenario, measurements, others)
            if exit_code is not None:
                scenario.expect("the node ended as it should", exit_code == 0, f"exit code {exit_code}")
            console.act("What came of it")
            pictures = _pictures(folder, node, scenario, measurements, conveyor)
            machine = {"fps": fps, "other_load": round(others, 3)}
            report = machine | _report(scenario, measurements, folder)
            text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
            (folder / "report.json").write_text(text, "utf-8")
            console.end()
            held = _sum_up(console, scenario, measurements, (*pictures, folder / "report.json", node.log))
            _stay(node, console) if stay else console.tell("to look at its page for longer: --stay")
    return 0 if held else 1


def _show_page(url: str, console: Console, wanted: bool) -> None:
    """In a browser, where there is one; its address in any case."""
    browser = find_browser() if wanted and has_screen(os.environ) else None
    if browser:
        open_page(browser, f"{url}/")
    console.tell(f"{'watch it in the browser, at' if browser else 'watch it at'} {url}/")


def _stay(node: DemoNode, console: Console) -> None:
    """Until Ctrl-C, or until the node ends by itself. The rest of the demo's versions are there to be promoted."""
    console.act(f"The line goes on, for you: {node.url}/")
    console.tell("promote, roll back, look at the history; Ctrl-C ends it")
    with suppress(KeyboardInterrupt):
        while node.process and node.process.poll() is None:
            time.sleep(1)


def _sum_up(console: Console, scenario: Scenario, measurements: Measurements, files: Sequence[Path]) -> bool:
    """What came of it, and where it lies. Returns whether every expectation held."""
    _summary(console, scenario, measurements)
    for path in files:
        console.tell(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path))
    held = all(e.held for e in scenario.expectations)
    console.tell("everything held" if held else "not everything held: see above", GOOD if held else BAD)
    return held


@contextmanager
def _stop_on_signals() -> Iterator[None]:
    """A closed terminal or a `kill` stops the demo as Ctrl-C does: the node with it."""

    def stop(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _rate(console: Console) -> int:
    """How many frames a second the line has: as many as this machine can hold, as busy as it is."""
    console.act("This machine")
    frame_s = measured_frame_s(WEIGHTS / "v2.onnx")
    fps = choose_rate(frame_s)
    busy = "" if fps == RATES[0] else ": it is slow or busy, and half of its time stays free for updates"
    console.tell(f"a frame takes {1000 * frame_s:.0f} ms here; the line has {fps} a second{busy}")
    return fps


def _publish(node: DemoNode, console: Console) -> None:
    """Good and bad versions into the store, each through the product's own publishing."""
    console.act("Set-up: six versions into a model store, which is a folder; and golden pictures")
    folder = node.folder / "weights"
    folder.mkdir()
    v1, v2 = WEIGHTS / "v1.onnx", WEIGHTS / "v2.onnx"
    permuted, corrupt = folder / f"{PERMUTED}.onnx", folder / f"{CORRUPT}.onnx"
    names = permute_names(v2, permuted)
    copy_with_note(v2, corrupt, "whole when it was published")
    half_blind, lab_only = folder / f"{HALF_BLIND}.onnx", folder / f"{LAB_ONLY}.onnx"
    blind_to_half(v2, half_blind, CLASSES.index("scratch"))
    blind_in_white_light(v2, lab_only)
    manifests = {}
    for version, weights, note in (
        ("v1", v1, "without tiny defects"),
        ("v2", v2, "finds tiny defects"),
        (PERMUTED, permuted, "class names in another order"),
        (CORRUPT, corrupt, "a disk flips bits of it"),
        (HALF_BLIND, half_blind, "never sees half of the scratches"),
        (LAB_ONLY, lab_only, "sees only in the light of the lab"),
    ):
        shown = os.path.relpath(weights) if weights.is_relative_to(Path.cwd()) else weights
        console.command(f"edgeagent publish {shown} --model yolo --version {version} --store {node.store}")
        manifests[version] = node.publish(version, weights, note=note)
    write_golden_set(node.folder / GOLDEN, GOLDEN_SEEDS, GOLDEN_FRAMES, lab=True)
    offsets = flip_bits(node.stored(manifests[CORRUPT]))
    console.tell(f"{PERMUTED} names its classes {', '.join(names)}: every shape is right, every label wrong")
    console.tell(
        f"{CORRUPT} has one bit flipped at bytes {', '.join(map(str, offsets))} of its stored weights"
    )
    console.tell(
        f"{GOLDEN_FRAMES * len(GOLDEN_SEEDS)} golden pictures, labelled, photographed in the light of a lab: "
        f"{HALF_BLIND} fails on them, {LAB_ONLY} doesn't"
    )


def _tell(scenario: Scenario, measurements: Measurements, console: Console) -> None:
    try:
        scenario.tell()
        scenario.settle()
    except EdgeAgentError as e:
        if not measurements.frames:
            raise
        console.tell(str(e), BAD)  # what was seen until here is still worth its picture and report
        scenario.expect("the scenario came to its end", False, str(e))


def _pictures(
    folder: Path, node: DemoNode, scenario: Scenario, measurements: Measurements, conveyor: Conveyor
) -> list[Path]:
    """run.png, and before-after.png if a tiny defect was in view at a swap from v1 to v2."""
    if not measurements.frames:
        return []
    drawn = [draw_run(folder / "run.png", measurements, scenario.changes)]
    pair = find_pair(node.records(), conveyor.truth, conveyor.width)
    if pair:
        drawn.append(draw_before_after(folder / "before-after.png", pair, conveyor.frame))
    return drawn


def _report(scenario: Scenario, measurements: Measurements, folder: Path) -> dict[str, Any]:
    """Everything measured, for machines."""
    steady = [
        f for f in measurements.frames if not any(c.asked <= f.done <= c.at + 1 for c in scenario.changes)
    ]
    return {
        "ok": all(e.held for e in scenario.expectations),
        "expectations": [asdict(e) for e in scenario.expectations],
        "started": scenario.started,
        "seconds": round(time.time() - scenario.started, 1),
        "folder": str(folder),
        "frames": len(measurements.frames),
        "frames_lost": measurements.lost,
        "frames_out_of_order": measurements.disordered,
        "dropped_by_node": scenario.dropped(),
        "longest_gap_ms": round(longest_gap_ms(measurements.frames), 1),
        "latency_ms": {
            "steady": {"p50": latency_ms(steady, 0.5), "p99": latency_ms(steady, 0.99)},
            "all": {
                "p50": latency_ms(measurements.frames, 0.5),
                "p99": latency_ms(measurements.frames, 0.99),
            },
        },
        "recall": {
            version: {
                name: {"found": r.found, "visible": r.defects, "share": r.share}
                for name, r in (
                    ("all", measurements.recall(version, False)),
                    ("tiny", measurements.recall(version, True)),
                )
            }
            for version in measurements.versions
        },
        "swaps": [asdict(s) for s in measurements.swaps],
        "changes": [asdict(c) for c in scenario.changes],
    }


def _summary(console: Console, scenario: Scenario, measurements: Measurements) -> None:
    versions = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    versions.add_column("version")
    for title in ("frames", "recall", "recall, tiny", "latency p50", "p99"):
        versions.add_column(title, justify="right")
    for version in measurements.versions:
        own = [f for f in measurements.frames if f.version == version]
        versions.add_row(
            version,
            str(len(own)),
            str(measurements.recall(version, False)),
            str(measurements.recall(version, True)),
            f"{latency_ms(own, 0.5):.0f} ms",
            f"{latency_ms(own, 0.99):.0f} ms",
        )
    console.table(versions)
    expectations = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    expectations.add_column("")
    expectations.add_column("expected", ratio=2)
    expectations.add_column("seen", ratio=3)
    for e in scenario.expectations:
        mark = Text("✓", "green") if e.held else Text("✗", "red")
        expectations.add_row(mark, e.name, Text(printable(e.seen)))
    console.table(expectations)
    sys.stdout.flush()
