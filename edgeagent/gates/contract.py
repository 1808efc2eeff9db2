# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gate `contract`: a candidate must keep what the pipelines rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeagent.core.contract import difference, map_for, objections
from edgeagent.core.gating import Figure, GateResult, GateTerms
from edgeagent.core.model import TASKS, Contract
from edgeagent.core.text import cut
from edgeagent.core.verified import VerifiedVersion
from edgeagent.gates.port import Gate, GateContext

if TYPE_CHECKING:
    from edgeagent.runtimes.port import ModelMetadata

_MAX_LISTED = 200  # characters of class names, in a figure


def check(version: VerifiedVersion, metadata: ModelMetadata, terms: GateTerms) -> GateResult:
    """What speaks against the candidate. Pure.

    The manifest must say what the weights say; both must be fit to serve; and unless the terms allow something else,
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
    if active and terms.classes.mode != "same":
        figures |= _moves(terms, active, real)
    return GateResult.judged("contract", reasons, figures, limits)


def changes(terms: GateTerms, candidate: Contract) -> list[str]:
    """What pipelines that rely on the active version would find changed, unless that is allowed: task, class names."""
    active = terms.active_contract
    if active is None or terms.allow_new_contract:
        return []
    reasons = []
    if active.task != candidate.task:
        reasons.append(f"task: the active version has {active.task}, the candidate {candidate.task}")
    return [*reasons, *objections(terms, candidate.names)]


def check_form(claimed: Contract, form: ModelMetadata) -> list[str]:
    """The same, between the manifest and the form of the weights that is to serve."""
    return _differences("the manifest", claimed, f"its {form.format} form", form.contract)


def _run(context: GateContext) -> GateResult:
    return check(context.version, context.metadata, context.terms)


def _inputs(terms: GateTerms) -> object:
    active = terms.active_contract
    return [
        active and [active.task, active.names],
        terms.allow_new_contract,
        terms.names_in_force,
        terms.classes,
    ]


GATE = Gate("contract", _run, inputs=_inputs)


def _differences(one: str, a: Contract, other: str, b: Contract) -> list[str]:
    failures = []
    if a.task != b.task:
        failures.append(f"task: {one} has {a.task}, {other} {b.task}")
    if a.names != b.names:
        failures.append(difference(one, a.names, other, b.names))
    return failures


def _moves(terms: GateTerms, active: Contract, candidate: Contract) -> dict[str, Figure]:
    """In how far the candidate's classes are others: how many have another id in the records than in the version
    itself, and which came and went."""
    ids = map_for(terms, candidate.names).ids
    came = [name for name in candidate.names if name not in active.names]
    went = [name for name in active.names if name not in candidate.names]
    moves: dict[str, Figure] = {"mapped": sum(id != own for own, id in enumerate(ids))}
    if came:
        moves["added"] = cut(", ".join(came), _MAX_LISTED)
    if went:
        moves["dropped"] = cut(", ".join(went), _MAX_LISTED)
    return moves


def _size(contract: Contract) -> str:
    return f"{contract.imgsz[0]}×{contract.imgsz[1]}"
