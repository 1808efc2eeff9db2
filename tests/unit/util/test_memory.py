# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much memory there is, and how much a piece of work takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.util.memory import free_bytes, gpu_free_bytes, growth, own_bytes

MB = 1 << 20


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine with 8000 MB free, and a process in the group /app/node."""
    process = tmp_path / "proc" / "self"
    process.mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: {9000 << 10} kB\nMemAvailable: {8000 << 10} kB\n")
    (process / "status").write_text(
        "Name:\tpython\nRssAnon:\t  100 kB\nRssFile:\t 900 kB\nRssShmem:\t 20 kB\n"
    )
    (process / "cgroup").write_text("1:name=systemd:/\n0::/app/node\n")
    return tmp_path / "proc"


@pytest.fixture
def cgroups(tmp_path: Path) -> Path:
    """The groups, without limits."""
    (tmp_path / "cgroup" / "app" / "node").mkdir(parents=True)
    for name in ("app", "app/node"):
        limit(tmp_path / "cgroup" / name, "max", 500)
    return tmp_path / "cgroup"


def limit(folder: Path, most: int | str, used: int, files: int = 0) -> None:
    """Of a group of the second version; megabytes."""
    (folder / "memory.max").write_text(f"{most if isinstance(most, str) else most * MB}\n")
    (folder / "memory.current").write_text(f"{used * MB}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {files * MB}\n")


def test_it_is_what_the_machine_has(proc: Path, cgroups: Path) -> None:
    """Where no group has a limit."""
    assert free_bytes(proc, cgroups) == 8000 * MB
    assert free_bytes(proc, cgroups / "nothing") == 8000 * MB


def test_a_limit_of_any_group_counts(proc: Path, cgroups: Path) -> None:
    """Also of one further up; pages of files can go."""
    limit(cgroups / "app", 1000, 700, files=50)
    assert free_bytes(proc, cgroups) == 350 * MB
    limit(cgroups / "app" / "node", 200, 300)
    assert free_bytes(proc, cgroups) == 0


def test_groups_of_the_first_version_have_limits_too(proc: Path, tmp_path: Path) -> None:
    """And a number that means none."""
    (proc / "self" / "cgroup").write_text("4:memory,cpu:/box\n3:cpuset:/box\n0::/\n")
    group = tmp_path / "old" / "memory" / "box"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text(str(600 * MB))
    (group / "memory.usage_in_bytes").write_text(str(250 * MB))
    (group / "memory.stat").write_text(f"total_inactive_file {10 * MB}\n")
    assert free_bytes(proc, tmp_path / "old") == 360 * MB
    (group / "memory.limit_in_bytes").write_text("9223372036854771712")
    assert free_bytes(proc, tmp_path / "old") == 8000 * MB


def test_what_nobody_tells_is_not_known(tmp_path: Path) -> None:
    """Rather than none, or plenty."""
    assert free_bytes(tmp_path, tmp_path) is None
    assert own_bytes("self", tmp_path) == 0


def test_what_is_its_own_is_neither_file_nor_library(proc: Path) -> None:
    """Those others use too."""
    assert own_bytes("self", proc) == 120 << 10


def test_the_most_that_it_was_counts() -> None:
    """While the work went on, or after it."""
    sizes = iter([100, 300, 250])
    assert growth(lambda: "done", lambda: next(sizes)) == ("done", 200)
    sizes = iter([100, 50])
    assert growth(lambda: "done", lambda: next(sizes)) == ("done", 0)


def test_memory_that_is_given_back_was_needed_too() -> None:
    """Seen by whoever looks again and again."""
    result, grown = growth(lambda: len(bytes(b"\x01" * (64 * MB))))
    assert result == 64 * MB
    assert grown >= 0
    kept, grown = growth(lambda: b"\x01" * (64 * MB))
    assert len(kept) == 64 * MB
    assert grown >= 60 * MB


def test_without_a_gpu_there_is_none_of_its_memory() -> None:
    """Of a processor, and of a GPU that isn't there."""
    assert gpu_free_bytes("cpu") is None
    assert gpu_free_bytes("cuda:77") is None
    assert gpu_free_bytes("cuda:x") is None
