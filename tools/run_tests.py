# SPDX-License-Identifier: AGPL-3.0-or-later
"""Run the tests in lanes side by side: what computes, what waits for servers, for trials, faults, fleets and the page,
for nodes.

`python tools/run_tests.py [OPTION OF PYTEST ...]`, as `make test` does. The first lane is shown while it runs, then the
others from their beginning. Returns 0 when all lanes do, else the code of pytest in the first that doesn't.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

# Some of each kind, so that all lanes end at about the same time.
_NODES_APART = (
    "tests/e2e/fleet",
    "tests/e2e/page",
    "tests/e2e/operator",
    "tests/e2e/tuning",
    "tests/e2e/faults",
    "tests/e2e/test_hooks.py",
    "tests/e2e/test_kafka.py",
    "tests/e2e/test_intent_sources.py",
)
_SERVERS_APART = (
    "tests/integration/test_etcd.py",
    "tests/integration/test_etcd_roles.py",
    "tests/integration/test_zookeeper.py",
)
LANES = {
    "computes": ("tests/unit", "tests/contract", "tests/oracle"),
    "waits for servers": ("tests/integration", *(f"--ignore={path}" for path in _SERVERS_APART)),
    "waits for trials, faults, fleets and the page": (*_NODES_APART, *_SERVERS_APART),
    "waits for nodes": ("tests/e2e", *(f"--ignore={path}" for path in _NODES_APART)),
}
# Threads that wait for each other by spinning cost more than they bring, where other tests run beside them.
ENVIRONMENT = {"computes": {"OMP_NUM_THREADS": "1"}}
_LOOK_S = 0.2


def main(options: list[str]) -> int:
    """Run all lanes. Returns the exit code."""
    colour = ["--color=yes"] if sys.stdout.isatty() else []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgeagent-tests-") as folder:
        logs = {lane: Path(folder, lane) for lane in LANES}
        running = {}
        for lane, paths in LANES.items():
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *colour, *options, *paths]
            with logs[lane].open("wb") as log:
                environment = {**os.environ, **ENVIRONMENT.get(lane, {})}
                running[lane] = subprocess.Popen(
                    command, stdout=log, stderr=subprocess.STDOUT, env=environment
                )
        codes = {}
        for lane, process in running.items():
            print(f"\n== the lane that {lane}: {' '.join(LANES[lane])} ==", flush=True)
            with logs[lane].open("rb") as log:
                codes[lane] = _follow(process, log)
    summary = ", ".join(
        f"{lane}: {'passed' if code == 0 else f'FAILED ({code})'}" for lane, code in codes.items()
    )
    print(f"\n== {summary}; {time.monotonic() - began:.0f} s ==")
    return next((code for code in codes.values() if code), 0)


def _follow(process: subprocess.Popen[bytes], log: IO[bytes]) -> int:
    """Show what the process says until it ends. Returns its exit code."""
    while True:
        code = process.poll()  # before the look: what it said last is shown, too
        sys.stdout.buffer.write(log.read())
        sys.stdout.buffer.flush()
        if code is not None:
            return code
        time.sleep(_LOOK_S)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # pytest has heard of it, too, and ends in its own way
        sys.exit(130)
