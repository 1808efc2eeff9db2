# SPDX-License-Identifier: AGPL-3.0-or-later
"""Commands of those who train: what goes into a model store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeagent.errors import UsageError


def publish(
    weights: Annotated[
        Path, typer.Argument(metavar="WEIGHTS", help="A .pt or .onnx file.", show_default=False)
    ],
    model: Annotated[
        str, typer.Option(metavar="M", help="The named stream, such as yolo.", show_default=False)
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
        typer.Option(metavar="DIR", help="Images that say what it must find.", show_default=False),
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
    if golden is not None and not golden.is_dir():
        raise UsageError(f"golden {golden}", "no such folder", "give a folder of images")

    from edgeagent.store.publish import publish as put_into_store
    from edgeagent.workers.inspect import inspect_weights

    manifest = put_into_store(
        weights,
        model,
        version,
        store,
        metadata=inspect_weights(weights),
        alternates=[(path, inspect_weights(path)) for path in alternates],
        golden=golden,
        note=note,
    )
    contract = manifest.contract
    size = "x".join(str(n) for n in contract.imgsz)
    typer.echo(f"published {model}/{version}: {len(contract.names)} classes, {size} px, {manifest.digest}")
