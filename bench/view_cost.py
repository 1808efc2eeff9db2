# SPDX-License-Identifier: AGPL-3.0-or-later
"""`python -m bench.view_cost`: what it costs a line that people look at it, and that its records go everywhere.

The demo's line, live, at a share of what its engine can do. In turns, in one run: nothing beside it but the file that
is measured with; three viewers (real HTTP clients that read the live picture and the events); a sink of every kind,
with one whose receiver never answers; and both. The bound: the p99 of the served frames with both is at most 1.05 times
that without. With `--before`, a checkout of an earlier release has turns, too, at which nobody can look: beside it, one
at which nobody does must cost nothing that can be measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from bench import networks
from bench.bench_node import BenchNode, result_time
from bench.machine import NoiseMeter, describe
from bench.page import put
from bench.report import table
from bench.view_clients import looking
from bench.view_receivers import all_sinks
from edgeagent.testing import PIPELINE

BOUND = 1.05
VIEWERS = 3
ROUNDS, PHASE_S, SETTLE_S = 6, 30.0, 8.0
_MARGIN_S = 2.0
_LATENCY = "edgeagent_frame_latency_seconds"
NOTHING, LOOKED_AT, SINKS, BOTH = "nothing", f"{VIEWERS} viewers", "all sinks, one dead", "both"
BEFORE = "the release before, nothing"


Part = list[dict[str, Any]] | Path | None
"""Of a round: these sinks beside the one that is measured with, a checkout of another release, or neither."""


@dataclass
class Turns:
    """What was seen of one condition, a value a turn. windows: Unix seconds; node_s: processor time of the node's own
    process; all_s: of it and its workers; pictures: that the viewers read."""

    windows: list[tuple[float, float]] = field(default_factory=list)
    node_s: list[float] = field(default_factory=list)
    all_s: list[float] = field(default_factory=list)
    pictures: int = 0


@dataclass(frozen=True)
class Cost:
    """A condition's figures: latencies in milliseconds, over all turns and by turn; processor time a frame, of the
    node's own process and of all, in milliseconds."""

    beside: str
    frames: int
    p50: float
    p99: float
    by_turn: tuple[float, ...]
    node_ms: float
    all_ms: float
    pictures: int


def main() -> int:
    """Measure, print, and return the exit code: 1 when the bound is exceeded, and it was no quick run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one short turn each: shows that it works")
    parser.add_argument("--share", type=float, default=0.5, help="of what the engine can do (default: 0.5)")
    parser.add_argument("--fps", type=float, default=0.0, help="frames a second, instead of a share")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"turns of each (default: {ROUNDS})")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier release")
    parser.add_argument("--page", type=Path, help="a page with a place for the table: docs/performance.md")
    parser.add_argument("--out", type=Path, help="a folder for view_cost.json")
    arguments = parser.parse_args()
    rounds, phase_s = (1, 6.0) if arguments.quick else (arguments.rounds, PHASE_S)
    machine, noise = describe(), NoiseMeter()
    print(", ".join(f"{key} {value}" for key, value in machine.items()), flush=True)
    with tempfile.TemporaryDirectory(prefix="view-cost-") as folder:
        line = ViewedLine(Path(folder), arguments.share, arguments.fps)
        costs = line.measure(rounds, phase_s, arguments.before)
    text = show(costs, line.fps, None if arguments.fps else arguments.share)
    print(f"\n{text}\n{noise.read()}", flush=True)
    if arguments.page:
        put(arguments.page, "cost", f"{text}\n<sub>{machine['processor']}</sub>\n", of="view")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        found = {
            "machine": machine,
            "fps": line.fps,
            "share": arguments.share,
            "costs": list(map(asdict, costs)),
        }
        (arguments.out / "view_cost.json").write_text(json.dumps(found, indent=1) + "\n")
    return 0 if arguments.quick or ratio(costs, BOTH) <= BOUND else 1


class ViewedLine:
    """The line, which is started anew for each set of sinks."""

    def __init__(self, folder: Path, share: float, fps: float = 0.0) -> None:
        """share: of its engine's capacity that its camera asks for, unless `fps` says the frames a second."""
        self.fps = fps
        self._folder, self._share = folder, share
        self._turns: dict[str, Turns] = {}

    def measure(self, rounds: int, phase_s: float, before: Path | None) -> list[Cost]:
        """The conditions in turns: each round in the other order, so that what changes over time hits both alike."""
        source: dict[str, Any] = {"url": "synthetic://conveyor?fps=5", "live": True}
        with (
            all_sinks(self._folder / "receivers") as sinks,
            BenchNode(self._folder / "node", source, engine={"backend": "onnxruntime"}) as node,
        ):
            print(f"sinks: {', '.join(str(s['type']) for s in sinks)}", flush=True)
            node.publish("v1", networks.demo().onnx)
            self.fps = self.fps or self._rate(node)
            node.config["pipelines"][0]["source"]["url"] = f"synthetic://conveyor?fps={self.fps:g}"
            for number in range(rounds):
                parts: list[Part] = [None, sinks, *([before] if before else [])]
                for part in parts if number % 2 == 0 else reversed(parts):
                    self._run(node, part, phase_s, viewers_first=number % 2 == 1)
                print(f"turn {number + 1} of {rounds} is done", file=sys.stderr, flush=True)
            records = node.records()
        return [_cost(beside, turns, records) for beside, turns in self._turns.items()]

    def _rate(self, node: BenchNode) -> float:
        """Frames a second that are this share of what the engine can do, from what a frame takes it now."""
        node.start("v1")
        time.sleep(SETTLE_S)
        took = _engine_seconds(node)
        node.stop()
        return max(1.0, round(2 * self._share / took) / 2)

    def _run(self, node: BenchNode, part: Part, phase_s: float, viewers_first: bool) -> None:
        """One start of the node, with these sinks or of another release, and its turns."""
        extra = part if isinstance(part, list) else []
        own = node.config["pipelines"][0]["sinks"][0]
        node.config["pipelines"][0]["sinks"] = [own, *extra]
        # Python looks for a module where it was started first, and only then in PYTHONPATH.
        node.prefix = (
            ["env", f"--chdir={part}", f"PYTHONPATH={part.resolve()}"] if isinstance(part, Path) else []
        )
        node.start("v1")
        time.sleep(SETTLE_S)
        if isinstance(part, Path):
            self._watch(node, BEFORE, phase_s)
        else:
            turns = [(SINKS if extra else NOTHING, 0), (BOTH if extra else LOOKED_AT, VIEWERS)]
            for beside, viewers in reversed(turns) if viewers_first else turns:
                self._watch(node, beside, phase_s, viewers)
        node.stop()

    def _watch(self, node: BenchNode, beside: str, phase_s: float, viewers: int = 0) -> None:
        """A turn. What has just begun is no part of it, and nobody asks the node anything meanwhile."""
        turns = self._turns.setdefault(beside, Turns())
        with _viewers(node, viewers) as read:
            time.sleep(_MARGIN_S)
            spent = node.cpu()
            begin = time.time()
            time.sleep(phase_s)
            turns.windows.append((begin, time.time()))
            now = node.cpu()
            turns.node_s.append(now["node"] - spent["node"])
            turns.all_s.append(sum(now.values()) - sum(spent.values()))
        turns.pictures += read.get("pictures", 0)


