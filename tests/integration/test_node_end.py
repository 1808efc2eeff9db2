# SPDX-License-Identifier: AGPL-3.0-or-later
"""SIGTERM ends a node, whatever hangs: nobody reads its log any more, or the end itself doesn't come to an end."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

RUN = """
import asyncio, os, signal, sys, threading, time
from pathlib import Path
from edgeagent import run
from edgeagent.observe import foreground
import structlog

class Node:
    def __init__(self, config, path): pass
    def reload(self, path): pass
    async def start(self):
        print("started", flush=True)
        {start}
    async def stop(self):
        {stop}

run.Node, foreground.STOP_S = Node, {seconds}
sys.exit(run.run_node(Path(sys.argv[1])))
"""


def end_node(folder: Path, start: str, stop: str, seconds: int, stderr: int = subprocess.DEVNULL) -> int:
    """How `run_node` ends on SIGTERM with a node that starts and stops like this, when its end may take so long."""
    config = folder / "edgeagent.yaml"
    config.write_text(
        yaml.safe_dump({"node": {"state_dir": str(folder / "state")}, "log": {"format": "json"}})
    )
    code = RUN.format(start=start, stop=stop, seconds=seconds)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(config)], stdout=subprocess.PIPE, stderr=stderr
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        process.terminate()
        return process.wait(120)


def test_an_end_in_order(tmp_path: Path) -> None:
    """Nothing hangs."""
    assert end_node(tmp_path, "pass", "pass", 60) == 0


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        ("pass", "await asyncio.Event().wait()"),  # a server that doesn't answer
        ("pass", "await asyncio.to_thread(time.sleep, 300)"),  # a disk
        ("time.sleep(300)", "pass"),  # the event loop itself
        ("threading.Thread(target=time.sleep, args=(300,)).start()", "pass"),  # at the end of the interpreter
    ],
)
def test_what_hangs_is_ended_by_the_kernel(tmp_path: Path, start: str, stop: str) -> None:
    """After its time."""
    assert end_node(tmp_path, start, stop, 1) == -signal.SIGALRM


def test_who_asks_again_gives_it_no_more_time(tmp_path: Path) -> None:
    """Ctrl-C twice, or a service manager that is asked to stop it twice: the first one counts."""
    again = "foreground.STOP_S = 6000; os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.01)"
    left = "assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 600"
    assert end_node(tmp_path, "pass", f"{again}; {left}", 600) == 0


def test_a_log_that_nobody_reads(tmp_path: Path) -> None:
    """The pipe is full: what can't be said is left unsaid, and the end is one in order."""
    reading, writing = os.pipe()
    try:
        size = fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)
        os.write(writing, bytes(size))
        assert (
            end_node(tmp_path, "structlog.get_logger().info('x' * 100_000)", "pass", 60, stderr=writing) == 0
        )
    finally:
        os.close(reading)
        os.close(writing)
