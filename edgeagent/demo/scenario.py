# SPDX-License-Identifier: AGPL-3.0-or-later
"""The scenario of the demo: what is promoted in turn, what should come of it, and what did."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from edgeagent.core.directive import Directive, encode_directive
from edgeagent.core.directive_fields import ProbationTerms
from edgeagent.core.lifecycle import Stage
from edgeagent.demo.console import BAD, GOOD, Console, View
from edgeagent.demo.demo_node import OPERATOR, DemoNode
from edgeagent.demo.measurements import Measurements, Seen, SwapSeen, counted, latency_ms
from edgeagent.errors import EdgeAgentError
from edgeagent.status.schema import ModelStatus, RejectedVersion, Status
from edgeagent.testing import MODEL, PIPELINE

T = TypeVar("T")

PERMUTED, CORRUPT = "v3-permuted", "v4-corrupt"
HALF_BLIND, LAB_ONLY = "v5-half-blind", "v6-lab-light"
DEFAULT_SECONDS = 45.0
_LOADING_S = 18.0  # of the whole, spent waiting for loads whatever the length
_PATIENCE_S = 240.0
_WATCHED_S = 60.0
"""How long a version is watched on whose roll-back the scenario waits."""
_LOOK_S = 0.1
_STATUS_EVERY_S = 0.4
_SETTLE_S = 0.5  # frames still in flight when the line is stopped


@dataclass(frozen=True)
class Pace:
    """How long to stay at each point, in seconds."""

    factor: float

    @classmethod
    def of(cls, seconds: float | None) -> Pace:
        """For a run of about `seconds` in all; never so short that a step is left out."""
        watching = DEFAULT_SECONDS - _LOADING_S
        return cls(max(0.1, ((seconds or DEFAULT_SECONDS) - _LOADING_S) / watching))

    @property
    def planned(self) -> float:
        """About how long it will take."""
        return _LOADING_S + self.factor * (DEFAULT_SECONDS - _LOADING_S)

    @property
    def probation(self) -> float:
        """How long a new version is watched while the one before stays warm."""
        return min(20.0, max(2.0, 4.0 * self.factor))

    def __mul__(self, seconds: float) -> float:
        return self.factor * seconds


@dataclass(frozen=True)
class Expectation:
    """What should have been, whether it was, and what was seen."""

    name: str
    held: bool
    seen: str


@dataclass
class Change:
    """Something that was asked of the node. asked, at: Unix seconds; stages: the node's own, in seconds.

    kind: promote or roll back; result: swapped or refused; serving_ms: from asking to the first result of the version;
    gap_ms: between the results before and after the swap; steady_ms, during_ms: latency p99 before and meanwhile.
    """

    kind: str
    version: str
    asked: float
    result: str = ""
    at: float = 0.0
    why: str = ""
    stage: str = ""
    stages: dict[str, float] = field(default_factory=dict)
    serving_ms: float | None = None
    gap_ms: float | None = None
    steady_ms: float | None = None
    during_ms: float | None = None
    warm: bool = False


class MissedError(EdgeAgentError):
    """Something that the scenario waits for did not come."""


class Scenario:
    """Plays it once, on a node that is set up. `changes` and `expectations` grow as it goes."""

    def __init__(
        self,
        node: DemoNode,
        measurements: Measurements,
        console: Console,
        pace: Pace,
        show_page: Callable[[str], None] = lambda _: None,
    ) -> None:
        """show_page: is given the node's address as soon as there is something to see."""
        self.changes: list[Change] = []
        self.expectations: list[Expectation] = []
        self.started = 0.0  # Unix seconds
        self.dropped_before: dict[str, int] = {}
        self.status: Status | None = None
        self._lost = (
            0  # frames without a result until the line was stopped, those before the first result included
        )
        self._node, self._measurements, self._console, self._pace = node, measurements, console, pace
        self._show_page = show_page
        self._looked = 0.0

    def tell(self) -> None:
        """From the first model to the last. Raises EdgeAgentError when it can't go on."""
        console, pace = self._console, self._pace
        self.started = time.time()
        console.act("v1 serves: it was trained without the tiny defects")
        self._first("v1", "first model")
        self._watch(pace * 5)
        self._until(self._is_stable, "v1 stable")
        self._recall("v1")

        console.act("v2 finds the tiny ones too: swap it in under the running line")
        self._promote("v2", "finds tiny defects")
        self._watch(pace * 5)
        self._until(self._is_stable, "v2 stable")
        self._recall("v2")

        console.act("Two versions that must not serve")
        self._refused(PERMUTED, {"GATING"}, "class names in another order")
        self._watch(pace * 1)
        self._refused(CORRUPT, {"FETCHING", "VERIFYING"}, "bits flipped in the store")
        self._watch(pace * 1)

        console.act("Two that load well and see badly: golden pictures tell of one, live frames of the other")
        self._refused(HALF_BLIND, {"GATING"}, "blind to half of the scratches", "gate golden")
        self._watch(pace * 1)
        self._taken_back(LAB_ONLY, "sees only in the light of the golden pictures")
        self._watch(pace * 1)

        console.act("Roll back: v1 is loaded again from the local cache, and the node holds it")
        self._roll_back("v1")
        self._watch(pace * 2)

        console.act("v2 once more, and roll back on probation, while v1 is still warm")
        self._promote("v2", "second try")
        self._watch(0.4 * pace.probation)
        self._roll_back("v1", warm=True)
        self._watch(pace * 2)

        console.act("And v2 for good")
        self._promote("v2", "for good")
        self._until(self._is_stable, "v2 stable")
        self._watch(pace * 1)

    def expect(self, name: str, held: bool, seen: str) -> None:
        """Note whether an expectation held."""
        self.expectations.append(Expectation(name, held, seen))

    # -- steps ---------------------------------------------------------------------------------------

    def _first(self, version: str, reason: str) -> None:
        """No model serves yet: frames before it are nobody's loss, and not counted."""
        change = self._ask(version, reason)
        self._node.start()
        self._until(lambda: bool(self._measurements.frames), f"{version} serves")
        frame = self._measurements.frames[0]
        change.result, change.at = "swapped", frame.done
        self.started = frame.ts
        self._look_at_status()
        self.dropped_before = self._dropped_by()
        self._console.tell(f"{version} serves", GOOD)
        self._show_page(self._node.url)

    def _promote(self, version: str, reason: str, probation: float | None = None) -> Change:
        change = self._ask(version, reason, probation)
        self._swapped(change)
        stages = ", ".join(f"{k} {v:.1f}" for k, v in change.stages.items() if v >= 0.05)
        self._console.tell(
            f"{version} serves {(change.serving_ms or 0) / 1000:.1f} s later ({stages} s); {self._swap_text(change)}",
            GOOD,
        )
        return change

    def _ask(self, version: str, reason: str, probation: float | None = None) -> Change:
        url = self._node.intent.as_uri()
        terms = ProbationTerms(probation) if probation else None
        watched = f""" --terms '{{"probation": {{"seconds": {probation:g}}}}}'""" if probation else ""
        self._console.command(
            f'edgeagent promote {MODEL} {version} --config-store {url}{watched} --reason "{reason}"'
        )
        directive = Directive(version, by=OPERATOR, reason=reason, probation=terms)
        asked = self._node.promote(encode_directive(directive))
        change = Change("promote", version, asked)
        self.changes.append(change)
        return change

    def _roll_back(self, version: str, warm: bool = False) -> None:
        self._console.command(f"curl -X POST {self._node.url}/rollback")
        asked, answer_ms = self._node.roll_back()
        change = Change("roll back", version, asked, warm=warm)
        self.changes.append(change)
        self._swapped(change)
        how = "it was still warm" if warm else "loaded again"
        self._console.tell(
            f"{version} serves {change.serving_ms or 0:.0f} ms later ({how}; the API answered in {answer_ms:.0f} ms); "
            f"{self._swap_text(change)}",
            GOOD,
        )

    def _swapped(self, change: Change) -> None:
        """Wait until the version serves, and work out what that did to the line."""
        measurements = self._measurements

        def look() -> SwapSeen | None:
            self._refuse_early(change)
            return measurements.swap_to(change.version, change.asked)

        swap = self._until(look, f"{change.version} serves")
        self._watch(_SETTLE_S)
        change.result, change.at, change.gap_ms = "swapped", swap.done, swap.gap_ms
        change.serving_ms = (swap.done - change.asked) * 1000
        change.stages = self._audit("swapped", change).get("stages") or {}
        change.steady_ms = latency_ms(measurements.between(change.asked - 5, change.asked), 0.99)
        change.during_ms = latency_ms(measurements.between(change.asked, swap.done + _SETTLE_S), 0.99)

    def _refuse_early(self, change: Change) -> None:
        """A version that should serve and was refused will not come: say why, and don't wait for it."""
        if rejection := self._rejection_of(change.version):
            change.result, change.why = "refused", rejection.why
            raise MissedError(f"{change.version} serves", f"it was refused: {change.why}")

    def _taken_back(self, version: str, what: str) -> None:
        """It is swapped in, and the node goes back from it by itself."""
        change = self._promote(version, what, _WATCHED_S)
        rejection = self._until(lambda: self._rejection_of(version), f"{version} taken back")
        back = self._until(lambda: self._measurements.swap_to("v2", change.at), "v2 serves again")
        self._watch(_SETTLE_S)
        change.result, change.why, change.stage = "taken back", rejection.why, rejection.stage
        first = next(f.seq for f in self._measurements.frames if f.version == version)
        served = counted(back.seq - first, "frame")
        self._console.tell(f"{version} taken back after {served}: {short(change.why)}", BAD)
        self.expect(
            f"{version} taken back on probation ({what})",
            change.stage == Stage.PROBATION,
            f"after {served}: {short(change.why)}; {self._swap_text(change)}",
        )

    def _refused(self, version: str, stages: set[str], what: str, by: str = "") -> None:
        change = self._ask(version, what)
        rejection = self._until(lambda: self._rejection_of(version), f"{version} refused")
        audit = self._audit("rejected", change)
        change.result, change.at = "refused", time.time()
        change.why, change.stage = rejection.why, rejection.stage
        change.stages = audit.get("stages") or {}
        change.during_ms = latency_ms(self._measurements.between(change.asked), 0.99)
        self._console.tell(f"{version} refused while {change.stage.lower()}: {short(change.why)}", BAD)
        model = self._model()
        active = model.active.version if model and model.active else None
        self.expect(
            f"{version} refused ({what})",
            change.stage in stages and active == "v2" and by in change.why,
            f"{change.stage.lower()}: {short(change.why)}; {active} kept serving",
        )

    def _recall(self, version: str) -> None:
        everything, tiny = (self._measurements.recall(version, t) for t in (False, True))
        self._console.tell(
            f"{version} found {everything} of the defects in view, {tiny} of the tiny ones "
            f"({tiny.found} of {tiny.defects}, frame by frame)"
        )

    def _swap_text(self, change: Change) -> str:
        recent = self._measurements.between(change.asked, change.at + _SETTLE_S)
        return (
            f"{change.gap_ms or 0:.0f} ms from the last result before the swap to the first after it, "
            f"{counted(_missing(recent), 'frame')} lost"
        )

    # -- looking -------------------------------------------------------------------------------------

    def _watch(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(_LOOK_S, left))
            self.look()

    def _until(self, look: Callable[[], T | None], what: str) -> T:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            self.look()
            if found := look():
                return found
            if time.monotonic() > deadline:
                raise MissedError(what, f"not within {_PATIENCE_S:g} s", f"see {self._node.log}")
            time.sleep(_LOOK_S)

    def look(self) -> None:
        """Take in what is new, and show it."""
        for record in self._node.new_records():
            self._measurements.add(record)
        if self._node.url and time.monotonic() - self._looked >= _STATUS_EVERY_S:
            self._look_at_status()
        elapsed = time.time() - self.started
        view = View(elapsed, self._pace.planned, self._node.url, self._model(), self._measurements)
        self._console.show(view)

    def _look_at_status(self) -> None:
        self._looked = time.monotonic()
        self.status = Status.model_validate(self._node.status())

    def _model(self) -> ModelStatus | None:
        return self.status.models.get(MODEL) if self.status else None

    def _rejection_of(self, version: str) -> RejectedVersion | None:
        model = self._model()
        return next((r for r in model.rejected if r.version == version), None) if model else None

    def _is_stable(self) -> bool:
        model = self._model()
        return model is not None and model.state == Stage.STABLE

    def _dropped_by(self) -> dict[str, int]:
        return self.status.pipelines[PIPELINE].dropped_by if self.status else {}

    def settle(self) -> None:
        """Take in what there is before the line is stopped: first the results, then what the node says of the rest."""
        self.look()
        if self._measurements.frames:
            self._lost = self._measurements.frames[0].seq + self._measurements.lost
            self._look_at_status()

    @property
    def unaccounted(self) -> int:
        """Frames without a result that the node says nothing of."""
        return max(0, self._lost - sum(self._dropped_by().values()))

    def dropped(self) -> dict[str, int]:
        """Frames that the node says it dropped since the first model served, by reason."""
        now = self._dropped_by()
        return {
            k: n - self.dropped_before.get(k, 0) for k, n in now.items() if n > self.dropped_before.get(k, 0)
        }

    def _audit(self, result: str, change: Change) -> dict[str, Any]:
        """The node's own record of a change: the last of its kind."""

        def look() -> dict[str, Any]:
            found = [
                r for r in self._node.history() if r["result"] == result and r["to_version"] == change.version
            ]
            return found[-1] if found else {}

        return self._until(look, f"audit record of {change.version}")


def short(text: str) -> str:
    """Without most of the digits of the hashes in it."""
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{56}\b", r"\1…", text)


def _missing(frames: list[Seen]) -> int:
    return frames[-1].seq - frames[0].seq + 1 - len(frames) if frames else 0
