# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gate `memory`: a candidate must have room beside the one that serves, or in its place where the operator allows that.

It judges by what loading it took in the preparing worker, which is gone before the version is loaded to serve: so what
that worker has itself counts as free.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeagent.core.gating import Figure, GateResult, GateTerms
from edgeagent.core.memory import KINDS, PREFIXES, Fit, Loading, Place, Room
from edgeagent.gates.port import Gate, GateContext


def judge(loading: Loading, terms: GateTerms) -> GateResult:
    """Whether it has room, and where. Pure."""
    limits = terms.limits["memory"]
    fit = fit_of(loading, limits, terms.freed_by_stop)
    figures = dict(fit.figures)
    if fit.place is Place.INSTEAD and terms.may_stop:
        figures["gap_s"] = figures["load_s"]
    held: dict[str, Figure] = {
        f"{prefix}needs_mb": max(room.most(fit.reserve, fit.margin), 0) >> 20
        for room, prefix in zip(fit.rooms, PREFIXES, strict=False)
    }
    reasons = fit.reasons(terms.may_stop) if terms.active_contract else []
    return GateResult.judged("memory", reasons, figures, held)


def fit_of(loading: Loading, limits: Mapping[str, float], freed: tuple[int, int]) -> Fit:
    """What was measured, beside what there is. freed: bytes of memory, and of GPU memory, that stopping what serves
    gives back."""
    pairs = ((loading.needs, loading.free), (loading.gpu_needs, loading.gpu_free))
    rooms = tuple(
        Room(kind, needs, free, frees)
        for kind, (needs, free), frees in zip(KINDS, pairs, freed, strict=True)
        if free is not None
    )
    return Fit(rooms, limits["reserve_mb"], limits["margin"], loading.seconds)


def _run(context: GateContext) -> GateResult:
    assert context.detector is not None  # loaded, if no gate before has asked for it
    loading = context.loading()
    if loading is None:
        return GateResult.judged(
            "memory", [], {"place": "unknown: this machine doesn't tell how much is free"}
        )
    return judge(loading, context.terms)


def _applies(context: GateContext) -> bool:
    """Also while nothing serves: then it is only measured, for the day when it is to come back beside another."""
    return bool(context.terms.limits.get("memory"))


def _inputs(terms: GateTerms) -> object:
    """Not what is free: that changes, and is looked at again when the version is loaded."""
    return [terms.limits.get("memory", {}), terms.may_stop]


GATE = Gate("memory", _run, applies=_applies, inputs=_inputs)
