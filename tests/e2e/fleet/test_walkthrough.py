# SPDX-License-Identifier: AGPL-3.0-or-later
"""The walk-through of docs/fleet.md, typed as it stands there, but for its folder and its ports."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.testing import wait_for
from tests.support.etcd import free_port

PAGE = Path(__file__).parents[3] / "docs" / "fleet.md"
SECTION = "## Five nodes on one machine"
PATIENCE_S = 400.0

pytestmark = pytest.mark.soak


class Terminal:
    """A bash in which blocks of the page are typed, in the clone, with the environment active."""

    def __init__(self, folder: Path, ports: dict[str, str]) -> None:
        self._folder, self._ports = folder, ports
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": path, "PYTHONPATH": str(PAGE.parents[1])}
        self._groups: list[int] = []

    def type(self, text: str) -> subprocess.CompletedProcess[str]:
        """Until the prompt is there again."""
        command = ["bash", "-c", self._placed(text)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=self._environment,
            cwd=PAGE.parents[1],
            timeout=600,
            check=False,
        )

    def leave_running(self, text: str) -> None:
        """What goes on in the background, or never gives the prompt back."""
        with (self._folder / "terminal.log").open("ab") as log:
            process = subprocess.Popen(
                ["bash", "-c", self._placed(text) + "\nwait"],
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=PAGE.parents[1],
                start_new_session=True,
            )
        self._groups.append(process.pid)

    def end(self) -> None:
        """Of everything that runs."""
        for group in self._groups:
            os.killpg(group, signal.SIGKILL)

    def _placed(self, text: str) -> str:
        for written, here in self._ports.items():
            text = text.replace(written, here)
        return text.replace("/tmp/edgeagent-fleet", str(self._folder))


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """One that stands for all three."""
    first = free_port()
    ports = {
        "etcd --data-dir": f"etcd --listen-peer-urls http://127.0.0.1:{free_port()} "
        f"--listen-client-urls http://127.0.0.1:{first} --advertise-client-urls http://127.0.0.1:{first} "
        "--data-dir",
        "127.0.0.1:2379": f"127.0.0.1:{first}",
        "api: {port: $((8080 + n))}": "api: {port: 0}",
    }
    made = Terminal(tmp_path, ports)
    yield made
    made.end()
    sys.stdout.write((tmp_path / "terminal.log").read_text()[-4000:])


def blocks() -> list[str]:
    """The blocks of the walk-through, in their order."""
    section = PAGE.read_text().partition(SECTION)[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def commands(block: str) -> list[str]:
    """The commands of a block, each with the lines that it goes on in."""
    return block.replace("\\\n", " ").strip().splitlines()


def test_as_typed(terminal: Terminal) -> None:
    """Five nodes, a roll-out through three waves with `--wait`, and one that is aborted in its second wave."""
    servers, five_nodes, nodes, dry_run, rolled_out, aborted = blocks()
    terminal.leave_running(servers)
    terminal.leave_running(five_nodes)

    def wait_shown(command: str, pattern: str, count: int = 1) -> None:
        wait_for(
            lambda: len(re.findall(pattern, terminal.type(command).stdout)) >= count,
            f"{pattern} in what {command} says",
            PATIENCE_S,
        )

    wait_shown(nodes, r"press-\d.*\bv1\b.*STABLE", 5)
    planned = terminal.type(dry_run)
    assert (planned.returncode, planned.stdout.count("press-")) == (0, 5), planned.stdout + planned.stderr
    start, code, shown = commands(rolled_out)
    assert code == "echo $?"
    done = terminal.type(f"{start}\n{code}")
    assert done.stdout.rstrip().endswith("\n0"), done.stdout + done.stderr
    wait_shown(shown, r"press-\d.*\bv2\b", 5)

    publish, start, status, advance, again, abort, status_then, nodes_then = commands(aborted)
    for command in (publish, start):
        done = terminal.type(command)
        assert done.returncode == 0, done.stderr
    wait_shown(status, r"baking")
    assert terminal.type(advance).returncode == 0
    wait_shown(nodes_then, r"press-\d.*\bv3\b", 3)
    assert "wave 2" in terminal.type(again).stdout
    assert terminal.type(abort).returncode == 0
    wait_shown(status_then, r"aborted")
    wait_shown(nodes_then, r"press-\d.*\bv2\b", 5)
