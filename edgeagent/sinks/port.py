# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a sink is given, what it keeps to, and how it is made known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import orjson

from edgeagent.core.pictures import PictureQuota
from edgeagent.errors import UsageError
from edgeagent.util.settings import Seconds, Section

Box = tuple[float, float, float, float, float, float]
"""One detection as the engine gives it: x1, y1, x2, y2 in pixels of the frame, confidence, class id."""


@dataclass(frozen=True, slots=True)
class Record:
    """What was found in one frame, by which version; docs/interface.md, "Detections", says what each field means.

    names: of all the model's classes; boxes: best first, each of a class that has a name. width, height: of the frame,
    pixels; 0 where that isn't known. Made on the path of a frame: what costs time per detection is left to whoever
    writes it down (`as_dict`, `to_json`).
    """

    pipeline: str
    seq: int
    ts: float
    model: str
    version: str
    digest: str
    epoch: int
    latency_ms: float
    names: tuple[str, ...]
    boxes: tuple[Box, ...]
    width: int = 0
    height: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The record as docs/interface.md promises it, of plain values."""
        names = self.names
        return {
            "pipeline": self.pipeline,
            "seq": self.seq,
            "ts": self.ts,
            "model": self.model,
            "version": self.version,
            "digest": self.digest,
            "epoch": self.epoch,
            "latency_ms": self.latency_ms,
            "detections": [
                {
                    "cls": int(cls),
                    "name": names[int(cls)],
                    "conf": round(conf, 4),
                    "xyxy": [round(x1, 1), round(y1, 1), round(x2, 1), round(y2, 1)],
                }
                for x1, y1, x2, y2, conf, cls in self.boxes
            ],
        }

    def to_json(self) -> bytes:
        """The same as JSON in UTF-8: one line, without a newline."""
        return orjson.dumps(self.as_dict())


class Sink(Protocol):
    """Writes records somewhere. Used from one thread of its own, where it may block."""

    name: str
    """How status, log and metrics call it: the file, the address."""

    def write(self, batch: Sequence[Record]) -> None:
        """Write whole records, in order. Raises SinkError when some are not written: they are not given again.

        What can't be reached is tried again at the next call, not in this one: meanwhile records are counted as lost,
        and the line goes on. Any other exception counts as a batch that is lost as a whole.
        """

    def close(self) -> None:
        """Let go of the file or the connection. Idempotent."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far a sink is that keeps records on the disk until they have arrived. All counts are since the node started,
    but for `records` and `bytes`, which wait now, also from before.

    delivered: records that arrived. dropped: that did not, and won't: their share of the disk was full, or they were
    refused for good. why: they don't arrive now; "" when nothing is wrong.
    """

    records: int = 0
    bytes: int = 0
    delivered: int = 0
    dropped: int = 0
    why: str = ""


@runtime_checkable
class StoringSink(Protocol):
    """A sink whose `write` keeps records on the disk, and which delivers them by a thread of its own."""

    name: str

    def start(self) -> None:
        """Begin to deliver what is left from before. Called once, before the first write; waits for nothing."""

    def write(self, batch: Sequence[Record]) -> None:
        """As of any sink; what it keeps counts as taken."""

    def backlog(self) -> Backlog:
        """How far it is. Called from any thread; waits for nothing."""

    def close(self) -> None:
        """Deliver what can be delivered within some seconds; the rest stays on the disk. Idempotent."""


@dataclass(frozen=True, slots=True)
class PictureRequest:
    """A picture that a sink wants of a frame.

    root: folder that is kept within the quota; path: within it, named as `core.pictures.picture_stem` does, in
    `images/`; quality: of JPEG, 1 to 100; boxes: whether one with what was found drawn into it is put beside; about: a
    text that is put into the file, at most 4096 bytes.
    """

    root: Path
    path: str
    quota: PictureQuota
    quality: int
    boxes: bool
    about: str


@runtime_checkable
class PictureSink(StoringSink, Protocol):
    """A sink that wants pictures of frames, of which it sees each record first. It is given no records to write. Its
    methods are called on the event loop's thread and must not wait."""

    def picture(self, record: Record) -> PictureRequest | None:
        """What is to be made of the frame of this record; None: nothing. At most one picture is written at a time, so
        that what is asked for need not come about."""

    def folder(self) -> tuple[Path, PictureQuota]:
        """Where its pictures are, and how much may be there."""

    def begun(self) -> None:
        """The picture that was asked for last is being written."""

    def done(self, why: str) -> None:
        """It is there; or isn't, and why."""


def _nothing(_: Any) -> None:
    pass


@dataclass(frozen=True)
class SinkPlace:
    """Where a sink works.

    node, pipeline: names; run: tells apart what was numbered from 0 twice, a new one each time the pipeline is started.
    folder: for what must outlive a restart, of this pipeline's own; made by whoever needs it. on_failed(why): a
    delivery did not succeed, and is tried again, or given up. on_dropped(records): so many that were taken will never
    arrive. Both may be called from any thread.
    """

    node: str
    pipeline: str
    run: str
    folder: Path
    on_failed: Callable[[str], None] = _nothing
    on_dropped: Callable[[int], None] = _nothing


class SinkError(Exception):
    """`lost` records of a batch are not written."""

    def __init__(self, why: str, lost: int) -> None:
        super().__init__(why)
        self.lost = lost


class SinkConfig(Section):
    """What can be said of each sink; each kind of sink has fields of its own beside.

    lossless: a line that must not lose a frame waits while this sink is behind. patience_seconds: a sink that hangs
    for longer holds no line any more; what its queue has no room for is lost and counted.
    """

    type: str
    lossless: bool = False
    patience_seconds: Seconds = 30.0

    def sends_secret_to(self) -> tuple[str, str] | None:
        """The host to which a secret goes that others can read on the way, and which secret; None if none does."""
        return None


C = TypeVar("C", bound=SinkConfig)


@dataclass(frozen=True)
class SinkType(Generic[C]):
    """A kind of sink: one row of the registry, or the value that a package's entry point names.

    config: its fields; the default of `type` is the name of the kind. open: makes a sink, without waiting for anything:
    connecting is a matter of its first `write`. Raises EdgeAgentError when something is missing on this machine.
    open_at: the same for one that has to know where it works; one of the two is given.
    try_out: for `edgeagent doctor`: tries it for real, and returns what it found. Raises EdgeAgentError.
    """

    config: type[C]
    open: Callable[[C], Sink] | None = None
    try_out: Callable[[C], str] | None = None
    open_at: Callable[[C, SinkPlace], Sink] | None = None

    @property
    def name(self) -> str:
        """What `type` in a configuration must be."""
        return str(self.config.model_fields["type"].default)

    def open_in(self, config: C, place: SinkPlace) -> Sink:
        """A sink that works there. Raises EdgeAgentError."""
        if self.open_at:
            return self.open_at(config, place)
        if self.open is None:
            raise UsageError(f"the sink {self.name}", "says not how it is opened", "give its SinkType open=")
        return self.open(config)
