# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rules of a pipeline: what in its results is to raise an alarm, in which words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from edgeagent.core.alarms.alarm import Condition, Figures, Severity
from edgeagent.core.boxes import centre
from edgeagent.core.regions import Region
from edgeagent.core.text import clean

Box = tuple[float, float, float, float, float, float]
"""x1, y1, x2, y2 in pixels of the frame, confidence, class id."""
When = Literal["present", "count", "absent"]
_A_FEW = 5
"""Names that a text lists."""
_MAX_WORD = 60


@dataclass(frozen=True)
class Clip:
    """What is kept of an alarm: so many seconds before and after it was raised, so many pictures a second."""

    before_s: float = 5.0
    after_s: float = 5.0
    fps: float = 5.0


@dataclass(frozen=True)
class Confirmed:
    """On how many frames (at_least) of how many (of) something must be seen, until it counts as seen."""

    at_least: int = 1
    of: int = 1


@dataclass(frozen=True)
class Rule:
    """present: `objects` of them are seen at a time. count: so many objects, each once, came within `within_s` seconds.
    absent: none was seen for `absent_s` seconds in which frames came.

    classes: names, () for any. confidence: below it a box doesn't count. region: in which the middle of a box must lie,
    None: anywhere. min_size: share of the picture that a box must cover. confirmed: frames on which it is seen; of
    `count`: on how many an object must be seen to count. on_delay_s, off_delay_s: how long it must hold, or not hold,
    until the alarm is raised, or clears, in frames that come; cool_down_s: if it comes again so soon after it cleared,
    it is the same alarm. text, todo: "" for words that are made of the rule. clip: None to keep no pictures.
    """

    name: str
    when: When = "present"
    classes: tuple[str, ...] = ()
    confidence: float = 0.0
    region: Region | None = None
    min_size: float = 0.0
    confirmed: Confirmed = Confirmed()
    objects: int = 1
    within_s: float = 60.0
    absent_s: float = 30.0
    on_delay_s: float = 0.0
    off_delay_s: float = 2.0
    cool_down_s: float = 60.0
    severity: Severity = "warning"
    text: str = ""
    todo: str = ""
    clip: Clip | None = None


@dataclass(frozen=True)
class FrameSeen:
    """What was found on a frame. names: of the classes by their ids; width, height: pixels; mono: when it was captured,
    monotonic seconds."""

    boxes: Sequence[Box]
    names: tuple[str, ...]
    width: int
    height: int
    mono: float
    version: str = ""


def class_ids(rule: Rule, names: Sequence[str]) -> frozenset[int] | None:
    """The ids of the classes that the rule is about; None: all."""
    return frozenset(i for i, name in enumerate(names) if name in rule.classes) if rule.classes else None


def meets(rule: Rule, box: Box, ids: Collection[int] | None, frame: FrameSeen) -> bool:
    """Whether the rule is about this box, wherever it lies."""
    if box[4] < rule.confidence or (ids is not None and int(box[5]) not in ids):
        return False
    if not rule.min_size:
        return True
    area = max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
    return area >= rule.min_size * frame.width * frame.height


def is_inside(rule: Rule, at: tuple[float, float], width: int, height: int) -> bool:
    """Whether a point of the picture, in pixels, lies in the rule's region."""
    if rule.region is None:
        return True
    return width > 0 and height > 0 and rule.region.contains(at[0] / width, at[1] / height)


def found(rule: Rule, ids: Collection[int] | None, frame: FrameSeen) -> list[Box]:
    """The boxes of a frame that the rule is about."""
    boxes = (box for box in frame.boxes if meets(rule, box, ids, frame))
    return [box for box in boxes if is_inside(rule, centre(box), frame.width, frame.height)]


def missing_classes(rule: Rule, known: Collection[str]) -> tuple[str, ...]:
    """The classes of a rule that a version doesn't have."""
    return tuple(name for name in rule.classes if name not in known)


def unusable(rule: Rule, known: Sequence[str], version: str) -> str:
    """Why a rule can't be judged by the results of this version, in words; "" where it can. known: its classes."""
    missing = missing_classes(rule, known)
    if not missing:
        return ""
    has = listed(known) if known else "no classes"
    return f"{version} has no class {listed(missing)}; it has {has}"


def condition(rule: Rule, pipeline: str, model: str, names: Sequence[str], figures: Figures) -> Condition:
    """What is wrong, for the rule's alarm. names: of the classes that were found, () for those of the rule."""
    classes = names or rule.classes
    what = listed(classes) or "anything"
    match rule.when:
        case "present":
            text = f"{pipeline}: {what} seen"
            todo = f"look at {pipeline}"
        case "count":
            text = (
                f"{pipeline}: {figures.get('objects', rule.objects)} times {what} within {rule.within_s:g} s"
            )
            todo = f"look at {pipeline}"
        case _:
            text = f"{pipeline}: no {what} for {rule.absent_s:g} s"
            todo = f"see whether {pipeline} runs, and whether its camera still looks at it"
    return Condition(
        rule.name,
        rule.when,
        rule.severity,
        rule.text or text,
        rule.todo or todo,
        pipeline,
        model,
        {**_named(classes), **figures},
        own_text=bool(rule.text),
        own_todo=bool(rule.todo),
    )


def figures_of(rule: Rule) -> Figures:
    """What a rule is about, as figures: its sentence can be made of them."""
    figures: dict[str, float | str] = {**_named(rule.classes), "objects": rule.objects}
    if rule.when != "present":
        figures["seconds"] = rule.within_s if rule.when == "count" else rule.absent_s
    elif rule.confirmed.of > 1:
        figures |= {"at_least": rule.confirmed.at_least, "of": rule.confirmed.of}
    if rule.region:
        figures["corners"] = len(rule.region.points)
    return figures


def _named(names: Sequence[str]) -> dict[str, str]:
    """The names of classes as a figure that needs no translation; none for any class."""
    return {"classes": _first(names) + (", …" if len(names) > _A_FEW else "")} if names else {}


def listed(names: Sequence[str]) -> str:
    """Names of classes as one reads them in a text, the first of them; each is cut, and printable."""
    return _first(names) + (f" and {len(names) - _A_FEW} more" if len(names) > _A_FEW else "")


def _first(names: Sequence[str]) -> str:
    return ", ".join(word(name) for name in names[:_A_FEW])


def word(name: str) -> str:
    """One name that came from outside, on one line, without what a terminal would take for a command."""
    return clean("".join(c if c.isprintable() else " " for c in name[: 4 * _MAX_WORD]).strip(), _MAX_WORD)
