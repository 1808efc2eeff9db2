# SPDX-License-Identifier: AGPL-3.0-or-later
"""Weights into a runtime: the one place where a runtime is opened."""

from __future__ import annotations

from pathlib import Path

import cv2

from edgeagent.core.model import FORMATS
from edgeagent.errors import UsageError, WeightsError
from edgeagent.runtimes.port import Companions, EngineOptions, Runtime, WeightFiles
from edgeagent.runtimes.registry import load_object, readers
from edgeagent.runtimes.variants import not_importable


def load_runtime(
    path: Path, fmt: str, options: EngineOptions, companions: Companions | None = None
) -> Runtime:
    """Load the weights at `path` (format `fmt`, as in the manifest) with the backend that `options` name.

    `auto` takes the format's usual one; which is fastest here is for the preparing worker to find out.
    companions: for a format of several files those that belong to it, else those beside `path`.
    Sets thread counts of this process. Raises WeightsError (can't be read, unsafe), UsageError (backend, device or
    precision that can't be had), MissingExtraError (package not installed), NotFoundError, UnavailableError (disk).
    """
    able = {row.name: row for row in readers(fmt)}
    if not able:
        raise WeightsError(
            f"weights {path}", f"format {fmt!r} is unknown", f"use one of {', '.join(FORMATS)}"
        )
    row = next(iter(able.values())) if options.backend == "auto" else able.get(options.backend)
    if row is None:
        raise UsageError(
            f"engine.backend {options.backend!r}",
            f"can't load weights in format {fmt!r}",
            f"use one of auto, {', '.join(able)}",
        )
    # OpenCV resizes in the same worker: a pool of its own would take cores from other pipelines.
    cv2.setNumThreads(max(options.threads, 1))
    try:
        opened: Runtime = load_object(row.runtime)(WeightFiles(path, fmt, companions), options)
    except ModuleNotFoundError as e:
        raise not_importable(f"engine.backend {row.name}", row.name, e) from e
    return opened
