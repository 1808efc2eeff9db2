# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a prepared version has room now, by what its gate once measured: what is free changes by the minute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgeagent.core.memory import KINDS, Fit, Room, needs_of
from edgeagent.serving.artifact import Artifact
from edgeagent.serving.engine_process import Engine
from edgeagent.util.memory import free_bytes, gpu_free_bytes, own_bytes


def was_measured(artifact: Artifact) -> bool:
    """Whether it is known what the version needs."""
    return _needs(artifact)[0] > 0


def freed_by(engines: Iterable[Engine]) -> tuple[int, int]:
    """Bytes of memory, and of GPU memory, that the end of these engines' workers gives back."""
    memory = gpu = 0
    for engine in engines:
        memory += own_bytes(engine.worker.pid) if engine.worker else 0
        gpu += _needs(engine.artifact)[1]
    return memory, gpu


def fit_now(artifact: Artifact, limits: Mapping[str, float], freed: tuple[int, int]) -> Fit | None:
    """Where the version has room at this moment; None when it was never measured, or this machine doesn't tell.

    Reads files of the kernel, and asks the driver of a GPU: not for the event loop.
    """
    memory, gpu, seconds = _needs(artifact)
    free = free_bytes()
    if not memory or not limits or free is None:
        return None
    rooms = [Room(KINDS[0], memory, free, freed[0])]
    if gpu and (gpu_free := gpu_free_bytes(artifact.plan.variant.device)) is not None:
        rooms.append(Room(KINDS[1], gpu, gpu_free, freed[1]))
    return Fit(tuple(rooms), limits["reserve_mb"], limits["margin"], seconds)


def _needs(artifact: Artifact) -> tuple[int, int, float]:
    found = next((gate for gate in artifact.gates if gate.name == "memory"), None)
    return needs_of(found.figures) if found else (0, 0, 0.0)
