# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gate `contract`: a candidate must keep what the pipelines rely on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeagent.core.gating import Figure, GateResult, GateTerms
from edgeagent.core.model import TASKS, Contract
from edgeagent.core.verified import VerifiedVersion
from edgeagent.gates.port import Gate, GateContext

if TYPE_CHECKING:
    from edgeagent.runtimes.port import ModelMetadata


def check(version: VerifiedVersion, metadata: ModelMetadata, terms: GateTerms) -> GateResult:
    """What speaks against the candidate. Pure.

    The manifest must say what the weights say; both must be fit to serve; and unless the terms allow a new contract,
    task and class names, in order, must be those of the active version. Another input size is welcome.
    """
    claimed, real = version.contract, metadata.contract
    reasons = _differences("the manifest", claimed, "the weights", real)
    if claimed.imgsz != real.imgsz:
        reasons.append(f"the manifest says input {_size(claimed)}, the weights say {_size(real)}")
    if claimed.stride != real.stride:
        reasons.append(f"the manifest says stride {claimed.stride}, the weights say {real.stride}")
    if version.format != metadata.format:
        reasons.append(f"the manifest says format {version.format}, the weights are {metadata.format}")
    if real.task not in TASKS:
        reasons.append(f"task is {real.task}, this edgeagent serves {', '.join(TASKS)}")
    if any(side % real.stride for side in real.imgsz):
        reasons.append(f"input {_size(real)} is no multiple of stride {real.stride}")
    reasons += changes(terms, real)
    figures: dict[str, Figure] = {
        "task": real.task,
        "classes": len(real.names),
        "input": _size(real),
        "stride": real.stride,
    }
    active = None if terms.allow_new_contract else terms.active_contract
    limits: dict[str, Figure] = {"task": active.task, "classes": len(active.names)} if active else {}
    return GateResult.judged("contract", reasons, figures, limits)


def changes(terms: GateTerms, candidate: Contract) -> list[str]:
    """What pipelines that rely on the active version would find changed, unless that is allowed: task, class names in
    order."""
    if terms.active_contract is None or terms.allow_new_contract:
        return []
    return _differences("the active version", terms.active_contract, "the candidate", candidate)


def check_form(claimed: Contract, form: ModelMetadata) -> list[str]:
    """The same, between the manifest and the form of the weights that is to serve."""
    return _differences("the manifest", claimed, f"its {form.format} form", form.contract)


def _run(context: GateContext) -> GateResult:
    return check(context.version, context.metadata, context.terms)


def _inputs(terms: GateTerms) -> object:
    active = terms.active_contract
    return [active and [active.task, active.names], terms.allow_new_contract]


GATE = Gate("contract", _run, inputs=_inputs)


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
