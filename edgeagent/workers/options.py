# SPDX-License-Identifier: AGPL-3.0-or-later
"""Weights loaded as the node's plan for a worker says it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeagent.runtimes.load import load_runtime
from edgeagent.runtimes.port import EngineOptions, Runtime
from edgeagent.runtimes.variants import Variant
from edgeagent.workers.tasks.engine import LoadPlan


def load_plan(plan: LoadPlan) -> Runtime:
    """The weights of `plan` in their runtime. Raises what `load_runtime` does."""
    options = EngineOptions(
        backend=plan.variant.backend,
        device=plan.variant.device,
        threads=plan.threads,
        precision=plan.variant.precision,
        max_batch=plan.max_batch,
        imgsz=plan.imgsz,
        compiled=plan.compiled,
    )
    return load_runtime(plan.weights, plan.variant.format, options, plan.companions)


def engine_options(variant: Variant, settings: Mapping[str, Any]) -> EngineOptions:
    """settings: threads, max_batch, imgsz ([height, width] or None), compiled (a path, or "")."""
    imgsz, compiled = settings["imgsz"], settings["compiled"]
    return EngineOptions(
        backend=variant.backend,
        device=variant.device,
        threads=settings["threads"],
        precision=variant.precision,
        max_batch=settings["max_batch"],
        imgsz=(imgsz[0], imgsz[1]) if imgsz else None,
        compiled=Path(compiled) if compiled else None,
    )