@contextmanager
def _viewers(node: BenchNode, viewers: int) -> Iterator[dict[str, Any]]:
    if not viewers:
        yield {}
        return
    with looking(node.url, PIPELINE, viewers) as read:
        yield read
    if not read.get("pictures"):
        raise SystemExit("the viewers saw nothing")


def _engine_seconds(node: BenchNode) -> float:
    """What a frame takes the engine, on average since its start."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(node.url + "/metrics") as answer:
        samples = [s for f in text_string_to_metric_families(answer.read().decode()) for s in f.samples]
    seconds = {
        (s.name.rpartition("_")[2], s.labels["stage"]): s.value
        for s in samples
        if s.name.startswith(_LATENCY)
    }
    return sum(seconds["sum", stage] / seconds["count", stage] for stage in ("pre", "infer", "post"))


def _cost(beside: str, turns: Turns, records: Sequence[dict[str, Any]]) -> Cost:
    each = [[r["latency_ms"] for r in records if a <= result_time(r) <= b] for a, b in turns.windows]
    latencies = [value for values in each for value in values]
    frames = max(1, len(latencies))
    p50, p99 = (float(np.percentile(latencies, q)) for q in (50, 99))
    by_turn = tuple(round(float(np.percentile(values, 99)), 2) for values in each)
    node_ms, all_ms = (1000 * sum(spent) / frames for spent in (turns.node_s, turns.all_s))
    return Cost(beside, len(latencies), p50, p99, by_turn, node_ms, all_ms, turns.pictures)


def ratio(costs: Sequence[Cost], beside: str) -> float:
    """The p99 of a condition divided by that of the line alone."""
    p99 = {cost.beside: cost.p99 for cost in costs}
    return p99[beside] / p99[NOTHING]


def show(costs: Sequence[Cost], fps: float, share: float | None) -> str:
    """A row for each condition, and what the rows say."""
    of_turns = ("p99 ÷ alone", "p99 by turn", "processor time a frame: node, all", "pictures")
    header = ("beside the line", "frames", "p50", "p99", *of_turns)
    rows = [
        (
            c.beside,
            c.frames,
            f"{c.p50:.1f} ms",
            f"{c.p99:.1f} ms",
            f"{ratio(costs, c.beside):.2f}",
            f"{min(c.by_turn):.1f}–{max(c.by_turn):.1f}",
            f"{c.node_ms:.2f} ms, {c.all_ms:.1f} ms",
            c.pictures or "–",
        )
        for c in costs
    ]
    holds = "holds" if ratio(costs, BOTH) <= BOUND else "does not hold"
    of = f", {share:.0%} of what the engine can do" if share else ""
    said = f"{fps:g} frames a second{of}. The bound of {BOUND} {holds}"
    return f"{table(header, rows)}\n{said}: {ratio(costs, BOTH):.3f}.\n"


if __name__ == "__main__":
    sys.exit(main())
