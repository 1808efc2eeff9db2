# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gate `latency`: in turns with what serves, without the waits for a processor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.core.gating import GateResult, GateTerms
from edgeagent.core.memory import Loading
from edgeagent.core.model import Contract
from edgeagent.core.pace import Latency
from edgeagent.core.tuning import Tolerance
from edgeagent.core.verified import VerifiedVersion
from edgeagent.errors import WeightsError
from edgeagent.gates import latency
from edgeagent.gates.latency import LEAST_TURNS, TURNS, least_times
from edgeagent.gates.port import ActiveVersion, GateContext
from edgeagent.runtimes.detection.detector import Detector
from edgeagent.runtimes.load import load_runtime
from edgeagent.runtimes.port import EngineOptions
from tests.support.weights import NAMES, detection_onnx

VERSION = VerifiedVersion(
    "yolo", "v2", "sha256:2", Contract("detect", NAMES, (64, 64), 32), "onnx", Path("w")
)
LIMITS = {"latency": {"max_ratio": 2.0}}
BUSY = (1.0, 9.0, 3.0, 1.0, 7.0, 2.0, 5.0)  # of how many times the time a busy machine takes, turn by turn


class Machine:
    """On which work takes as long as it says, times whatever the machine does besides."""

    def __init__(self, factors: tuple[float, ...] = (1.0,), turns_s: float = 0.0) -> None:
        self.factors: Iterator[float] = cycle(factors)
        self.turns_s = turns_s
        self.now = 0.0
        self.order: list[str] = []

    def own_time(self, work: Callable[[], object]) -> float:
        """Seconds that it takes."""
        name, seconds = work()  # type: ignore[misc]
        self.order.append(name)
        self.now += self.turns_s
        return float(seconds * next(self.factors))

    def measured(self, *entrants: Any, pictures: int = 1) -> tuple[list[list[float]], int]:
        """Least seconds of each."""
        return least_times(entrants, [np.zeros(1)] * pictures, self.own_time, lambda: self.now)


def takes(name: str, seconds: float) -> Callable[[Any], tuple[str, float]]:
    """A version that takes so long for any picture."""
    return lambda picture: (name, seconds)


def test_it_is_measured_in_turns() -> None:
    """Whatever disturbs one disturbs the other."""
    machine = Machine()
    _, turns = machine.measured(takes("new", 1.0), takes("old", 1.0), pictures=2)
    assert turns == TURNS
    assert machine.order == ["new", "old"] * 2 * TURNS


@pytest.mark.parametrize("ahead", range(len(BUSY)))
def test_a_busy_machine_makes_no_version_slower(ahead: int) -> None:
    """Of each picture the least counts; the same weights come out alike, whenever the machine is busy."""
    machine = Machine(BUSY[ahead:] + BUSY[:ahead])
    least, _ = machine.measured(takes("new", 0.02), takes("old", 0.02), pictures=3)
    found = Latency(*(latency.p95(times) * 1000 for times in least), interval_ms=30.0)
    assert latency.judge(found, {"max_ratio": 2.0}) == []


def test_a_slow_version_is_not_measured_for_ever() -> None:
    """A few turns will do."""
    _, turns = Machine(turns_s=60.0).measured(takes("new", 60.0), takes("old", 1.0))
    assert turns == LEAST_TURNS


def test_the_reasons_say_what_lets_it_in() -> None:
    """With the figures."""
    (why,) = latency.judge(Latency(30.0, 10.0, 0.0), {"max_ratio": 2.0})
    assert why == (
        "p95 is 30.0 ms a frame, 3.0 times that of what serves (10.0 ms), max_ratio is 2"
        " (allow_slow lets it in all the same)"
    )


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    """A tiny one."""
    return Detector(load_runtime(detection_onnx(tmp_path / "w.onnx"), "onnx", EngineOptions()))


def judged(
    detector: Detector, active: ActiveVersion | None, limits: dict[str, dict[str, float]]
) -> GateResult | None:
    """What the gate finds on a real detector; None where it doesn't apply."""
    frame = np.full((48, 96, 3), 200, np.uint8)
    terms = GateTerms(limits=limits, interval_ms=40.0)
    context = GateContext(VERSION, terms, None, Tolerance(), lambda: detector, lambda: [frame, frame], active)
    return latency.GATE.run(context) if latency.GATE.applies(context) else None


def test_it_tells_what_it_measured(detector: Detector) -> None:
    """Of both, and what that was held against."""
    found = judged(detector, ActiveVersion("v1", lambda: detector), LIMITS)
    assert found is not None
    assert found.passed
    assert found.figures.keys() == {"p95_ms", "active_p95_ms", "ratio", "pictures", "turns"}
    assert (found.figures["pictures"], found.limits) == (2, {"p95_ms": 40.0, "ratio": 2.0})
    budget = judged(
        detector, ActiveVersion("v1", lambda: detector), {"latency": {"max_ratio": 2.0, "budget_ms": 1e-6}}
    )
    assert budget is not None
    assert not budget.passed
    assert budget.limits["p95_ms"] == 1e-6


def test_without_something_that_serves_nothing_is_too_slow(detector: Detector) -> None:
    """And none of those that may be slow."""
    assert judged(detector, None, LIMITS) is None
    assert judged(detector, ActiveVersion("v1", lambda: detector), {"latency": {}}) is None


def test_what_serves_and_can_not_be_loaded_says_nothing_of_the_candidate(detector: Detector) -> None:
    """It is judged by what is left, and that is said."""

    def fails() -> Detector:
        raise WeightsError("weights of v1", "are gone")

    found = judged(detector, ActiveVersion("v1", fails), LIMITS)
    assert found is not None
    assert found.passed
    assert "are gone" in str(found.figures["active_not_measured"])
    assert found.limits == {"p95_ms": 40.0}


def test_a_machine_with_no_room_for_a_third_is_not_filled(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What serves isn't loaded once more only to be measured; the line would pay for it."""
    monkeypatch.setattr(latency, "free_bytes", lambda: 100 << 20)
    terms = GateTerms(limits=LIMITS)
    active = ActiveVersion("v1", lambda: pytest.fail("loaded"))
    loading = Loading(needs=90 << 20, free=300 << 20, seconds=1.0)
    context = GateContext(
        VERSION, terms, None, Tolerance(), lambda: detector, list, active, loading=lambda: loading
    )
    found = latency.GATE.run(context)
    assert found.passed
    assert "no room" in str(found.figures["active_not_measured"])


def test_what_has_passed_passes_again_at_another_rate() -> None:
    """Which changes by the minute, and is asked for again when the version is loaded; other limits are another gate."""
    slow, fast = GateTerms(limits=LIMITS, interval_ms=100.0), GateTerms(limits=LIMITS, interval_ms=20.0)
    assert latency.GATE.inputs(slow) == latency.GATE.inputs(fast)
    assert latency.GATE.inputs(slow) != latency.GATE.inputs(GateTerms(limits={"latency": {"max_ratio": 3.0}}))
