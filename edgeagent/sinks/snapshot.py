# SPDX-License-Identifier: AGPL-3.0-or-later
"""A folder of pictures of what was found: which frames, is decided here; a worker of the node writes them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edgeagent.core.pictures import PictureQuota, picture_stem
from edgeagent.core.text import cut
from edgeagent.sinks.messages import record_id
from edgeagent.sinks.port import Backlog, PictureRequest, Record, SinkConfig, SinkPlace, SinkType
from edgeagent.util.settings import Fraction
from edgeagent.util.writable import check_writable

_ANY_NUMBER = 1_000_000
_MAX_ABOUT = 1000


class SnapshotSinkConfig(SinkConfig):
    """Pictures of frames on which something was found, now and then.

    path: a folder of its own: what has the name of a picture there is removed when the quota wants it. classes,
    confidence: a frame counts that has such a detection; no classes: any. every_seconds: between two pictures. boxes:
    whether one with what was found drawn into it is put beside. max_bytes, max_age_seconds: of all, and of each;
    min_free_bytes: with less free on the disk the oldest go, and none is written.
    """

    type: Literal["snapshot"] = "snapshot"
    path: Path
    classes: list[Annotated[str, Field(min_length=1, max_length=1000)]] = Field(default=[], max_length=10_000)
    confidence: Fraction = 0.0
    every_seconds: Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)] = 5.0
    boxes: bool = True
    max_bytes: int = Field(default=1 << 30, ge=1 << 20, le=1 << 44)
    max_age_seconds: float = Field(default=2_592_000.0, gt=0, le=31_536_000, allow_inf_nan=False)
    min_free_bytes: int = Field(default=1 << 30, ge=0, le=1 << 50)
    jpeg_quality: int = Field(default=90, ge=1, le=100)

    @property
    def quota(self) -> PictureQuota:
        """How much may be there."""
        return PictureQuota(self.max_bytes, self.max_age_seconds, _ANY_NUMBER, self.min_free_bytes)


class SnapshotSink:
    """Chooses frames, and counts what became of them. `written` and `lost` of its status are pictures."""

    def __init__(
        self, config: SnapshotSinkConfig, place: SinkPlace, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """clock: monotonic seconds."""
        self.name = str(config.path)
        self._config, self._place, self._clock = config, place, clock
        self._classes = frozenset(config.classes)
        self._due = 0.0
        self._kept = self._lost = 0
        self._why = ""

    def picture(self, record: Record) -> PictureRequest | None:
        """What is to be made of this frame; None when it isn't wanted, or not yet."""
        if not record.boxes or self._clock() < self._due or not self._is_wanted(record):
            return None
        c = self._config
        return PictureRequest(
            c.path.absolute(), f"images/{picture_stem(record.ts, record.seq)}.jpg", c.quota, c.jpeg_quality, c.boxes,
            self._about(record),
        )  # fmt: skip

    def folder(self) -> tuple[Path, PictureQuota]:
        """Where its pictures are, and how much may be there."""
        return self._config.path.absolute(), self._config.quota

    def begun(self) -> None:
        """A picture that was asked for is being written."""
        self._due = self._clock() + self._config.every_seconds

    def done(self, why: str) -> None:
        """It is there, or isn't, and why."""
        self._kept += not why
        self._lost += bool(why)
        self._why = why
        if why:
            self._place.on_failed(why)
            self._place.on_dropped(1)

    def start(self) -> None:
        """Nothing is left from before."""

    def write(self, batch: Sequence[Record]) -> None:
        """It isn't given any: records alone make no picture."""

    def backlog(self) -> Backlog:
        """What became of its pictures."""
        return Backlog(delivered=self._kept, dropped=self._lost, why=self._why)

    def close(self) -> None:
        """Nothing to let go of."""

    def _is_wanted(self, record: Record) -> bool:
        least, names, classes = self._config.confidence, record.names, self._classes
        return any(
            confidence >= least and (not classes or names[int(cls)] in classes)
            for *_, confidence, cls in record.boxes
        )

    def _about(self, record: Record) -> str:
        """Stands in the file, as a comment: which frame it is, and which version found it."""
        about = {
            "id": record_id(self._place, record), "ts": record.ts, "model": record.model, "version": record.version,
            "digest": record.digest, "epoch": record.epoch,
        }  # fmt: skip
        return cut(json.dumps(about), _MAX_ABOUT)


def _try_out(config: SnapshotSinkConfig) -> str:
    folder = config.path.absolute()
    while not folder.exists():  # it is made with the first picture
        folder = folder.parent
    return check_writable(folder)


SINK = SinkType(SnapshotSinkConfig, try_out=_try_out, open_at=SnapshotSink)
