# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gate `replay`: on the line's recent frames, which the node has kept on its disk, a candidate must find about what
the active version finds.

It doesn't know who is right; see `core.replay` for what counts against a candidate. Frames that are there too few of
are a trouble that passes: more come. It applies where frames are kept (`update.recent_frames`) and a version serves,
unless the operator lets the candidate have classes of which that has none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.core.boxes import Box
from edgeagent.core.gating import GateResult, GateTerms
from edgeagent.core.pictures import Picture, read_picture, spread
from edgeagent.core.replay import ReplayLimits, ReplayTally
from edgeagent.errors import UnavailableError
from edgeagent.gates.port import ActiveVersion, Gate, GateContext

if TYPE_CHECKING:
    from edgeagent.runtimes.detection.detector import Detector
    from edgeagent.runtimes.port import Image

NAME = "replay"
_END_OF_JPEG = b"\xff\xd9"


def stored_frames(folders: tuple[Path, ...], count: int) -> list[Path]:
    """At most `count` of the frames that lie there, evenly over folders and time, oldest first. Files that aren't
    whole are removed: a power cut can leave such."""
    paths: dict[str, Path] = {}
    pictures: list[Picture] = []
    for folder in folders:
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                # Of two folders of one name, in two places, each has its own frames.
                if picture := read_picture(f"{folder}/{entry.name}", 0):
                    paths[picture.path] = folder / entry.name
                    pictures.append(picture)
    return [paths[picture.path] for picture in spread(pictures, count)]


def read_frames(paths: list[Path]) -> Iterator[Image]:
    """Those that can be read, H×W×3 BGR; others are removed."""
    import cv2
    import numpy as np

    for path in paths:
        with suppress(FileNotFoundError):  # its time was over just now
            data = path.read_bytes()
            # A picture that was cut off is decoded all the same, with grey where its end should be.
            whole = data.endswith(_END_OF_JPEG)
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if whole else None
            if picture is None:
                path.unlink(missing_ok=True)
            else:
                yield np.asarray(picture, np.uint8)


def _run(context: GateContext) -> GateResult:
    terms, active = context.terms, context.active
    assert active is not None  # else it doesn't apply
    limits = ReplayLimits.of(terms.limits[NAME])
    paths = stored_frames(terms.replay, round(limits.frames))
    _check_enough(len(paths), limits)
    tally = _compare(context, active, paths, limits)
    _check_enough(tally.frames, limits)
    return GateResult.judged(NAME, tally.judge(), tally.figures(), tally.limits())


def _compare(
    context: GateContext, active: ActiveVersion, paths: list[Path], limits: ReplayLimits
) -> ReplayTally:
    names = active.detector.runtime.metadata.contract.names
    candidate_names = context.detector.runtime.metadata.contract.names
    known = {name: index for index, name in enumerate(names)}
    may_go = {name for name in names if _may_go(name, context.terms)} - {*candidate_names}
    left_out = {known[name] for name in may_go}
    # By name, for the order may be another where the directive lets it; what only the candidate knows comes after.
    own = [known.get(name, len(names) + index) for index, name in enumerate(candidate_names)]
    tally = ReplayTally(limits, names, [known[name] for name in {*names} - {*candidate_names}])
    for done, image in enumerate(read_frames(paths), 1):
        found = [(*box[:5], own[box[5]]) for box in _boxes(context.detector, image, context)]
        before = [box for box in _boxes(active.detector, image, context) if box[5] not in left_out]
        tally.observe(before, found, max(image.shape[:2]))
        context.on_progress(done, len(paths))
    return tally


def _may_go(name: str, terms: GateTerms) -> bool:
    """Whether the operator lets the candidate lack this class: then its objects aren't lost."""
    return terms.allow_new_contract or name in terms.classes.dropped


def _boxes(detector: Detector, image: Image, context: GateContext) -> list[Box]:
    found = detector.detect(image, context.terms.confidence, context.terms.iou).boxes
    return [(x1, y1, x2, y2, score, int(index)) for x1, y1, x2, y2, score, index in found.tolist()]


def _check_enough(frames: int, limits: ReplayLimits) -> None:
    """Raises UnavailableError: time brings more."""
    if frames < limits.min_frames:
        raise UnavailableError(
            f"gate {NAME}",
            f"{frames} recent frames are too few to tell, {limits.min_frames:g} are needed",
            "wait until the cameras have sent more, or lower gates.replay.min_frames",
        )


def _applies(context: GateContext) -> bool:
    """Not to a version that may have other classes, and has only such: there is nothing to compare."""
    terms = context.terms
    serving = terms.active_contract.names if terms.active_contract else ()
    is_comparable = not {*serving}.isdisjoint(context.version.contract.names) or not terms.allow_new_contract
    return bool(terms.replay) and context.active is not None and is_comparable


def _inputs(terms: GateTerms) -> object:
    """Nothing where it doesn't apply; the frames change all the time, and are no part of it."""
    if not terms.replay:
        return None
    folders, limits = list(map(str, terms.replay)), dict(terms.limits.get(NAME, {}))
    return [folders, limits, terms.confidence, terms.iou, terms.active_digest]


GATE = Gate(NAME, _run, applies=_applies, inputs=_inputs)
