# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an update cost, in the records of its swap and of its end."""

from __future__ import annotations

from edgeagent.core.events import AppendAudit
from edgeagent.core.update_facts import UpdateFacts
from edgeagent.serving.frame_tally import FrameTally
from edgeagent.update.update_watch import UpdateWatch


class Line:
    """A line at ten frames a second, and a watch over its updates."""

    def __init__(self) -> None:
        self.now = 0.0
        self.memory = 100
        self.tally = FrameTally()
        self.watch = UpdateWatch(self.tally, lambda: self.memory, lambda: self.now)

    def runs(self, seconds: float) -> None:
        """Frames are served."""
        for _ in range(round(seconds * 10)):
            self.now = round(self.now + 0.1, 3)
            self.tally.result("line", self.now)

    def told(self, result: str, version: str = "v2", on_probation: bool = True, **more: str) -> AppendAudit:
        """A record of the model."""
        return self.watch.told(AppendAudit("update", result, to_version=version, **more), on_probation)


def facts(record: AppendAudit) -> UpdateFacts:
    """It has some."""
    assert record.facts
    return record.facts


def test_the_facts_of_a_swap_and_of_the_end_of_its_probation() -> None:
    """Up to the swap in the first record, from the first work on it up to the end in the last."""
    line = Line()
    line.runs(1)
    line.watch.begin("v2")
    line.runs(2)
    line.memory = 180
    assert facts(line.told("swapped")) == UpdateFacts(2.0, 20, 0, {}, 100.0, 100, 180)
    line.now += 0.3
    line.runs(3)
    line.tally.drop("failed", 1)
    line.memory = 120
    last = line.told("stable")
    assert facts(last) == UpdateFacts(5.3, 50, 1, {"failed": 1}, 400.0, 100, 120)
    assert last.stages == {"probation": 3.3}
    assert line.told("stable").facts is None


def test_what_is_refused_has_facts_of_its_own() -> None:
    """Each try begins anew; a record of another version has none of it, nor one of a rebuild."""
    line = Line()
    line.watch.begin("v2")
    line.runs(1)
    line.watch.begin("v2")
    line.runs(2)
    assert line.told("rejected", "v1").facts is None
    assert line.told("confirmed").facts is None
    assert facts(line.told("rejected")).frames == 20
    assert line.told("rejected").facts is None


def test_a_roll_back_to_what_is_warm_tells_of_the_version_that_goes() -> None:
    """By probation, or by the operator: from the first work on that version on."""
    for result, version in (("rolled_back", "v1"), ("swapped", "v1")):
        line = Line()
        line.watch.begin("v2")
        line.runs(1)
        line.told("swapped")
        line.runs(1)
        record = line.told(result, version, on_probation=False)
        assert facts(record).frames == 20
        line.runs(1)
        assert line.told("stable").facts is None


def test_a_version_that_comes_while_another_is_on_probation() -> None:
    """Each has its own window; one that is known to be good is stable at once."""
    line = Line()
    line.watch.begin("v2")
    line.runs(1)
    line.told("swapped")
    line.watch.begin("v3")
    line.runs(2)
    assert facts(line.told("swapped", "v3", on_probation=False)).frames == 20
    assert line.told("stable", "v2").facts is None
    line.runs(1)
    assert not line.tally._windows
