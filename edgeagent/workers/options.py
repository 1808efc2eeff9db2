# SPDX-License-Identifier: AGPL-3.0-or-later
"""Weights loaded as the node's plan for a worker says it."""

from __future__ import annotations

from edgeagent.runtimes.load import load_runtime
from edgeagent.runtimes.port import EngineOptions, Runtime
from edgeagent.workers.tasks.engine import LoadPlan


def load_plan(plan: LoadPlan) -> Runtime:
    """The weights of `plan` in their runtime. Raises what `load_runtime` does."""
    return load_runtime(plan.weights, plan.variant.format, engine_options(plan), plan.companions)


def engine_options(plan: LoadPlan) -> EngineOptions:
    """How its runtime is to load, or a conversion to make, what it says."""
    return EngineOptions(
        backend=plan.variant.backend,
        device=plan.variant.device,
        threads=plan.threads,
        precision=plan.variant.precision,
        max_batch=plan.max_batch,
        imgsz=plan.imgsz,
        compiled=plan.compiled,
    )
