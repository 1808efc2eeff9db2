# SPDX-License-Identifier: AGPL-3.0-or-later
"""Commands of those who train: what goes into a model store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edgeagent.cli import completion
from edgeagent.errors import UsageError


def publish(
    weights: Annotated[
        Path, typer.Argument(metavar="WEIGHTS", help="A .pt or .onnx file.", show_default=False)
    ],
    model: Annotated[
        str,
        typer.Option(
            metavar="M",
            help="The named stream, such as yolo.",
            show_default=False,
            autocompletion=completion.models,
        ),
    ],
    version: Annotated[
        str, typer.Option(metavar="V", help="Its new version, such as v2.", show_default=False)
    ],
    store: Annotated[
        str, typer.Option(metavar="URL", help="The model store: a folder or a URL.", show_default=False)
    ],
    alternates: Annotated[
        list[Path] | None,
        typer.Option(
            "--ready",
            metavar="FILE",
            help="The same network in another format, ready to run; once for each.",
            show_default=False,
        ),
    ] = None,
    golden: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA",
            help="Labelled pictures: a data.yaml, or a folder with images/ and labels/.",
            show_default=False,
        ),
    ] = None,
    sign: Annotated[
        Path | None, typer.Option(metavar="KEY", help="Not in this release.", show_default=False)
    ] = None,
    note: Annotated[str, typer.Option(metavar="TEXT", help="A word to those who look at it later.")] = "",
) -> None:
    """Put an immutable version into a model store; refuses to overwrite."""
    from edgeagent.core.model import check_name

    if sign is not None:
        raise UsageError("--sign", "signing is not in this release", "publish without it")
    check_name("model", model)
    check_name("version", version)
    alternates = alternates or []
    for path in (weights, *alternates):
        if not path.is_file():
            raise UsageError(f"weights {path}", "no such file", "give a .pt or .onnx file")
        if path.suffix.lower() == ".engine":
            why = "a TensorRT engine fits only the machine that built it"
            raise UsageError(f"weights {path}", why, "give the .onnx or .pt: a node builds its own engine")
    from edgeagent.cli.progress import Progress, Working
    from edgeagent.store.publish import publish as put_into_store
    from edgeagent.workers.inspect import inspect_weights

    with Working(f"reading {weights.name}"):
        metadata = inspect_weights(weights)
        ready = [(path, inspect_weights(path)) for path in alternates]
    if golden is not None:
        _check_golden(golden, metadata.contract.names)
    with Progress("files published") as progress:
        manifest = put_into_store(
            weights,
            model,
            version,
            store,
            metadata=metadata,
            alternates=ready,
            golden=golden,
            note=note,
            on_progress=progress,
        )
    contract = manifest.contract
    size = "x".join(str(n) for n in contract.imgsz)
    typer.echo(f"published {model}/{version}: {len(contract.names)} classes, {size} px, {manifest.digest}")


def _check_golden(golden: Path, names: Sequence[str]) -> None:
    """Every label and every picture, before anything is in the store. Raises UsageError."""
    from edgeagent.cli.progress import Progress
    from edgeagent.datasets.publishable import check_pictures, check_size
    from edgeagent.store.golden_set import read_labelled

    found = read_labelled(golden, names)
    check_size(found)
    with Progress("pictures opened") as progress:
        check_pictures(found, progress)
    of = f", {found.unlabelled} of them without a label file" if found.unlabelled else ""
    typer.echo(f"golden set: {len(found.pictures)} pictures{of}, {found.objects} objects")
