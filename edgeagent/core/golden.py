# SPDX-License-Identifier: AGPL-3.0-or-later
"""Judging a version by labelled pictures, alone and beside the version that serves. Pure.

A line uses one confidence and one IoU, so that is where it is judged: which labelled objects are found, which boxes
show nothing. Mean average precision integrates over confidences that no line uses, and is there for information.

Compared are two versions on the same pictures, object by object: only those count that one finds and the other misses.
If both are equally good, each such object is as likely the one's as the other's: the exact sign test, which for found
and missed is McNemar's (Q. McNemar, Psychometrika 12, 1947). Several classes are several tests: each has its share of
the permitted error (Bonferroni).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from edgeagent.core.binomial import fewest_worse, sign_test, trials_to_see
from edgeagent.core.boxes import iou

POWER = 0.8
"""The probability with which a set shows the drop that it is to show."""


class Box(NamedTuple):
    """What a version found. x1, y1, x2, y2 in pixels; cls: by the names of the set, None: a class that it doesn't
    know."""

    x1: float
    y1: float
    x2: float
    y2: float
    score: float
    cls: int | None


@dataclass(frozen=True)
class GoldenObject:
    """A labelled object. cls: by the names of the set; box: x1, y1, x2, y2 in pixels; must: by which name it must be
    found, "" where it needn't."""

    cls: int
    box: tuple[float, float, float, float]
    must: str = ""


@dataclass(frozen=True)
class Sighting:
    """What a version made of one picture. overlaps, scores: of the box that found an object, by object, 0 where none
    did; extra: the classes of the boxes that found none."""

    overlaps: tuple[float, ...]
    scores: tuple[float, ...]
    extra: tuple[int, ...]


@dataclass(frozen=True)
class GoldenLimits:
    """The thresholds, each of which a directive may set by its name.

    min_recall: of each class, the share of its objects that must be found. max_false_boxes: boxes per picture that show
    nothing, at most. overlap: intersection over union from which a box has found an object.
    drop: which drop of a class's recall the set must be able to show: with fewer objects than that takes it isn't
    passed. p_value: of the sign test, shared by all classes, at which what serves counts as better; 0: not compared.
    min_lost: with fewer objects lost it never does. max_overlap_drop, max_score_drop: by how much the boxes of the
    objects that both find may be worse placed (IoU with the label) and less sure, on average. max_more_false: by how
    many more false boxes per picture than what serves, where the sign test over pictures shows that there are more.
    min_map50, min_map50_95: mean average precision, at IoU 0.5 and over 0.5 to 0.95, None: whatever it is.
    max_pictures: of a larger set a sample of so many is judged, always the same. max_seconds: for one set.
    """

    min_recall: float = 0.3
    max_false_boxes: float = 1.0
    overlap: float = 0.5
    drop: float = 0.5
    p_value: float = 0.05
    min_lost: float = 5
    max_overlap_drop: float = 0.1
    max_score_drop: float = 0.15
    max_more_false: float = 0.25
    min_map50: float | None = None
    min_map50_95: float | None = None
    max_pictures: float = 1000
    max_seconds: float = 900

    @classmethod
    def of(cls, values: Mapping[str, float]) -> GoldenLimits:
        """From the thresholds of a gate, by name; the default where there is none."""
        return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})

    @property
    def wants_precision(self) -> bool:
        """Whether mean average precision decides."""
        return self.min_map50 is not None or self.min_map50_95 is not None


@dataclass(frozen=True)
class ClassReport:
    """One class that the set shows. objects: labelled; found: of these; must: of these, must be found; false_boxes: of
    this class; lost, gained: objects that only what serves finds, and only the candidate."""

    name: str
    objects: int
    found: int
    must: int
    false_boxes: int
    lost: int
    gained: int

    @property
    def recall(self) -> float:
        """The share of its objects that was found."""
        return self.found / self.objects


@dataclass(frozen=True)
class Comparison:
    """Beside what serves.

    lost, gained: objects that only what serves finds, and only the candidate; both: that both find; overlap_drop,
    score_drop: by how much the candidate's boxes of these are worse placed, and less sure, on average. more_false:
    false boxes per picture more than what serves; worse, better: pictures with more of them, and with fewer.
    """

    lost: int
    gained: int
    both: int
    overlap_drop: float
    score_drop: float
    more_false: float
    worse: int
    better: int

    @property
    def p_value(self) -> float:
        """Of the sign test on the objects."""
        return sign_test(self.lost, self.gained)


