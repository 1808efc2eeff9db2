# SPDX-License-Identifier: AGPL-3.0-or-later
"""`edgeagent demo`, as a visitor runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing import wait_for

COMMAND = [sys.executable, "-m", "edgeagent", "demo", "--seconds", "1", "--no-browser"]


def demo_processes(folder: Path) -> list[int]:
    """Processes of the demo's node: those whose command line, or whose parent's, names its folder."""
    found: dict[int, int] = {}
    nodes = []
    for entry in os.listdir("/proc"):
        try:
            line = Path(f"/proc/{entry}/cmdline").read_bytes().decode(errors="replace")
            parent = int(Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        if entry.isdigit() and line:
            found[int(entry)] = parent
            if str(folder) in line:
                nodes.append(int(entry))
    return nodes + [pid for pid, parent in found.items() if parent in nodes]


def test_demo_shows_all_and_leaves_its_report(tmp_path: Path) -> None:
    """Good models swapped in, bad ones refused, rolled back twice; pictures and report are there, no process is."""
    done = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    folder = tmp_path / "demo-run"
    assert (folder / "report.json").exists(), done.stdout + done.stderr
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    failed = [e for e in report["expectations"] if not e["held"]]
    # The camera is live: a machine that is too busy with other tests makes it drop frames, and the demo must say so.
    assert [e for e in failed if not report["frames_lost"] or "no frame lost" not in e["name"]] == [], (
        done.stdout
    )
    assert (done.returncode == 0) == report["ok"] == (not failed)

    changes = [(c["kind"], c["version"], c["result"]) for c in report["changes"]]
    assert changes == [
        ("promote", "v1", "swapped"),
        ("promote", "v2", "swapped"),
        ("promote", "v3-permuted", "refused"),
        ("promote", "v4-corrupt", "refused"),
        ("promote", "v5-half-blind", "refused"),
        ("promote", "v6-lab-light", "taken back"),
        ("roll back", "v1", "swapped"),
        ("promote", "v2", "swapped"),
        ("roll back", "v1", "swapped"),
        ("promote", "v2", "swapped"),
    ]
    assert "class names" in report["changes"][2]["why"]
    assert "sha256" in report["changes"][3]["why"]
    assert re.match("gate golden: .*class 'scratch'", report["changes"][4]["why"])
    assert "beside the version before it" in report["changes"][5]["why"]
    assert [s["after"] for s in report["swaps"]] == ["v2", "v6-lab-light", "v2", "v1", "v2", "v1", "v2"]
    assert report["recall"]["v2"]["tiny"]["share"] > report["recall"]["v1"]["tiny"]["share"]
    assert (folder / "run.png").read_bytes().startswith(b"\x89PNG")
    assert "\x1b" not in done.stdout
    assert report["changes"][2]["why"] in done.stdout
    wait_for(lambda: not demo_processes(folder), "no process left")


@pytest.mark.soak
def test_an_interrupted_demo_leaves_no_process(tmp_path: Path) -> None:
    """Ctrl-C while the line runs: one line says so, and the node and its workers are gone."""
    folder = tmp_path / "demo-run"
    process = subprocess.Popen(
        COMMAND,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # As on a terminal; whoever runs the tests in the background makes their children deaf to it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait_for((folder / "line-1.jsonl").exists, "the line runs")
        assert len(demo_processes(folder)) >= 3  # the node, its camera, its engine
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, said) == (1, "error: edgeagent: interrupted\n")
    wait_for(lambda: not demo_processes(folder), "no process left")
