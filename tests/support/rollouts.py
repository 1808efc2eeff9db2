# SPDX-License-Identifier: AGPL-3.0-or-later
"""A roll-out with its fleet and its coordinator, for tests that say what the nodes do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from edgeagent.core.fleet_report import Phase, Report
from edgeagent.core.rollout import Limits, Plan, Rollout, Status, is_in
from edgeagent.core.rollout_steps import Watch, decide
from edgeagent.core.rollout_view import Fleet, Member

CURRENT = "41"
"""The revision of `current` on which the roll-outs here are planned."""


def a_rollout(**given: Any) -> Rollout:
    """From v1 to v2, in waves of 1, half and all; `given`: fields of the roll-out, its plan or its limits."""
    given = {"version": "v2", "came_from": "v1", "based_on": CURRENT, "salt": "s", "id": "r1"} | given
    given.setdefault("waves", ("1", "50%", "100%"))
    parts = {part: {f.name for f in fields(part)} for part in (Plan, Limits)}
    taken = {part: part(**{n: v for n, v in given.items() if n in names}) for part, names in parts.items()}
    rest = {n: v for n, v in given.items() if not any(n in names for names in parts.values())}
    return Rollout(plan=taken[Plan], limits=taken[Limits], **rest)  # type: ignore[arg-type]


def node(n: int) -> str:
    """Its name."""
    return f"node-{n}"


class Led:
    """A roll-out that one coordinator leads, from look to look; nodes do what the test says, none by itself.

    Nodes are there, serve v1 and have nothing to do with any roll-out at first.
    """

    def __init__(self, rollout: Rollout, nodes: int | Iterable[str] = 10) -> None:
        names = [node(n) for n in range(nodes)] if isinstance(nodes, int) else nodes
        self.rollout = rollout
        self.members = {name: Member(True, Report(version="v1")) for name in names}
        self.current = CURRENT
        self.watch = Watch()
        self.now = 1000.0

    @property
    def fleet(self) -> Fleet:
        """As it is now."""
        return Fleet(dict(self.members), self.current)

    @property
    def inside(self) -> list[str]:
        """The nodes of the open waves."""
        return [n for n, m in self.members.items() if is_in(self.rollout, n, m.report.labels)]

    def look(self, seconds: float = 1.0) -> Status:
        """The coordinator looks after so many seconds, and writes what it decides."""
        self.now += seconds
        step = decide(self.rollout, self.fleet, self.watch, self.now)
        self.watch = step.watch
        if step.rollout is not None:
            assert step.rollout != self.rollout, "a step to where it is already"
            self.rollout = step.rollout
        return self.rollout.status

    def tell(self, names: str | Iterable[str], phase: Phase, **report: Any) -> None:
        """Nodes report of this roll-out; with STABLE or SWAPPED they serve its version."""
        for name in [names] if isinstance(names, str) else list(names):
            member = self.members[name]
            if phase in (Phase.STABLE, Phase.SWAPPED):
                report.setdefault("version", self.rollout.plan.version)
            elif phase in (Phase.ROLLED_BACK, Phase.REFUSED):
                report.setdefault("version", "v1")
            told = replace(member.report, rollout=self.rollout.id, phase=phase, **report)
            self.members[name] = replace(member, report=told)

    def goes(self, *names: str) -> None:
        """Their presence vanishes."""
        self.members |= {name: replace(self.members[name], present=False) for name in names}

    def comes(self, *names: str) -> None:
        """They are there again, or for the first time."""
        new = Member(True, Report(version="v1"))
        self.members |= {name: replace(self.members.get(name, new), present=True) for name in names}

    def all_stable(self, **report: Any) -> None:
        """All nodes of the open waves that are there serve the version for good."""
        self.tell([n for n in self.inside if self.members[n].present], Phase.STABLE, **report)

    def to_wave(self, index: int) -> None:
        """All goes well until that wave is open and was seen; none of its nodes has begun."""
        for _ in range(4 * (index + 1)):
            if self.rollout.wave == index:
                self.look(0.0)
                return
            self.all_stable(frames=10**6, objects=10**6)
            if self.rollout.why:  # it waits for somebody
                self.rollout = replace(self.rollout, advance=True)
            self.look(self.rollout.limits.bake_seconds + 1)
        raise AssertionError(f"it doesn't come to wave {index}: {self.rollout}")
