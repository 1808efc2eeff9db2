# SPDX-License-Identifier: AGPL-3.0-or-later
"""One model's part of `/api/status`: a view on its updater."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from edgeagent.core.lifecycle import Stage
from edgeagent.core.reconciler import goal, rejection_of
from edgeagent.core.state import Candidate, State
from edgeagent.serving.engine_process import Engine
from edgeagent.update.preparation import Preparation
from edgeagent.update.updater import Updater


def model_status(updater: Updater) -> dict[str, Any]:
    """What should serve, what does, what waits, and why. docs/interface.md has the fields."""
    s = updater.state
    wanted = goal(s)
    engine = updater.slot.engine
    standby = updater.standby
    return {
        "aspired": wanted.version if wanted else s.directive and s.directive.version,
        "active": engine and {**_about(engine), "epoch": updater.slot.epoch},
        "standby": standby and _about(standby),
        "held": s.override
        and {
            "kind": s.override.kind,
            "version": s.override.goal.version,
            "by": s.override.goal.by,
            "reason": s.override.goal.reason,
            "until": "the intent changes",
        },
        "state": state_name(s),
        "candidate": s.candidate and _candidate(s.candidate, updater.preparation),
        "previous": [asdict(r) for r in s.stable_versions if r != s.active],
        "rejected": [
            {"version": r.version, "digest": r.digest, "stage": r.stage.value, "why": r.why}
            for r in s.rejections
            if r.version
        ],
        "last_error": s.last_error or None,
    }


def _candidate(c: Candidate, preparation: Preparation | None) -> dict[str, Any]:
    now = time.monotonic()
    status: dict[str, Any] = {
        "version": c.goal.version,
        "digest": c.digest or None,
        "stage": c.stage.value,
        "attempt": c.attempt,
        "seconds": {k: round(v, 3) for k, v in c.durations(now).items()},
        "error": c.error or None,
        "retry_in_seconds": None if c.retry_at is None else round(max(0.0, c.retry_at - now), 1),
    }
    if preparation and c.retry_at is None:
        r = preparation.report
        status["gate"], status["trial"] = r.gate or None, r.trial or None
        if r.file:
            status["fetch"] = {"file": r.file, "bytes": r.done, "of": r.total, "resumed_from": r.resumed}
    return status


def _about(engine: Engine) -> dict[str, Any]:
    return {
        "version": engine.ref.version,
        "digest": engine.ref.digest,
        "engine": engine.name,
        "input": list(engine.artifact.imgsz or engine.artifact.contract.imgsz),
        "ready": engine.ready,
        "tried": [
            {**asdict(trial), "ms": trial.ms and round(trial.ms, 2)} for trial in engine.artifact.trials
        ],
    }


def state_name(s: State) -> str:
    """Where the model stands, in the words of the lifecycle."""
    if s.candidate:
        return s.candidate.stage.value
    wanted = goal(s)
    if wanted and rejection_of(s, wanted):
        return Stage.REJECTED.value
    if s.active is None:
        return Stage.ASPIRED.value
    return (Stage.STABLE if s.probation_until is None else Stage.PROBATION).value
