# SPDX-License-Identifier: AGPL-3.0-or-later
"""The class contract: which number each class has in the records, whatever order a version has its classes in.

Programs behind a line rely on class ids. The contract in force gives each class name its id: the place of the name in
`names`. A version whose classes stand in another order is mapped by name; a class that comes gets the next id; one that
goes keeps its place, so that its id never means another class while this contract is in force.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgeagent.core.gating import ClassTerms, GateTerms

Names = tuple[str, ...]
"""Class names, by class id."""

MAX_MAPPED_BYTES = 160 * 1024
"""Of all the names that a mapping takes, as JSON in ASCII: with them a message to a worker still fits a datagram."""

_A_FEW = 8  # names that a reason lists


@dataclass(frozen=True)
class ClassMap:
    """names: of the classes, by the id that they have in the records; ids: the id of each class of the version, in the
    version's own order."""

    names: Names = ()
    ids: tuple[int, ...] = ()

    @classmethod
    def of(cls, own: Names) -> ClassMap:
        """Ids are the version's own."""
        return cls(own, tuple(range(len(own))))

    @classmethod
    def onto(cls, names: Names, own: Names) -> ClassMap:
        """Each class of a version that has the classes `own` gets the id that its name has in `names`, a new one comes
        after those. Where a name stands several times, the first goes to the first, the second to the second."""
        free: defaultdict[str, deque[int]] = defaultdict(deque)
        for id, name in enumerate(names):
            free[name].append(id)
        ids, all_names = [], [*names]
        for name in own:
            if free[name]:
                ids.append(free[name].popleft())
            else:
                ids.append(len(all_names))
                all_names.append(name)
        return cls(tuple(all_names), tuple(ids))

    @cached_property
    def is_identity(self) -> bool:
        """Whether the version's own ids are those of the records."""
        return self.ids == tuple(range(len(self.ids)))

    def boxes(
        self, boxes: Iterable[tuple[float, float, float, float, float, float]]
    ) -> tuple[tuple[float, float, float, float, float, float], ...]:
        """Detections (x1, y1, x2, y2, confidence, class) of the version, with the class ids of the records.

        Raises ValueError when one has a class that the version doesn't have: an end-to-end network gives class ids as
        plain numbers, NaN included.
        """
        found, ids = tuple(boxes), self.ids
        classes = len(ids)
        if not all(0 <= box[5] < classes for box in found):
            raise ValueError("a detection has a class that the model doesn't have")
        if self.is_identity:
            return found
        return tuple((x1, y1, x2, y2, conf, ids[int(own)]) for x1, y1, x2, y2, conf, own in found)


def map_for(terms: GateTerms, own: Names) -> ClassMap:
    """How the classes of a version stand beside those of the active one, by name: for whoever compares the boxes of
    two versions. To be asked for both. While nothing serves, its own."""
    return ClassMap.onto(in_force(terms), own)


def in_force(terms: GateTerms) -> Names:
    """The contract that programs behind the line rely on; () while nothing serves."""
    return terms.names_in_force or (terms.active_contract.names if terms.active_contract else ())


def names_after(before: Names, own: Names, anew: bool) -> Names:
    """The contract once a version with the classes `own` serves. anew: the operator lets it begin with that version."""
    return own if anew else ClassMap.onto(before, own).names


def continues(names: Names, before: Names) -> bool:
    """Whether each id of the contract `before` still means the same in `names`."""
    return names[: len(before)] == before


def in_order(names: Names, own: Names) -> Names:
    """The classes `own` of a version, in the order of their ids under the contract `names`."""
    found = ClassMap.onto(names, own)
    return tuple(found.names[id] for id in sorted(found.ids))


def objections(terms: GateTerms, own: Names) -> list[str]:
    """What programs that rely on the contract in force would find changed with a version that has the classes `own`,
    unless the terms allow it; none when nothing serves. Names what to say in the directive."""
    if terms.active_contract is None or terms.allow_new_contract:
        return []
    serving, mode = terms.active_contract.names, terms.classes.mode
    ordered = in_order(in_force(terms), serving)
    if own in (ordered, serving):
        return []
    if mode == "same":
        one = "the active version" if ordered == serving else "the contract in force"
        return [difference(one, ordered, "the candidate", own) + _way_out(ordered, own)]
    if twice := sorted({name for name in own if own.count(name) > 1}):
        return [
            f"class names: the candidate has {_listed(twice)} more than once, and can't be mapped by name"
        ]
    reasons = _unexpected(terms.classes, serving, own)
    after = names_after(in_force(terms), own, anew=False)
    # The contract goes to a worker together with the names of two versions, and those of the directive.
    size = len(json.dumps([after, own, own, terms.classes.added, terms.classes.dropped]))
    if size > MAX_MAPPED_BYTES:
        reasons.append(f"class names: mapping them takes {size} bytes, more than {MAX_MAPPED_BYTES}")
    return reasons


def _unexpected(terms: ClassTerms, serving: Names, own: Names) -> list[str]:
    """Classes that came or went without the directive's saying so."""
    extends = terms.mode == "extend"
    may_come = terms.added if extends else ()
    may_go = terms.dropped if extends else ()
    came = [name for name in own if name not in {*serving, *may_come}]
    went = [name for name in serving if name not in {*own, *may_go}]
    reasons = []
    if came:
        todo = 'say "classes": "extend" and name them in add_classes'
        reasons.append(
            f"class names: the candidate has {_listed(came)}, which the active version lacks; {todo}"
        )
    if went:
        todo = 'say "classes": "extend" and name them in drop_classes'
        reasons.append(f"class names: the candidate lacks {_listed(went)}; {todo}")
    return reasons


def difference(one: str, a: Sequence[str], other: str, b: Sequence[str]) -> str:
    """Where two lists of class names, which aren't the same, differ first; `one` and `other` say whose they are."""
    if len(a) != len(b):
        return f"class names: {one} has {len(a)}, {other} {len(b)}"
    index = next(i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
    permuted = " (the same names in another order)" if sorted(a) == sorted(b) else ""
    return f"class names{permuted}: class {index} is {a[index]!r} in {one}, {b[index]!r} in {other}"


def _way_out(ordered: Names, own: Names) -> str:
    if sorted(ordered) == sorted(own):
        return ' ("classes": "remap" maps them by name)'
    return ' ("classes": "extend" lets those come and go that it names)'


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _A_FEW} more" if len(names) > _A_FEW else ""
    return ", ".join(repr(name) for name in names[:_A_FEW]) + more
