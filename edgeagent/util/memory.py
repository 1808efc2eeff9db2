# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much memory there is: of the machine, within the limits of this process's control groups, and of a GPU; and how
much a piece of work takes. All in bytes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_LOOK_S = 0.005
_UNLIMITED = 1 << 60  # control groups of the first version say "no limit" by a number near 2**63


def own_bytes(process: int | str = "self", proc: Path = _PROC) -> int:
    """What a process has that only its end gives back: neither files nor libraries, which others use too, or which can
    be read again. 0 when that can't be told."""
    fields = _fields(proc / str(process) / "status")
    return fields.get("RssAnon", 0) + fields.get("RssShmem", 0)


def free_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """What can still be had: the least of what the machine has, and what the limits of the control groups of this
    process leave. None when that can't be told."""
    found = [*_left_by_cgroups(proc / "self" / "cgroup", cgroups)]
    if (available := _fields(proc / "meminfo").get("MemAvailable")) is not None:
        found.append(available)
    return min(found, default=None)


def growth(work: Callable[[], T], own: Callable[[], int] = own_bytes) -> tuple[T, int]:
    """What `work` gives, and by how much this process was larger at most while it went on, or is after it."""
    before, over = own(), threading.Event()
    most = [before]

    def watch() -> None:
        while not over.wait(_LOOK_S):
            most[0] = max(most[0], own())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        result = work()
    finally:
        over.set()
        watcher.join()
    return result, max(most[0], own()) - before


def gpu_free_bytes(device: str) -> int | None:
    """What a CUDA device (`cuda`, `cuda:1`) has left; None for another, or where the driver doesn't tell."""
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return None
    try:
        import pynvml  # type: ignore[import-untyped]  # comes with ultralytics (nvidia-ml-py)
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle: Any = _handle(pynvml, int(index or 0))
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).free)
    except (pynvml.NVMLError, ValueError, IndexError):
        return None


def _handle(pynvml: Any, index: int) -> Any:
    """CUDA counts the devices that it is let see."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    name = visible.split(",")[index].strip() if visible else str(index)
    by_number = name.isdecimal()
    return (
        pynvml.nvmlDeviceGetHandleByIndex(int(name)) if by_number else pynvml.nvmlDeviceGetHandleByUUID(name)
    )


def _left_by_cgroups(own: Path, root: Path) -> Iterator[int]:
    """Of each group that this process is in, up to the root, what its limit leaves: pages of files can go."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        base = root / "memory" if controllers else root
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        limit_name, used_name, files_name = (
            names if controllers else ("memory.max", "memory.current", "inactive_file")
        )
        folder = base / path.lstrip("/")
        for group in (folder, *folder.parents):
            limit, used = _number(group / limit_name), _number(group / used_name)
            if limit is not None and used is not None and limit < _UNLIMITED:
                yield max(limit - used + _fields(group / "memory.stat", unit=1).get(files_name, 0), 0)
            if group == base:
                break


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max"
        return None


def _fields(path: Path, unit: int = 1024) -> dict[str, int]:
    """Numbers by name, of lines such as `RssAnon: 12 kB` and `inactive_file 4096`."""
    found = {}
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    for line in lines:
        words = line.replace(":", " ").split()
        if len(words) > 1 and words[1].isdecimal():
            found[words[0]] = int(words[1]) * unit
    return found
