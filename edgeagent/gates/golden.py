# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gate `golden`: a candidate must find on labelled pictures what it should, and what the version that serves finds.

Two sets can judge: the one that was published with the version, by who made it, and the one that lies on the node, of
the pictures of this site. Both must pass, on the same thresholds: those of this node, or of the directive. `edgeagent
evaluate` measures with the same code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.core.gating import Figure, GateResult, GateTerms
from edgeagent.core.golden import (
    Box,
    GoldenLimits,
    GoldenObject,
    GoldenReport,
    Sighting,
    look,
    reasons,
    report,
)
from edgeagent.core.golden_figures import figures_of, limits_of
from edgeagent.datasets.labelled import LabelledPicture, LabelledSet, check_names, read_set
from edgeagent.datasets.layout import Layout, layout_of, published_layout
from edgeagent.errors import MissingExtraError, UnavailableError, UsageError, WeightsError
from edgeagent.gates import precision
from edgeagent.gates.golden_memory import load_sightings, store_sightings
from edgeagent.gates.port import ActiveVersion, Gate, GateContext

if TYPE_CHECKING:
    from edgeagent.runtimes.detection.detector import Detector
    from edgeagent.runtimes.port import Image

NAME = "golden"
_TOLD_EVERY_S = 0.5
_MAX_REASONS = 20
_ENOUGH_PICTURES, _ENOUGH_S = 20, 10.0
"""After so many, and so long, it is clear how long all will take."""


@dataclass(frozen=True)
class Question:
    """A set, and how it is to judge. confidence, iou: the pipelines' own. ignored: classes that needn't be known."""

    found: LabelledSet
    limits: GoldenLimits
    confidence: float
    iou: float
    ignored: tuple[str, ...] = ()


def measure(
    question: Question,
    candidate: Detector,
    active: ActiveVersion | None,
    on_progress: Callable[[int, int], None],
    folder: Path | None = None,
) -> GoldenReport:
    """What the candidate makes of the pictures, and beside it what serves; the latter is measured once and kept in
    `folder`.

    Raises UsageError (a picture that can't be opened, classes that the candidate doesn't know, too slow), WeightsError
    (numbers that are none, or what serves can't be loaded), MissingExtraError.
    """
    found, limits = question.found, question.limits
    own = _Eyes("the version", candidate, found.names)
    check_names(found, (*own.names, *question.ignored), "the version")
    key = _key(question, own.names, active) if active else ""
    before = load_sightings(folder, key) if folder and active else None
    other = _open_active(active, found.names) if active and before is None else None
    wants_all = precision.is_installed()
    if limits.wants_precision and not wants_all:
        raise precision.missing_extra()
    lowest = min(precision.LOWEST, question.confidence) if wants_all else question.confidence
    pictures: list[tuple[str, Sequence[GoldenObject]]] = []
    seen, by_active, every = list[Sighting](), list[Sighting](), list[Sequence[Box]]()
    pace = _Pace(len(found.pictures), limits.max_seconds, found.layout.where, on_progress)
    for picture, image in _opened(found.pictures):
        pace.step()
        objects = _objects(picture, image, found.names, own.names)
        boxes = own.look(picture, image, lowest, question.iou)
        pictures.append((picture.picture.name, objects))
        every.append(boxes)
        seen.append(look(objects, boxes, question.confidence, limits.overlap))
        if other:
            boxes = other.look(picture, image, question.confidence, question.iou)
            by_active.append(look(objects, boxes, question.confidence, limits.overlap))
    on_progress(len(pictures), len(pictures))
    if other and folder:
        store_sightings(folder, key, by_active)
    shown = [objects for _, objects in pictures]
    return report(
        found.names,
        pictures,
        seen,
        (before or by_active) if active else None,
        of=found.of,
        precision=precision.mean_average_precision(shown, every) if wants_all else {},
    )


def _key(question: Question, known: Sequence[str], active: ActiveVersion) -> str:
    """Under which is kept what the active version finds: all that this hangs on."""
    found = question.found
    passed_over = [name for name in found.shown if name not in known]
    how = [len(found.pictures), question.confidence, question.iou, question.limits.overlap, passed_over]
    return f"{active.key} {found.layout.digest} {how}"


class _Eyes:
    """A version, whose classes are those of a set, by name. whose: for messages."""

    def __init__(self, whose: str, detector: Detector, names: Sequence[str]) -> None:
        self._whose = whose
        self.names = detector.runtime.metadata.contract.names
        self._detector = detector
        self._classes = [names.index(name) if name in names else None for name in self.names]

    def look(self, picture: LabelledPicture, image: Image, confidence: float, iou: float) -> list[Box]:
        """What it finds. Raises WeightsError, which names the picture."""
        try:
            found = self._detector.detect(image, confidence, iou).boxes.tolist()
        except WeightsError as e:
            raise WeightsError(f"{self._whose}, on {picture.picture.name}", str(e)) from e
        return [Box(x1, y1, x2, y2, score, self._classes[int(cls)]) for x1, y1, x2, y2, score, cls in found]


def _open_active(active: ActiveVersion, names: Sequence[str]) -> _Eyes:
    try:
        return _Eyes("the active version", active.detector, names)
    except WeightsError as e:
        todo = "set the threshold golden.p_value to 0, and it isn't compared"
        raise WeightsError("the active version", f"can't be measured beside it: {e}", todo) from e


