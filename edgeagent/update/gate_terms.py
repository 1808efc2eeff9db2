# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the gates judge a version by: of the configuration, of the directive, and of what serves."""

from __future__ import annotations

from collections.abc import Mapping

from edgeagent.core.contract import Names
from edgeagent.core.directive import Directive
from edgeagent.core.gating import ClassTerms, GateTerms
from edgeagent.core.model import Contract
from edgeagent.core.state import PrepareMode
from edgeagent.gates import golden, plug_ins
from edgeagent.update.trial_runner import PrepareSettings


def gate_terms(
    asked: Directive,
    mode: PrepareMode,
    settings: PrepareSettings,
    active: Contract | None,
    names_in_force: Names,
    interval_ms: float,
    active_digest: str = "",
    freed_by_stop: tuple[int, int] = (0, 0),
) -> GateTerms:
    """The terms for a version that is asked for, or rebuilt. active, active_digest: of what serves; names_in_force:
    class names by their ids in the records; interval_ms: between two frames of the fastest live pipeline, 0 without
    one; freed_by_stop: bytes of memory, and of GPU memory, that stopping what serves would give back.

    Reads the disk: not for the event loop. Raises UsageError for a threshold that there is
    none of.
    """
    limits = dict(settings.gates.limits(asked.gates))
    if asked.allow_slow or mode is PrepareMode.REBUILD:
        # What may be slow; what serves already, and is made for frames that may be larger.
        limits["latency"] = {}
    return GateTerms(
        active_contract=active,
        allow_new_contract=asked.allow_new_contract,
        plug_ins=plug_ins.installed(),
        classes=ClassTerms(asked.classes or "same", asked.add_classes, asked.drop_classes),
        confidence=settings.confidence,
        iou=settings.iou,
        limits=limits,
        golden=settings.golden,
        names_in_force=names_in_force if active and names_in_force != active.names else (),
        replay=settings.replay if mode.is_unproven else (),
        interval_ms=interval_ms,
        golden_digest=golden.digest_of(settings.golden),
        asked=tuple(asked.gates),
        active_digest=active_digest,
        may_stop=room_terms(asked, mode, settings)[1],
        freed_by_stop=freed_by_stop,
    )


def room_terms(
    asked: Directive, mode: PrepareMode, settings: PrepareSettings
) -> tuple[Mapping[str, float], bool]:
    """The thresholds of the gate `memory`, and whether what serves may be stopped first: not for a rebuild of it."""
    limits = settings.gates.limits(asked.gates)
    return limits["memory"], settings.stop_start and mode is not PrepareMode.REBUILD
