# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a process takes, out of a pretended /proc and the real one."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from edgeagent.util.process_use import ProcessUse


def a_process(proc: Path, pages: int, ticks: int) -> Path:
    """Number 7."""
    folder = proc / "7"
    folder.mkdir(exist_ok=True)
    (folder / "statm").write_text(f"900 {pages} 3 4 0 5 0\n")
    fields = ["S", *["0"] * 10, str(ticks), "50", "30", "20", "0"]
    (folder / "stat").write_text(f"7 (a ) b) {' '.join(fields)}\n")
    return folder


def test_what_it_has_now(tmp_path: Path) -> None:
    """Its memory, and its own time with that of its children, also where its name has brackets; read anew each time."""
    a_process(tmp_path, 100, 150)
    use = ProcessUse(7, tmp_path)
    page, tick = os.sysconf("SC_PAGE_SIZE"), 1 / os.sysconf("SC_CLK_TCK")
    assert (use.memory_bytes(), use.cpu_seconds()) == (100 * page, pytest.approx(250 * tick))
    a_process(tmp_path, 200, 350)
    assert (use.memory_bytes(), use.cpu_seconds()) == (200 * page, pytest.approx(450 * tick))


def test_one_that_is_gone(tmp_path: Path) -> None:
    """Nothing, also where another has its number by now."""
    use = ProcessUse(7, tmp_path)
    assert (use.memory_bytes(), use.cpu_seconds()) == (0, 0.0)
    a_process(tmp_path, 100, 150)
    use.close()
    use.close()
    assert (use.memory_bytes(), use.cpu_seconds()) == (0, 0.0)


def test_no_descriptor_is_left() -> None:
    """Of this process itself, which is there for sure; two are open as long as it is looked at."""
    gc.collect()  # what tests before have left open goes now, and not in the middle
    before = len(os.listdir("/proc/self/fd"))
    use = ProcessUse(os.getpid())
    for _ in range(3):
        assert use.memory_bytes() > 1 << 20
        assert use.cpu_seconds() > 0
    assert len(os.listdir("/proc/self/fd")) == before + 2
    use.close()
    assert len(os.listdir("/proc/self/fd")) == before
