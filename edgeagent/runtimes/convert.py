# SPDX-License-Identifier: AGPL-3.0-or-later
"""Weights made into what a variant loads. For a throw-away process: it takes time, memory and torch.

OpenVINO has no conversion: it compiles ONNX in the time in which it would compile its own format.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgeagent.errors import UnavailableError, UsageError
from edgeagent.runtimes.port import EngineOptions
from edgeagent.runtimes.registry import conversion_chain, load_object, weight_formats
from edgeagent.runtimes.variants import Variant, not_importable

Step = Callable[[Path, Path, EngineOptions], None]
"""Weights at the first path made into other weights, at the second."""


def product(variant: Variant) -> str:
    """The name of the file that `convert` makes for `variant`. Variants with the same name share the file."""
    return ("model-fp16" if variant.float16_file else "model") + weight_formats()[variant.format].suffix


def convert(source: Path, source_fmt: str, variant: Variant, out_dir: Path, options: EngineOptions) -> Path:
    """Make what `variant` loads out of `source`, as the file `product(variant)` in `out_dir`, and nothing else there.

    `options`: threads, imgsz (of a `.pt`), max_batch (above one the product takes batches, where the source can) and
    timings; the rest is the variant's.
    To be called when `variant.needs_conversion((source_fmt,))`. Raises WeightsError (can't be read or converted),
    UsageError (no such conversion), MissingExtraError, UnavailableError (disk).
    """
    options = replace(options, backend=variant.backend, device=variant.device, precision=variant.precision)
    target = out_dir / product(variant)
    steps = _steps(source_fmt, variant)
    between = [target.with_name(f"{target.name}.{i}.part") for i in range(len(steps))]
    try:
        for step, read, written in zip(steps, (source, *between), between, strict=False):
            step(read, written, options)
        os.replace(between[-1], target)
    except OSError as e:
        raise UnavailableError(f"conversion to {target}", str(e), "look at the disk") from e
    except ModuleNotFoundError as e:
        raise not_importable(f"conversion from {source_fmt} for {variant.backend}", variant.backend, e) from e
    finally:
        for file in between:
            file.unlink(missing_ok=True)
    return target


def _steps(source_fmt: str, variant: Variant) -> list[Step]:
    """What to do one after the other: a step for each format on the way, and to float16 while it is ONNX."""
    chain = conversion_chain(source_fmt, variant.format)
    if not chain and variant.format != source_fmt:
        raise UsageError(
            f"weights in format {source_fmt!r}", f"can't be made into {variant.format!r}", "use auto"
        )
    formats = weight_formats()
    steps: list[Step] = []
    for before, after in zip((source_fmt, *chain), (*chain, ""), strict=True):
        if before == "onnx" and variant.float16_file:
            steps.append(_to_float16)
        if after:
            steps.append(_importing(formats[after].made_from[before]))
    return steps


def _importing(converter: str) -> Step:
    """The function that a row names, imported when it is its turn: it may need a package that isn't there."""
    return lambda source, target, options: load_object(converter)(source, target, options)


def _to_float16(source: Path, target: Path, _: EngineOptions) -> None:
    from edgeagent.runtimes.onnx.float16 import to_float16

    to_float16(source, target)
