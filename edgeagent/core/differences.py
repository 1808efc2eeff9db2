# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether what two versions find differs, from objects that were judged one by one: counts, and the evidence in them.

One e-process is made of all that is looked at: kinds of difference, classes, and beginnings. Each part is an e-process
of its own (`core.evidence`) for a hypothesis that holds when both versions are equally good, and their mean with
weights that were fixed before is one, too. So `alpha` bounds the chance that an equal version is ever taken for a worse
one, over all parts and all looks together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from math import inf, log

from edgeagent.core.evidence import log_evidence, log_mean


@dataclass(frozen=True)
class PairLimits:
    """From when on two versions that see the same frames differ too much.

    alpha: chance that a version which is as good as the other is ever taken for worse. min_iou: from which overlap on
    two boxes of a class are the same object; moved_iou: below which mean overlap an object is seen in another place.
    found_share: a version that finds an object on no more than this share of the frames on which the other does has
    lost it. score_share: below this share of the other's mean score an object is seen weakly. least_frames: an object
    that was seen on fewer is left out; judge_frames: it is judged after so many, or when it is gone.

    Shares of the objects that the incumbent found. least_loss: fewer lost on balance are no reason; lost, moved,
    renamed, weaker: of how many that may be so; missed: how many it may never have seen that the incumbent saw all the
    time; lost_anyway: how many may be lost however many are gained. agreement: how surely (chance of error) more are
    lost than gained, before `lost` counts.

    Limits without statistics. flood_boxes, flood_times: a frame on which the candidate has more boxes than the one
    plus the other times the incumbent's is flooded; more than half of `window` frames are too many. blind_frames: in a
    row, on which the incumbent found something and the candidate nothing. unanswered: the share of the last `window`
    frames on which the candidate may give no answer.
    """

    alpha: float = 0.001
    min_iou: float = 0.5
    moved_iou: float = 0.6
    found_share: float = 0.6
    score_share: float = 0.75
    least_frames: int = 3
    judge_frames: int = 20
    least_loss: float = 0.02
    lost: float = 0.04
    missed: float = 0.005
    lost_anyway: float = 0.3
    moved: float = 0.25
    renamed: float = 0.1
    weaker: float = 0.25
    agreement: float = 0.1
    flood_boxes: int = 8
    flood_times: float = 3.0
    blind_frames: int = 100
    window: int = 50
    unanswered: float = 0.2


@dataclass(frozen=True, slots=True)
class Counts:
    """Objects, each counted once. agreed: found by both, in one place and under one name; lost: by the incumbent only;
    gained: by the candidate only; moved, renamed: by both, but elsewhere, as another class. weaker, stronger: of those
    found by both, with a much lower, a much higher score. missed: of those lost, the ones that the incumbent saw all
    the time, and the candidate never."""

    agreed: int = 0
    lost: int = 0
    gained: int = 0
    moved: int = 0
    renamed: int = 0
    weaker: int = 0
    stronger: int = 0
    missed: int = 0

    @property
    def shared(self) -> int:
        """Found by both."""
        return self.agreed + self.moved + self.renamed

    @property
    def found(self) -> int:
        """Found by the incumbent."""
        return self.shared + self.lost

    @property
    def objects(self) -> int:
        """All."""
        return self.found + self.gained

    def plus(self, outcome: str, *also: str) -> Counts:
        """With one more object."""
        return replace(self, **{name: getattr(self, name) + 1 for name in (outcome, *also)})

    def minus(self, other: Counts) -> Counts:
        """What came after `other`."""
        return Counts(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(Counts)))


@dataclass(frozen=True)
class _Kind:
    """One kind of difference.

    weight: in the mean; hits, misses: what is counted; most: the probability of a hit that is no reason; applies: what
    must hold beside the evidence, of which the last argument is the chance of error that may be; text: what is said.
    """

    weight: float
    hits: Callable[[Counts], int]
    misses: Callable[[Counts], int]
    most: Callable[[PairLimits], float]
    text: str
    applies: Callable[[Counts, PairLimits, float], bool] = lambda counts, limits, error: True


def _loses_on_balance(counts: Counts, least: float) -> bool:
    return counts.lost - counts.gained >= least * counts.found


def _surely_loses(counts: Counts, limits: PairLimits, error: float) -> bool:
    more_lost = log_evidence(counts.lost, counts.gained, 0.5) >= -log(error)
    return more_lost and _loses_on_balance(counts, limits.lost)


_MISSED_ERROR = 2.5
"""Times the chance of error that `agreement` allows: what was seen all the time by one and never by the other says more
than what both see now and then."""


def _surely_misses(counts: Counts, limits: PairLimits, error: float) -> bool:
    """Equal versions that miss objects altogether, each now and then others, are not told apart by the first three."""
    error *= _MISSED_ERROR if error == limits.agreement else 1
    more_missed = log_evidence(counts.missed, counts.gained, 0.5) >= -log(error)
    return more_missed and _loses_on_balance(counts, limits.lost)


