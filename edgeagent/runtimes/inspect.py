# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a weights file says of itself, read without running it."""

from __future__ import annotations

from pathlib import Path

from edgeagent.core.model import FORMATS
from edgeagent.errors import NotFoundError, WeightsError
from edgeagent.runtimes.port import Companions, ModelMetadata, WeightFiles
from edgeagent.runtimes.registry import load_object, readers, weight_formats
from edgeagent.runtimes.variants import not_importable


def format_of(path: Path) -> str:
    """The format that the file's name claims."""
    suffix = path.suffix.lower()
    return next((f.name for f in weight_formats().values() if f.suffix == suffix), suffix.removeprefix("."))


def read_metadata(path: Path, fmt: str | None = None, companions: Companions | None = None) -> ModelMetadata:
    """The metadata of a weights file; `fmt` says what it is, else the file's suffix does.

    companions: for a format of several files those that belong to it, else those beside `path`.
    To be called in a process that may be lost: parsing hostile bytes can take memory or time.
    Raises WeightsError (can't be read, unsafe, no detection head), MissingExtraError (package not installed),
    NotFoundError, UnavailableError (disk).
    """
    fmt = fmt or format_of(path)
    if not path.is_file():
        raise NotFoundError(f"weights {path}", "no such file", "give the path of a .onnx or .pt file")
    known = weight_formats().get(fmt)
    if known is None:
        raise WeightsError(
            f"weights {path}", f"format {fmt!r} is unknown", f"use one of {', '.join(FORMATS)}"
        )
    if not known.reader:
        raise WeightsError(
            f"weights {path}",
            f"a file in format {fmt} fits only the machine that built it",
            "publish the .onnx or .pt: a node builds its own",
        )
    try:
        metadata: ModelMetadata = load_object(known.reader)(WeightFiles(path, fmt, companions))
    except ModuleNotFoundError as e:
        raise not_importable(f"weights {path}", readers(fmt)[0].name, e) from e
    return metadata
