# SPDX-License-Identifier: AGPL-3.0-or-later
"""`make bench`: every comparison in turn, as tables and pictures in `docs/benchmarks/`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench import gpu, growth, memory, promotion, stages, throughput, update
from bench.machine import NoiseMeter, describe
from bench.report import Bench, Comparison, save, write_page

ROOT = Path(__file__).parent.parent
COMPARISONS: dict[str, Comparison] = {
    "throughput": throughput.run,
    "stages": stages.run,
    "update": update.run,
    "promotion": promotion.run,
    "growth": growth.run,
    "memory": memory.run,
    "gpu": gpu.run,
}


def main() -> int:
    """Run what is asked for. Returns 1 when a figure is not reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=sorted(COMPARISONS), nargs="+", default=list(COMPARISONS))
    parser.add_argument("--quick", action="store_true", help="one short round: does it run at all")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "benchmarks", help="for tables and pictures"
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    missed = 0
    for name in COMPARISONS:
        if name not in arguments.only:
            continue
        begin, noise = time.monotonic(), NoiseMeter()
        with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as scratch:
            bench = Bench(Path(scratch), ROOT / "bench-out", arguments.out, arguments.quick)
            section = COMPARISONS[name](bench)
        save(arguments.out, name, section, describe(), noise.read(), arguments.quick)
        print(f"\n== {section.title} ({time.monotonic() - begin:.0f} s) ==\n{section.text}", flush=True)
        for target in section.targets:
            missed += target.holds is False
            result = {True: "holds", False: "NOT REACHED", None: "not decided"}[target.holds]
            print(f"{result}: {target.what}: {target.seen} (wanted {target.wanted})", flush=True)
    print(f"\n{write_page(arguments.out, list(COMPARISONS))}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
