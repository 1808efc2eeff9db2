# SPDX-License-Identifier: AGPL-3.0-or-later
"""How weights are to be loaded, as the node's settings for a worker say it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeagent.runtimes.port import EngineOptions
from edgeagent.runtimes.variants import Variant


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