def _opened(pictures: Sequence[LabelledPicture]) -> Iterator[tuple[LabelledPicture, Image]]:
    from edgeagent.datasets.pictures import read_picture

    for picture in pictures:
        yield picture, read_picture(picture.picture.path)


def _objects(
    picture: LabelledPicture, image: Image, names: Sequence[str], known: Sequence[str]
) -> list[GoldenObject]:
    """In pixels; without those of classes that the version needn't know."""
    height, width = image.shape[:2]
    return [
        GoldenObject(label.cls, label.box(width, height), picture.must.get(i, ""))
        for i, label in enumerate(picture.labels)
        if names[label.cls] in known
    ]


class _Pace:
    """How long it takes: told now and then, and bounded."""

    def __init__(
        self, total: int, most_s: float, where: str, on_progress: Callable[[int, int], None]
    ) -> None:
        self._total, self._most_s, self._where, self._on_progress = total, most_s, where, on_progress
        self._begun = self._told = time.monotonic()
        self._done = 0
        on_progress(0, total)

    def step(self) -> None:
        """Before the next picture. Raises UsageError when all take too long."""
        now = time.monotonic()
        if now - self._told >= _TOLD_EVERY_S:
            self._told = now
            self._on_progress(self._done, self._total)
        passed = now - self._begun
        sure = self._done >= _ENOUGH_PICTURES and passed >= _ENOUGH_S
        likely = passed / max(self._done, 1) * self._total if sure else passed
        if likely > self._most_s:
            fitting = int(self._done / passed * self._most_s)
            raise UsageError(
                f"golden set {self._where}",
                f"{self._done} of {self._total} pictures took {passed:.0f} s here, max_seconds is {self._most_s:g}",
                f"set golden.max_pictures to {fitting} or less, or max_seconds higher",
            )
        self._done += 1


# -- the gate ----------------------------------------------------------------------------------------


def _run(context: GateContext) -> GateResult:
    limits = GoldenLimits.of(context.terms.limits.get(NAME, {}))
    against: list[str] = []
    figures: dict[str, Figure] = {}
    held: dict[str, Figure] = {}
    try:
        sets = list(_sets(context))
    except UsageError as e:
        return GateResult.judged(NAME, [str(e)])
    for whose, site, layout in sets:
        prefix, where = ("site.", "on this site's pictures: ") if site else ("", "")
        try:
            found = measure(
                _question(context, layout, whose, limits),
                context.detector,
                context.active if limits.p_value else None,
                context.on_progress,
                context.folder,
            )
        except (UsageError, MissingExtraError, WeightsError) as e:
            against.append(f"{where}{e}")
            continue
        against += [f"{where}{why}" for why in reasons(found, limits)]
        figures |= {prefix + name: value for name, value in figures_of(found, layout.digest).items()}
        held |= {prefix + name: value for name, value in limits_of(found, limits).items()}
    if not sets:
        against.append(
            "the directive asks for it, and there is no golden set: publish the version with --golden, or name a set of"
            " this site in update.golden"
        )
    return GateResult.judged(NAME, shortened(against), figures, held)


def shortened(why: Sequence[str]) -> list[str]:
    """The first of them, and how many more there are."""
    more = len(why) - _MAX_REASONS
    return [*why] if more <= 0 else [*why[:_MAX_REASONS], f"and {more} more"]


def _question(context: GateContext, layout: Layout, whose: Sequence[str], limits: GoldenLimits) -> Question:
    found = read_set(layout, whose, most=int(limits.max_pictures))
    terms = context.terms
    return Question(found, limits, terms.confidence, terms.iou, terms.classes.dropped)


def _sets(context: GateContext) -> Iterator[tuple[Sequence[str], bool, Layout]]:
    """Names of the classes where the set names none, whether it is this site's, and the set.

    Raises UnavailableError when this site's isn't there now, or changes under our hands; UsageError."""
    version, terms = context.version, context.terms
    if own := published_layout(context.golden, f"{version.model}/{version.version}"):
        yield version.contract.names, False, own
    if terms.golden is None:
        return
    if not terms.golden.exists():
        todo = "is its disk mounted? It is tried again later"
        raise UnavailableError(f"update.golden {terms.golden}", "is not there", todo)
    layout = layout_of(terms.golden)
    if terms.golden_digest and layout.digest != terms.golden_digest:
        todo = "it is tried again later"
        raise UnavailableError(
            f"update.golden {terms.golden}", "changed while the version was prepared", todo
        )
    names = terms.names_in_force or (terms.active_contract or version.contract).names
    yield names, True, layout


def digest_of(golden: Path | None) -> str:
    """What tells the set of this site as it is now; "" where there is none, or it can't be read: the gate says why."""
    try:
        return layout_of(golden).digest if golden else ""
    except UsageError:
        return ""


def _applies(context: GateContext) -> bool:
    return "data.yaml" in context.golden or context.terms.golden is not None or NAME in context.terms.asked


def _inputs(terms: GateTerms) -> object:
    limits: Mapping[str, float] = terms.limits.get(NAME, {})
    site = [str(terms.golden or ""), terms.golden_digest]
    return [dict(limits), terms.confidence, terms.iou, site, terms.active_digest]


GATE = Gate(NAME, _run, applies=_applies, inputs=_inputs)
