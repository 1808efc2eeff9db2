# SPDX-License-Identifier: AGPL-3.0-or-later
"""Weights made into what a variant loads. For a throw-away process: it takes time, memory and torch.

OpenVINO has no conversion: it compiles ONNX in the time in which it would compile its own format.
"""

from __future__ import annotations

import os
from pathlib import Path

from edgeagent.errors import MissingExtraError, UnavailableError, UsageError
from edgeagent.runtimes.port import EngineOptions
from edgeagent.runtimes.variants import CONVERSIONS, Variant, missing

_SUFFIXES = {"onnx": ".onnx", "torchscript": ".torchscript", "engine": ".engine"}


def product(variant: Variant) -> str:
    """The name of the file that `convert` makes for `variant`. Variants with the same name share the file."""
    return ("model-fp16" if variant.half_file else "model") + _SUFFIXES[variant.format]


def convert(
    source: Path,
    source_fmt: str,
    variant: Variant,
    out_dir: Path,
    options: EngineOptions,
    timing_cache: Path | None = None,
) -> Path:
    """Make what `variant` loads out of `source`, as the file `product(variant)` in `out_dir`, and nothing else there.

    `options`: threads, imgsz (of a `.pt`), and max_batch (above one the product takes batches, where the source can);
    the rest is the variant's. timing_cache: a file that TensorRT reads and writes to build the next engine sooner.
    To be called when `variant.needs_conversion((source_fmt,))`. Raises WeightsError (can't be read or converted),
    UsageError (no such conversion), MissingExtraError, UnavailableError (disk).
    """
    if variant.format != source_fmt and variant.format not in CONVERSIONS.get(source_fmt, ()):
        raise UsageError(
            f"weights in format {source_fmt!r}", f"can't be made into {variant.format!r}", "use auto"
        )
    target = out_dir / product(variant)
    unfinished = target.with_name(target.name + ".part")
    between = target.with_name(target.name + ".onnx.part")
    try:
        _convert(source, source_fmt, variant, unfinished, between, options, timing_cache)
        os.replace(unfinished, target)
    except OSError as e:
        raise UnavailableError(f"conversion to {target}", str(e), "look at the disk") from e
    except ModuleNotFoundError as e:
        package = missing(variant.backend)
        raise MissingExtraError(package.what, f"package {e.name} is not installed", package.todo) from e
    finally:
        unfinished.unlink(missing_ok=True)
        between.unlink(missing_ok=True)
    return target


def _convert(
    source: Path,
    source_fmt: str,
    variant: Variant,
    target: Path,
    between: Path,
    options: EngineOptions,
    timing_cache: Path | None,
) -> None:
    if variant.format == "torchscript":
        from edgeagent.runtimes.torch.export import export_torchscript

        export_torchscript(source, target, options)
        return
    to_engine, half = variant.format == "engine", variant.half_file
    network = source
    if source_fmt == "pt":
        from edgeagent.runtimes.torch.export import export_onnx

        network = between if to_engine or half else target
        export_onnx(source, network, options)
    if half:
        from edgeagent.runtimes.onnx.half import to_float16

        float16_file = between if to_engine else target
        to_float16(network, float16_file)
        network = float16_file
    if to_engine:
        from edgeagent.runtimes.tensorrt.engine import build_engine

        build_engine(network, target, variant, options, timing_cache)
