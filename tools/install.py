# SPDX-License-Identifier: AGPL-3.0-or-later
"""Run `pip install`, and show what it is at: `python tools/install.py ARGUMENT ...`, as `make setup` does.

pip is either silent for the minutes that torch takes, or says hundreds of lines, with warnings about the machine's own
pip settings among them. Here it says what it is collecting: on a terminal in one line, elsewhere a line every ten
seconds. All that pip says is kept in `install.log` beside the environment's `bin`; its end is shown when pip fails, and
pip's exit code is returned.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

_LOG = Path(sys.prefix, "install.log")
_EVERY_S = 10.0
_SHOWN_OF_A_FAILURE = 40  # lines
_STEP = re.compile(r"\s*(Collecting|Downloading|Building|Installing) (.{1,70})")


def main(arguments: list[str]) -> int:
    """Install. Returns pip's exit code."""
    command = [sys.executable, "-m", "pip", "install", "--progress-bar", "off", *arguments]
    began = shown = time.monotonic()
    count = 0
    with _LOG.open("w", encoding="utf-8") as log, _started(command) as process:
        assert process.stdout
        for line in process.stdout:
            log.write(line)
            step = _STEP.match(line)
            if not step:
                continue
            count += step[1] == "Collecting"
            now = time.monotonic()
            last = step[2].startswith("collected packages")  # pip says no more until all are there
            if last or sys.stdout.isatty() or now - shown >= _EVERY_S:
                shown = now
                what = "unpacking them" if last else f"{step[1].lower()} {step[2].split()[0]}"
                _show(f"{now - began:4.0f} s, {count} packages: {what}")
    if sys.stdout.isatty():
        _show("")
    if process.returncode:
        said = _LOG.read_text("utf-8").splitlines()[-_SHOWN_OF_A_FAILURE:]
        print("\n".join(said), f"\n{' '.join(command)} failed; all that it said is in {_LOG}", flush=True)
    return process.returncode


def _started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _show(text: str) -> None:
    if sys.stdout.isatty():
        print(f"\r\x1b[K{text}", end="", flush=True)
    else:
        print(text, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