@dataclass(frozen=True)
class GoldenReport:
    """What a version made of a set.

    pictures: that were judged, of `of`. classes: those that the set shows, the worst first; unseen: those that it has a
    name for, and doesn't show, for which there is no figure. missed: the objects that must be found and weren't, in
    words; must: how many must be found. precision: mean average precision by name, where it was asked for.
    """

    pictures: int
    of: int
    objects: int
    found: int
    false_boxes: int
    classes: tuple[ClassReport, ...]
    unseen: tuple[str, ...]
    must: int
    missed: tuple[str, ...]
    compared: Comparison | None
    precision: Mapping[str, float]

    @property
    def false_per_picture(self) -> float:
        """Boxes that show nothing that was labelled."""
        return self.false_boxes / self.pictures

    @property
    def tests(self) -> int:
        """How many sign tests are made: one for each class, and one for all together."""
        return max(1, len(self.classes) + (len(self.classes) > 1))


def look(
    objects: Sequence[GoldenObject], boxes: Sequence[Box], confidence: float, overlap: float
) -> Sighting:
    """Which objects the boxes above `confidence` find: the surest box first, each takes the object of its class that it
    overlaps most, if by `overlap` at least, and no other has taken. Boxes of classes that the set doesn't know say
    nothing."""
    overlaps, scores = [0.0] * len(objects), [0.0] * len(objects)
    extra = []
    for box in sorted(boxes, key=lambda box: -box.score):
        if box.cls is None or not box.score > confidence:
            continue
        place = (box.x1, box.y1, box.x2, box.y2)
        free = (i for i, o in enumerate(objects) if o.cls == box.cls and not overlaps[i])
        shares = {i: iou(place, objects[i].box) for i in free}
        best = max(shares, key=lambda i: shares[i], default=None)
        if best is not None and shares[best] >= overlap:
            overlaps[best], scores[best] = round(shares[best], 4), round(box.score, 4)
        else:
            extra.append(box.cls)
    return Sighting(tuple(overlaps), tuple(scores), tuple(extra))


def report(
    names: Sequence[str],
    pictures: Sequence[tuple[str, Sequence[GoldenObject]]],
    seen: Sequence[Sighting],
    active: Sequence[Sighting] | None = None,
    *,
    of: int = 0,
    precision: Mapping[str, float] | None = None,
) -> GoldenReport:
    """What a version made of the pictures (name, objects), and beside it what serves, None: nothing does.

    of: pictures of the set, where these are a sample. Raises ValueError without pictures, and when the sequences differ
    in length.
    """
    if not pictures:
        raise ValueError("no pictures")
    objects, found, must = Counter[int](), Counter[int](), Counter[int]()
    missed = []
    for (name, shown), sighting in zip(pictures, seen, strict=True):
        for o, overlap in zip(shown, sighting.overlaps, strict=True):
            objects[o.cls] += 1
            found[o.cls] += overlap > 0
            must[o.cls] += o.must != ""
            if o.must and not overlap:
                missed.append(f"{o.must} ({names[o.cls]} in {name})")
    extra = Counter(cls for sighting in seen for cls in sighting.extra)
    lost, gained = _discordant(pictures, seen, active or seen)
    classes = [
        ClassReport(names[c], objects[c], found[c], must[c], extra[c], lost[c], gained[c]) for c in objects
    ]
    return GoldenReport(
        pictures=len(pictures),
        of=of or len(pictures),
        objects=objects.total(),
        found=found.total(),
        false_boxes=extra.total(),
        classes=tuple(sorted(classes, key=lambda c: (c.recall, c.name))),
        unseen=tuple(name for c, name in enumerate(names) if c not in objects),
        must=must.total(),
        missed=tuple(missed),
        compared=_compared(seen, active) if active is not None else None,
        precision=precision or {},
    )


def _discordant(
    pictures: Sequence[tuple[str, Sequence[GoldenObject]]],
    seen: Sequence[Sighting],
    active: Sequence[Sighting],
) -> tuple[Counter[int], Counter[int]]:
    """By class: the objects that only what serves finds, and those that only the candidate finds."""
    lost, gained = Counter[int](), Counter[int]()
    for (_, shown), new, old in zip(pictures, seen, active, strict=True):
        for o, by_new, by_old in zip(shown, new.overlaps, old.overlaps, strict=True):
            lost[o.cls] += bool(by_old and not by_new)
            gained[o.cls] += bool(by_new and not by_old)
    return lost, gained


def _compared(seen: Sequence[Sighting], active: Sequence[Sighting]) -> Comparison:
    lost = gained = both = worse = better = more = 0
    overlap_drop = score_drop = 0.0
    for new, old in zip(seen, active, strict=True):
        for i, (by_new, by_old) in enumerate(zip(new.overlaps, old.overlaps, strict=True)):
            lost += bool(by_old and not by_new)
            gained += bool(by_new and not by_old)
            if by_new and by_old:
                both += 1
                overlap_drop += by_old - by_new
                score_drop += old.scores[i] - new.scores[i]
        further = len(new.extra) - len(old.extra)
        more += further
        worse += further > 0
        better += further < 0
    pairs = max(both, 1)
    return Comparison(
        lost, gained, both, overlap_drop / pairs, score_drop / pairs, more / len(seen), worse, better
    )


