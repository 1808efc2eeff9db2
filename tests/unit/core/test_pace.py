# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a version is fast enough: what its frames ask for, and what serves gives them now."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.events import StageReached
from edgeagent.core.form import Form
from edgeagent.core.lifecycle import Stage
from edgeagent.core.model import Contract
from edgeagent.core.pace import Latency, Pace, p95
from edgeagent.core.tuning import Tuning
from tests.support.playbook import UNPROVEN, Act, Playbook, digest_of, intent, ref

CENTURY = Pace(frame_ms=4000.0, active_ms=8.0, rate=30.0)


@pytest.mark.parametrize(
    ("pace", "is_refused"),
    [
        (CENTURY, True),
        (Pace(12.0, 8.0, 30.0), False),  # slower, and fast enough
        (Pace(60.0, 8.0, 30.0), True),
        (Pace(60.0, 55.0, 30.0), False),  # the line drops frames already, and no more with this one
        (Pace(90.0, 55.0, 30.0), True),  # it would drop many more
        (Pace(40.0, 20.0, 30.0), False),  # just about: it was measured beside the line
        (Pace(40.0, 20.0, 60.0), True),  # two cameras of 30
        (Pace(4000.0, 8.0, 0.0), False),  # films, which wait
        (Pace(4000.0, 0.0, 30.0), False),  # nothing serves: better than nothing
        (Pace(0.0, 8.0, 30.0), False),  # it was not measured
    ],
)
def test_what_cannot_hold_the_rate_and_is_slower_than_what_serves_is_refused(
    pace: Pace, is_refused: bool
) -> None:
    """Both are needed, by a margin."""
    assert bool(pace.rejection_reason()) is is_refused


def test_the_reason_says_the_figures_and_the_way_out() -> None:
    """Milliseconds a frame, of the three."""
    why = CENTURY.rejection_reason()
    assert "4000 ms a frame" in why
    assert "every 33 ms" in why
    assert "takes 8 ms" in why
    assert "allow_slow" in why


@pytest.mark.parametrize(
    ("found", "budget_ms", "max_ratio", "said"),
    [
        (Latency(30.0, 10.0, 100.0), None, 2.0, "3.0 times"),  # three times slower, and yet fast enough
        (Latency(18.0, 10.0, 100.0), None, 2.0, ""),
        (Latency(3.0, 1.0, 100.0), None, 2.0, ""),  # too little to be felt, or told
        (Latency(60.0, 30.0, 33.0), None, 4.0, "a pipeline sends one every 33 ms"),
        (
            Latency(60.0, 50.0, 33.0),
            None,
            4.0,
            "",
        ),  # the line drops frames already, and no more with this one
        (Latency(60.0, 30.0, 0.0), None, 4.0, ""),  # films, which wait
        (Latency(60.0, 50.0, 33.0), 55.0, 4.0, "budget_ms is 55"),  # the operator's word, whatever serves
        (Latency(60.0, 30.0, 33.0), 80.0, 4.0, ""),  # in the place of the interval
        (Latency(60.0, 0.0, 33.0), None, 2.0, ""),  # nothing to compare with
        (Latency(60.0, 0.0, 33.0), 50.0, 2.0, "budget_ms is 50"),
    ],
)
def test_a_version_keeps_to_its_budget_and_near_what_serves(
    found: Latency, budget_ms: float | None, max_ratio: float, said: str
) -> None:
    """The same rule as for the loaded engine, where the operator has no budget of his own."""
    reasons = found.reasons(budget_ms, max_ratio)
    assert [said in reason for reason in reasons] == ([True] if said else [])


def test_the_same_version_is_never_too_slow() -> None:
    """Whatever the interval."""
    assert Latency(500.0, 500.0, 10.0).reasons(None, 1.0) == []


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_p95_is_one_of_the_values_and_few_are_above(values: list[float]) -> None:
    """At most one in twenty."""
    found = p95(values)
    assert found in values
    assert sum(value > found for value in values) <= len(values) // 20


def ready(node: Playbook, version: str, form: Form | None = None) -> list[Act]:
    """The candidate is loaded, and was measured; what is to be done."""
    c = node.state.candidate
    assert c is not None
    return node.on(StageReached(c.id, Stage.READY, digest_of(version), form=form, pace=CENTURY))


def test_no_version_is_swapped_in_that_cannot_hold_the_rate() -> None:
    """What serves goes on; under another intent it is tried again."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.reaches(*UNPROVEN)
    assert ready(node, "v2") == []
    assert node.state.active == ref("v1")
    assert "v2 refused while ready: too slow here" in node.state.last_error
    assert node.records[-1].result == "rejected"
    assert node.on(intent("v2", 3)) != []


def test_unless_the_operator_allows_it() -> None:
    """By the directive."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2, allow_slow=True))
    node.reaches(*UNPROVEN)
    assert ready(node, "v2") != []
    assert node.state.active == ref("v2")


def test_what_is_rebuilt_beside_the_line_is_not_judged_by_what_it_is_now() -> None:
    """It serves as it was published only until its fastest form is found."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.reaches(*UNPROVEN)
    ready(node, "v2", Form(Contract("detect", ("scratch",), (64, 64), 32), tuning=Tuning.UNCONVERTED))
    assert node.state.active == ref("v2")
