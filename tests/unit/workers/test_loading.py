# SPDX-License-Identifier: AGPL-3.0-or-later
"""What loading a version takes, seen where it is loaded as it is to serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.runtimes.variants import Variant
from edgeagent.workers import loading
from edgeagent.workers.loading import MeasuredLoad
from edgeagent.workers.tasks.engine import LoadPlan
from tests.support.weights import detection_onnx


@pytest.fixture
def plan(tmp_path: Path) -> LoadPlan:
    """Of a tiny network."""
    return LoadPlan(
        Variant("onnxruntime", "cpu", "fp32", "onnx"), detection_onnx(tmp_path / "w.onnx"), {}, 1, 2
    )


def test_what_loading_took_is_kept(plan: LoadPlan) -> None:
    """No less than its file; what this process has itself counts as free; no GPU is asked of a processor."""
    loader = MeasuredLoad()
    assert loader.last is None
    assert loader.load(plan).max_batch >= 1
    assert loader.last is not None
    assert loader.last.needs >= plan.weights.stat().st_size
    assert loader.last.free > 0
    assert loader.last.seconds > 0
    assert (loader.last.gpu_needs, loader.last.gpu_free) == (0, None)


def test_a_machine_that_does_not_tell_has_nothing_measured(
    plan: LoadPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And loads all the same."""
    monkeypatch.setattr(loading, "free_bytes", lambda: None)
    loader = MeasuredLoad()
    assert loader.load(plan).max_batch >= 1
    assert loader.last is None


def test_on_a_gpu_it_is_what_was_less_free_afterwards(
    plan: LoadPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By anybody: the driver tells no more; never less than nothing."""
    for left, needs in ((700, 300), (1200, 0)):
        free = iter([1000, left])
        monkeypatch.setattr(loading, "gpu_free_bytes", lambda device, free=free: next(free))
        loader = MeasuredLoad()
        loader.load(plan)
        assert loader.last is not None
        assert (loader.last.gpu_needs, loader.last.gpu_free) == (needs, 1000)