# -- what speaks against a version -------------------------------------------------------------------


def reasons(found: GoldenReport, limits: GoldenLimits) -> tuple[str, ...]:
    """What speaks against the version, in words, with figures; none when it passes. A set that shows too little to tell
    speaks against it as well: what isn't proved isn't passed."""
    return (
        *(f"must be found, and isn't: {missing}" for missing in found.missed),
        *_recall_reasons(found, limits),
        *_false_reasons(found, limits),
        *(_comparison_reasons(found, found.compared, limits) if found.compared else ()),
        *_precision_reasons(found, limits),
        *_too_few_reasons(found, limits),
    )


def objects_needed(tests: int, limits: GoldenLimits) -> int:
    """How many objects of a class it takes to see a drop of its recall by `limits.drop`, with the probability POWER: so
    many that enough are lost."""
    return trials_to_see(_enough_lost(tests, limits), limits.drop, POWER)


def _enough_lost(tests: int, limits: GoldenLimits) -> int:
    """How many objects must be lost, and none gained, until that speaks against a version."""
    least = max(1, round(limits.min_lost))
    return max(least, fewest_worse(limits.p_value / tests)) if limits.p_value else least


def _recall_reasons(found: GoldenReport, limits: GoldenLimits) -> Iterator[str]:
    for c in found.classes:
        if c.recall < limits.min_recall:
            yield (
                f"class {c.name!r}: {c.found} of {c.objects} objects found, recall {c.recall:.3g} is below min_recall"
                f" {limits.min_recall:g}"
            )


def _false_reasons(found: GoldenReport, limits: GoldenLimits) -> Iterator[str]:
    if found.false_per_picture > limits.max_false_boxes:
        yield (
            f"{found.false_boxes} false boxes on {found.pictures} pictures, {found.false_per_picture:.3g} per picture"
            f" is above max_false_boxes {limits.max_false_boxes:g}"
        )


def _comparison_reasons(found: GoldenReport, beside: Comparison, limits: GoldenLimits) -> Iterator[str]:
    if not limits.p_value:
        return
    allowed = limits.p_value / found.tests

    def is_worse(worse: int, better: int) -> bool:
        return worse >= limits.min_lost and sign_test(worse, better) <= allowed

    for c in found.classes:
        if is_worse(c.lost, c.gained):
            yield (
                f"class {c.name!r}: {c.lost} of {c.objects} objects lost that the active version finds, {c.gained}"
                f" gained (p = {sign_test(c.lost, c.gained):.2g}, limit {allowed:.2g})"
            )
    if len(found.classes) > 1 and is_worse(beside.lost, beside.gained):
        yield (
            f"{beside.lost} of {found.objects} objects lost that the active version finds, {beside.gained} gained"
            f" (p = {beside.p_value:.2g}, limit {allowed:.2g})"
        )
    if beside.both >= _enough_lost(found.tests, limits):
        if beside.overlap_drop > limits.max_overlap_drop:
            yield (
                f"boxes lie worse than those of the active version: IoU with the labels is {beside.overlap_drop:.2f}"
                f" lower over {beside.both} objects, above max_overlap_drop {limits.max_overlap_drop:g}"
            )
        if beside.score_drop > limits.max_score_drop:
            yield (
                f"scores are {beside.score_drop:.2f} lower than those of the active version over {beside.both}"
                f" objects, above max_score_drop {limits.max_score_drop:g}"
            )
    # A test of its own kind, over pictures: its share of the permitted error is the whole.
    worse, better = beside.worse, beside.better
    if beside.more_false > limits.max_more_false and sign_test(worse, better) <= limits.p_value:
        yield (
            f"{beside.more_false:.2f} false boxes per picture more than the active version (more on {worse} pictures,"
            f" fewer on {better}), above max_more_false {limits.max_more_false:g}"
        )


def _precision_reasons(found: GoldenReport, limits: GoldenLimits) -> Iterator[str]:
    for name, least in (("map50", limits.min_map50), ("map50_95", limits.min_map50_95)):
        if least is not None and found.precision.get(name, 0.0) < least:
            yield f"{name} {found.precision.get(name, 0.0):.3f} is below min_{name} {least:g}"


def _too_few_reasons(found: GoldenReport, limits: GoldenLimits) -> Iterator[str]:
    needed = objects_needed(found.tests, limits)
    if not found.objects:
        yield f"no picture shows an object, {needed} of each class are needed; label some"
    for c in found.classes:
        if c.objects < needed and c.must < c.objects:
            yield (
                f"class {c.name!r}: too few objects to tell, {c.objects}: {needed} are needed to see a drop of recall"
                f" by {limits.drop:g}; add labelled pictures, name each of its objects in must_find.yaml, or set"
                " golden.drop higher"
            )
