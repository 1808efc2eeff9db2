# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a version has room beside the one that serves, or only in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import floor

from edgeagent.core.gating import Figure

KINDS, PREFIXES = ("memory", "GPU memory"), ("", "gpu_")
"""Of memory, and how the names of their figures begin."""

_MB = 1 << 20


class Place(StrEnum):
    """Where a version has room."""

    BESIDE = "beside"  # what serves goes on while it loads
    INSTEAD = "instead"  # when what serves is stopped first
    NOWHERE = "nowhere"


@dataclass(frozen=True)
class Loading:
    """What loading a version took in a preparing worker, in bytes: by how much that grew, and what was free; on a GPU
    likewise, `gpu_free` None where there is none, or nobody tells. seconds: how long it took."""

    needs: int
    free: int
    seconds: float
    gpu_needs: int = 0
    gpu_free: int | None = None


@dataclass(frozen=True)
class Room:
    """One kind of memory (`kind`: memory, GPU memory), in bytes: what a version needs, what is free, and what stopping
    the version that serves would add to that."""

    kind: str
    needs: int
    free: int
    frees: int = 0

    def place(self, reserve: float, margin: float) -> Place:
        """Where the version has room. reserve: bytes that must stay free; margin: of how many times what was measured
        there has to be room."""
        if self.needs <= self.most(reserve, margin):
            return Place.BESIDE
        stopped = replace(self, free=self.free + self.frees)
        return Place.INSTEAD if self.needs <= stopped.most(reserve, margin) else Place.NOWHERE

    def most(self, reserve: float, margin: float) -> int:
        """What a version may need to have room beside the one that serves, in bytes; less than 0 when there is none."""
        return floor((self.free - reserve) / margin)


@dataclass(frozen=True)
class Fit:
    """Where a version has room in all kinds of memory, and how long it took to load, in seconds."""

    rooms: tuple[Room, ...]
    reserve_mb: float
    margin: float
    load_s: float = 0.0

    @property
    def reserve(self) -> float:
        """In bytes."""
        return self.reserve_mb * _MB

    @property
    def place(self) -> Place:
        """The worst of all kinds of memory."""
        places = {room.place(self.reserve, self.margin) for room in self.rooms}
        return next((p for p in (Place.NOWHERE, Place.INSTEAD) if p in places), Place.BESIDE)

    def reasons(self, may_stop: bool) -> list[str]:
        """Why it can't be loaded; none when it has room, or when what serves may be stopped first (`may_stop`) and that
        makes room."""
        found = []
        for room in self.rooms:
            place = room.place(self.reserve, self.margin)
            if place is Place.BESIDE or (may_stop and place is Place.INSTEAD):
                continue
            also = f", and {room.frees // _MB} MB more once what serves is stopped" if may_stop else ""
            way_out = " (update.mode: stop-start would make room)" if place is Place.INSTEAD else ""
            found.append(
                f"{room.kind}: it needs {room.needs // _MB} MB, times {self.margin:g}, with {self.reserve_mb:g} MB to"
                f" stay free, and {room.free // _MB} MB are{also}{way_out}"
            )
        return found

    @property
    def figures(self) -> dict[str, Figure]:
        """What was measured; `fit_of` reads it again."""
        figures: dict[str, Figure] = {"place": self.place.value, "load_s": round(self.load_s, 2)}
        for room, prefix in zip(self.rooms, PREFIXES, strict=False):
            figures[f"{prefix}needs_mb"] = -(-room.needs // _MB)
            figures[f"{prefix}free_mb"] = room.free // _MB
        return figures


def needs_of(figures: Mapping[str, Figure]) -> tuple[int, int, float]:
    """What a version needs, as the gate measured it once: bytes of memory, bytes of GPU memory, seconds to load."""
    values = (figures.get(name, 0) for name in ("needs_mb", "gpu_needs_mb", "load_s"))
    memory, gpu, seconds = (value if isinstance(value, int | float) else 0 for value in values)
    return int(memory * _MB), int(gpu * _MB), float(seconds)