_LOST = "lost {hits} of {found} {what} and found {gained} others"
_KINDS = (
    # Small and sure: of the objects that only one of the two found, too many are the incumbent's.
    _Kind(
        0.15,
        lambda c: c.lost,
        lambda c: c.gained,
        lambda limits: 0.5,
        _LOST,
        lambda c, limits, error: _loses_on_balance(c, limits.least_loss),
    ),
    # Large and soon: more are lost than happens between equal versions, and more than are gained.
    _Kind(0.25, lambda c: c.lost, lambda c: c.shared, lambda limits: limits.lost, _LOST, _surely_loses),
    # Few and certain: what one sees all the time, and the other never, doesn't come of chance.
    _Kind(
        0.2,
        lambda c: c.missed,
        lambda c: c.found - c.missed,
        lambda limits: limits.missed,
        "never saw {hits} of {found} {what} that were seen all the time, and found {gained} others",
        lambda c, limits, error: _surely_misses(c, limits, error),
    ),
    # Something else altogether: what it finds instead doesn't make up for it.
    _Kind(0.1, lambda c: c.lost, lambda c: c.shared, lambda limits: limits.lost_anyway, _LOST),
    _Kind(
        0.1,
        lambda c: c.moved,
        lambda c: c.agreed,
        lambda limits: limits.moved,
        "has {hits} of {shared} {what} in another place",
    ),
    _Kind(
        0.1,
        lambda c: c.renamed,
        lambda c: c.agreed + c.moved,
        lambda limits: limits.renamed,
        "calls {hits} of {shared} {what} something else",
    ),
    _Kind(
        0.1,
        lambda c: c.weaker,
        lambda c: c.shared - c.weaker,
        lambda limits: limits.weaker,
        "is much less sure of {hits} of {shared} {what}",
    ),
)
_LEAST_HITS = 3
"""Fewer are no evidence; a part that is left out of the mean makes it smaller only."""

_BEGINNING_EVERY = 50
"""Objects after which there is a further beginning: what fails later isn't made up for by what went well before."""
_MOST_BEGINNINGS = 16
_FIRST_WEIGHT = 0.8
_LATER_ERROR = 0.1
"""Of the chance of error that `agreement` allows: there are many later beginnings, and each is a further try."""


@dataclass(frozen=True)
class _Beginning:
    """From where on is counted. weight: in the mean; classes: the counts until then, by class; frames: seen by then."""

    weight: float
    classes: dict[int, Counts]
    frames: int


@dataclass(frozen=True)
class Finding:
    """The evidence, as a natural logarithm; and what says most of it, "" when nothing does."""

    log_evidence: float = -inf
    text: str = ""


class Differences:
    """Counts by class, and what they say. classes: how many the incumbent has; names: of them."""

    def __init__(self, limits: PairLimits, names: Sequence[str]) -> None:
        self.classes: dict[int, Counts] = {}
        self._limits = limits
        self._names = names
        self._beginnings = [_Beginning(_FIRST_WEIGHT, {}, 0)]
        self._begun = 1
        self._objects = 0

    def add(self, cls: int, outcome: str, *also: str, frames: int) -> None:
        """One more object was judged; frames: pairs that were seen until now."""
        self.classes[cls] = self.classes.get(cls, Counts()).plus(outcome, *also)
        self._objects += 1
        if self._objects % _BEGINNING_EVERY == 0:
            self._begin(frames)

    def finding(self, frames: int) -> Finding:
        """What they say by now, after so many pairs."""
        terms = list(self._terms(frames))
        if not terms:
            return Finding()
        _, _, text = max(terms, key=lambda term: log(term[0]) + term[1])
        return Finding(log_mean((weight, value) for weight, value, _ in terms), text())

    def _terms(self, frames: int) -> Iterator[tuple[float, float, Callable[[], str]]]:
        """weight, logarithm of the evidence, what to say of it."""
        share = 1 / (max(len(self._names), len(self.classes)) + 1)
        for beginning in self._beginnings:
            error = self._limits.agreement * (1 if beginning.weight == _FIRST_WEIGHT else _LATER_ERROR)
            since = {c: n.minus(beginning.classes.get(c, Counts())) for c, n in self.classes.items()}
            groups = [(self.name(cls), counts) for cls, counts in since.items()]
            for what, counts in [("objects", total(since.values())), *groups]:
                for kind in _KINDS:
                    hits, misses, most = kind.hits(counts), kind.misses(counts), kind.most(self._limits)
                    if hits < _LEAST_HITS or hits <= most * (hits + misses):
                        continue
                    if kind.applies(counts, self._limits, error):
                        evidence = log_evidence(hits, misses, most)
                        text = partial(_text, kind, what, counts, frames - beginning.frames)
                        yield beginning.weight * kind.weight * share, evidence, text

    def name(self, cls: int) -> str:
        """Of a class."""
        return self._names[cls] if cls < len(self._names) else f"class {cls}"

    def _begin(self, frames: int) -> None:
        if len(self._beginnings) == _MOST_BEGINNINGS:
            # What is left out has its weight lost, which makes the mean smaller only.
            self._beginnings = [self._beginnings[0], *self._beginnings[2::2]]
        weight = (1 - _FIRST_WEIGHT) / (self._begun * (self._begun + 1))
        self._begun += 1
        self._beginnings.append(_Beginning(weight, dict(self.classes), frames))


def total(counts: Iterable[Counts]) -> Counts:
    """The sum of several."""
    parts = list(counts)
    return Counts(*(sum(getattr(one, f.name) for one in parts) for f in fields(Counts)))


def _text(kind: _Kind, what: str, counts: Counts, frames: int) -> str:
    said = kind.text.format(
        hits=kind.hits(counts), what=what, found=counts.found, shared=counts.shared, gained=counts.gained
    )
    return f"{said}, on {frames} frames that both saw"
