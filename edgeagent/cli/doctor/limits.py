# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this machine lets a process have: files, memory, shared memory; and the characters that it knows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import FAIL, OK, WARN, Finding
from edgeagent.serving.slot_lender import ring_slots

_MB = 1 << 20
_FILES = (400, 40, 60)
"""Descriptors: of a node with its connections, of a pipeline, of a model. Generous: each costs nothing."""
_MEMORY_MB = (150, 150, 500)
"""The same in memory: a small network with ONNX Runtime takes about half of the last."""
_USUAL = (1920, 1080)


def open_files(x: Examination) -> Iterator[Finding]:
    """Descriptors."""
    may = x.machine.open_files()
    node, pipeline, model = _FILES
    need = node + pipeline * len(x.config.pipelines) + model * len(x.models)
    if 0 <= may < need:
        text = f"a process may open {may} files, this node may need {need}"
        yield Finding(WARN, "open files", text, "LimitNOFILE=16384 in the unit, or ulimit -n 16384 before it")


def memory(x: Examination) -> Iterator[Finding]:
    """What is free, within the limits of a container or a unit."""
    total, free = x.machine.memory()
    node, pipeline, model = _MEMORY_MB
    # Two of each model's: the version before stays loaded beside the one that serves.
    need = node + pipeline * len(x.config.pipelines) + 2 * model * len(x.models)
    text = f"{free // _MB} MB free"
    if not x.is_running and free < need * _MB:
        yield Finding(
            WARN,
            "memory",
            f"{text}, while two versions of each of {len(x.models)} models take about {need} MB",
            "raise the limit (MemoryMax= of the unit, --memory of the container), or update.mode: stop-start",
        )
    else:
        yield Finding(OK, "memory", text)
    limit = x.config.engine.memory_limit_mb
    if limit * _MB > total:
        yield Finding(
            WARN,
            "engine.memory_limit_mb",
            f"{limit} MB are more than this machine has ({total // _MB} MB): the kernel would end whatever it finds",
            f"set it to {max(256, total // _MB // 2)} or so",
        )


def shared_memory(x: Examination) -> Iterator[Finding]:
    """Where frames lie: in memory without a name; or in /dev/shm, where the kernel or a sandbox denies that."""
    if x.machine.has_memfd():
        return
    frames = sum(3 * w * h for w, h in (x.sizes.get(p.name, _USUAL) for p in x.config.pipelines))
    need = ring_slots(1) * frames
    try:
        free = shutil.disk_usage(x.machine.root / "dev/shm").free
    except OSError:
        free = 0
    if free < need:
        yield Finding(
            FAIL,
            "/dev/shm",
            f"memfd_create is denied here, and {free // _MB} MB of {need // _MB} that the frames need are free",
            "allow the call (the seccomp profile of the container), or docker run --shm-size=1g",
        )


def characters(x: Examination) -> Iterator[Finding]:
    """Names of files and classes may have any."""
    if x.machine.encoding.lower().replace("-", "") != "utf8":
        yield Finding(
            WARN,
            "locale",
            f"names of files are read as {x.machine.encoding}: those with other characters can't be opened",
            "LC_ALL=C.UTF-8 (or PYTHONUTF8=1) in the unit's environment",
        )
