# SPDX-License-Identifier: AGPL-3.0-or-later
"""The frames on which two versions differ most, as pictures for a person and as a YOLO data set for labelling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeagent.core.boxes import Box
from edgeagent.core.differences import PairLimits
from edgeagent.core.pairs import FramePair
from edgeagent.core.pictures import picture_stem
from edgeagent.core.replay import frame_difference
from edgeagent.serving.frame import Frame
from edgeagent.update.picture_writer import PictureWriter
from edgeagent.workers.tasks.pictures import Comparison, DrawnVersion, PictureDone, PictureOrder

_LABEL_CHARS = 40
"""Of a class name at a box: three hundred of the longest would fit no message."""


@dataclass(frozen=True)
class ComparedVersion:
    """One side of a comparison: the version, and its class names in order."""

    version: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class DisagreementSettings:
    """How many are kept of a version, and how. keep: pictures; apart_s: of what a pipeline shows within so many
    seconds, one is kept; quality: of JPEG, 1 to 100."""

    keep: int
    apart_s: float
    quality: int


class Disagreements:
    """Those of one candidate, in `folder` below the archive's root: `images/`, `labels/` with what the incumbent found,
    `data.yaml`, and `drawn/` with the boxes of both. What the folder holds already counts among them.

    kept: pictures that were written since it was made, also those that made way for others later.
    """

    def __init__(
        self,
        writer: PictureWriter,
        root: Path,
        folder: str,
        incumbent: ComparedVersion,
        candidate: ComparedVersion,
        settings: DisagreementSettings,
    ) -> None:
        """root: of the archive; folder: within it, with `/`."""
        self.path = root / folder
        self.kept = 0
        self._writer, self._root, self._folder = writer, root, folder
        self._incumbent, self._candidate, self._settings = incumbent, candidate, settings
        self._least = 1  # of the score that is worth a picture

    def offer(self, pair: FramePair, frame: Frame) -> bool:
        """Have the frame written if the two versions differ on it more than on those that are kept, and the writer is
        idle. Returns whether it is; then it is held until it is written. Whoever offers it keeps his own hold on it.
        """
        if pair.incumbent is None or pair.candidate is None or not self._writer.idle:
            return False
        longer_side = max(pair.width, pair.height)
        difference = frame_difference(pair.incumbent, pair.candidate, longer_side, PairLimits())
        if difference.score < self._least:
            return False
        stem = picture_stem(frame.ts, frame.seq, frame.pipeline, min(difference.score, 999_999))
        comparison = Comparison(
            _drawn(self._incumbent, pair.incumbent),
            _drawn(self._candidate, pair.candidate),
            difference,
            self._incumbent.names,
            self._settings.keep,
            self._settings.apart_s,
        )
        path = f"{self._folder}/images/{stem}.jpg"
        order = PictureOrder(self._root, path, self._settings.quality, comparison)
        if self._writer.offer(frame.retain(), order, self._done):
            return True
        frame.release()
        return False

    def _done(self, done: PictureDone) -> None:
        self.kept += done.outcome == "kept"
        self._least = max(done.least, 1)


def _drawn(version: ComparedVersion, boxes: Sequence[Box]) -> DrawnVersion:
    rounded = tuple(
        (round(x1, 2), round(y1, 2), round(x2, 2), round(y2, 2), round(confidence, 3), index)
        for x1, y1, x2, y2, confidence, index in boxes
    )
    labels = tuple(f"{_name(version.names, box[5])} {box[4]:.2f}" for box in boxes)
    return DrawnVersion(version.version, rounded, labels)


def _name(names: tuple[str, ...], index: int) -> str:
    return names[index][:_LABEL_CHARS] if 0 <= index < len(names) else str(index)
