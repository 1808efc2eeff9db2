# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line as a process: what it imports, and what it is like to type."""

from __future__ import annotations

import os
import subprocess
import sys

HEAVY = (
    "torch",
    "torchvision",
    "ultralytics",
    "onnxruntime",
    "onnx",
    "cv2",
    "numpy",
    "google.protobuf",
    "grpc",
    "fastapi",
    "edgeagent.status.schema",
)


def test_importing_the_command_line_is_light() -> None:
    """No runtime, no numpy, no server: `edgeagent status` must not wait for them."""
    code = f"import sys, edgeagent.cli.main; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_as_a_module() -> None:
    """`python -m edgeagent` is the same command, with the same exit codes."""
    done = subprocess.run(
        [sys.executable, "-m", "edgeagent", "check", "--config", "/nope"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "error: /nope: can't be read (No such file or directory)\n"


def test_a_reader_that_goes_away_is_no_crash() -> None:
    """`edgeagent --help | true` ends without a traceback."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edgeagent", "--help"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(write)
    assert done.returncode == 1
    assert done.stderr == ""


def test_a_terminal_without_unicode_gets_plain_characters() -> None:
    """With PYTHONIOENCODING=ascii, as some consoles and cron jobs have it; also in what typer prints itself."""
    code = "import sys; from edgeagent.cli.main import main; main(['--version']); print('v1 → v2 …')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.stdout.splitlines()[1] == b"v1 -> v2 ..."
