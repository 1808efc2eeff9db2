# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gate `memory`: room beside the version that serves, by what loading took."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from edgeagent.core.gating import GateTerms
from edgeagent.core.memory import Loading
from edgeagent.core.model import Contract
from edgeagent.core.tuning import Tolerance
from edgeagent.core.verified import VerifiedVersion
from edgeagent.gates import memory
from edgeagent.gates.port import GateContext

MB = 1 << 20
CONTRACT = Contract("detect", ("dent",), (64, 64), 32)
VERSION = VerifiedVersion("yolo", "v2", "sha256:2", CONTRACT, "onnx", Path("w"))
TERMS = GateTerms(CONTRACT, limits={"memory": {"reserve_mb": 64.0, "margin": 1.2}})
TIGHT = Loading(needs=500 * MB, free=600 * MB, seconds=1.8)


def context(terms: GateTerms = TERMS, loading: Loading | None = TIGHT) -> GateContext:
    """Of a version that was loaded."""
    detector = cast("Any", SimpleNamespace())
    return GateContext(VERSION, terms, None, Tolerance(), lambda: detector, list, loading=lambda: loading)


def test_a_version_that_has_room_passes_with_its_figures() -> None:
    """In megabytes, beside what it may need at most."""
    found = memory.GATE.run(context(loading=Loading(100 * MB, 1000 * MB, 0.5)))
    assert found.passed
    assert found.figures == {"place": "beside", "load_s": 0.5, "needs_mb": 100, "free_mb": 1000}
    assert found.limits == {"needs_mb": 780}


def test_one_that_has_none_is_refused() -> None:
    """And told what would help."""
    found = memory.GATE.run(context(replace(TERMS, freed_by_stop=(500 * MB, 0))))
    assert not found.passed
    assert "stop-start" in found.reasons[0]


def test_where_what_serves_may_be_stopped_the_gap_is_told() -> None:
    """As long as loading took."""
    found = memory.GATE.run(context(replace(TERMS, freed_by_stop=(500 * MB, 0), may_stop=True)))
    assert found.passed
    assert (found.figures["place"], found.figures["gap_s"]) == ("instead", 1.8)
    still = memory.GATE.run(context(replace(TERMS, freed_by_stop=(10 * MB, 0), may_stop=True)))
    assert not still.passed


def test_the_gpu_counts_where_there_is_one() -> None:
    """Its memory may be the scarcer."""
    loading = Loading(100 * MB, 9000 * MB, 0.5, gpu_needs=700 * MB, gpu_free=800 * MB)
    found = memory.GATE.run(context(loading=loading))
    assert not found.passed
    assert found.reasons[0].startswith("GPU memory")


def test_a_machine_that_does_not_tell_refuses_nothing() -> None:
    """And it is said."""
    found = memory.GATE.run(context(loading=None))
    assert found.passed
    assert "unknown" in str(found.figures["place"])


def test_while_nothing_serves_it_is_only_measured() -> None:
    """A line waits; and one day it may have to come back beside another version."""
    found = memory.GATE.run(context(GateTerms(limits=TERMS.limits)))
    assert found.passed
    assert found.figures["needs_mb"] == 500


def test_it_is_remembered_by_its_limits() -> None:
    """Not by what is free."""
    assert memory.GATE.applies(context())
    assert not memory.GATE.applies(context(GateTerms()))
    assert memory.GATE.inputs(TERMS) == memory.GATE.inputs(replace(TERMS, freed_by_stop=(1, 1)))
    assert memory.GATE.inputs(TERMS) != memory.GATE.inputs(replace(TERMS, may_stop=True))
