# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gate `contract`: a candidate must keep what the pipelines rely on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeagent.core.model import TASKS, Contract, Manifest

if TYPE_CHECKING:  # numpy comes with it, and the node asks `changes`
    from edgeagent.runtimes.port import ModelMetadata


def check(
    manifest: Manifest, metadata: ModelMetadata, active: Contract | None, allow_new_contract: bool
) -> list[str]:
    """What speaks against the candidate: each failure in words, empty when it passes. Pure.

    The manifest must say what the weights say; both must be fit to serve; and unless `allow_new_contract`, task and
    class names, in order, must be those of `active` (None: nothing serves yet). Another input size is welcome.
    """
    claimed, real = manifest.contract, metadata.contract
    failures = _differences("the manifest", claimed, "the weights", real)
    if claimed.imgsz != real.imgsz:
        failures.append(f"the manifest says input {_size(claimed)}, the weights say {_size(real)}")
    if claimed.stride != real.stride:
        failures.append(f"the manifest says stride {claimed.stride}, the weights say {real.stride}")
    if manifest.weights.format != metadata.format:
        failures.append(
            f"the manifest says format {manifest.weights.format}, the weights are {metadata.format}"
        )
    if real.task not in TASKS:
        failures.append(f"task is {real.task}, this edgeagent serves {', '.join(TASKS)}")
    if any(side % real.stride for side in real.imgsz):
        failures.append(f"input {_size(real)} is no multiple of stride {real.stride}")
    if active and not allow_new_contract:
        failures += changes(active, real)
    return failures


def changes(active: Contract, candidate: Contract) -> list[str]:
    """What pipelines that rely on `active` would find changed: task, class names in order."""
    return _differences("the active version", active, "the candidate", candidate)


def check_form(manifest: Manifest, form: ModelMetadata) -> list[str]:
    """The same, between the manifest and the form of the weights that is to serve."""
    return _differences("the manifest", manifest.contract, f"its {form.format} form", form.contract)


def _differences(one: str, a: Contract, other: str, b: Contract) -> list[str]:
    failures = []
    if a.task != b.task:
        failures.append(f"task: {one} has {a.task}, {other} {b.task}")
    if a.names != b.names:
        failures.append(_name_difference(one, a.names, other, b.names))
    return failures


def _name_difference(one: str, a: Sequence[str], other: str, b: Sequence[str]) -> str:
    if len(a) != len(b):
        return f"class names: {one} has {len(a)}, {other} {len(b)}"
    index = next(i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
    permuted = " (the same names in another order)" if sorted(a) == sorted(b) else ""
    return f"class names{permuted}: class {index} is {a[index]!r} in {one}, {b[index]!r} in {other}"


def _size(contract: Contract) -> str:
    return f"{contract.imgsz[0]}×{contract.imgsz[1]}"
