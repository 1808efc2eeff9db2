# SPDX-License-Identifier: AGPL-3.0-or-later
"""One model's part of `/api/status`: a view on its updater."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgeagent.core.entry import entry_terms
from edgeagent.core.fleet_phase import RolloutView
from edgeagent.core.goal import goal, rejections_in_force, state_name
from edgeagent.core.preloaded import PreloadState
from edgeagent.core.probation import keeps_failing
from edgeagent.core.probation_watch import lacks, lacks_past
from edgeagent.core.rollback import rollback_target
from edgeagent.core.sentinel import SentinelState
from edgeagent.core.shadow import waits_for
from edgeagent.core.state import Candidate, Override, Shadow, State
from edgeagent.serving.engine_process import Engine
from edgeagent.status.rollout_schema import RolloutStatus
from edgeagent.status.schema import (
    ActiveEngine,
    CandidateStatus,
    FetchProgress,
    GateProgress,
    Held,
    LoadedEngine,
    ModelStatus,
    PreloadStatus,
    ProbationStatus,
    RejectedVersion,
    SentinelStatus,
    ShadowStatus,
)
from edgeagent.update.sentinel import GoldenSentinel
from edgeagent.update.updater import Updater


def model_now(updater: Updater) -> dict[str, Any]:
    """The most important of it: what serves, what should, and where that stands."""
    s, engine = updater.state, updater.slot.engine
    wanted = g.directive if (g := goal(s)) else s.directive
    return {
        "version": engine.ref.version if engine else None,
        "digest": engine.ref.digest if engine else None,
        "epoch": updater.slot.epoch,
        "state": state_name(s),
        "aspired": wanted.version if wanted else None,
        "held": s.override is not None,
    }


def model_status(
    updater: Updater,
    sentinel: GoldenSentinel | None = None,
    withdrawn: str = "",
    rollout: RolloutView | None = None,
) -> ModelStatus:
    """What should serve, what does, what waits, and why. withdrawn: why what serves was, "" while that isn't known;
    rollout: in force."""
    s = updater.state
    wanted = g.directive if (g := goal(s)) else s.directive
    engine, standby = updater.slot.engine, updater.standby
    names = engine.artifact.contract.names if engine else ()
    return ModelStatus(
        unknown_classes=updater.router.settings.unknown(names) if engine else [],
        aspired=wanted.version if wanted else None,
        tag=(wanted and wanted.tag) or None,
        active=_active(engine, updater.slot.epoch, withdrawn) if engine else None,
        standby=_loaded(standby) if standby else None,
        held=_held(s.override) if s.override else None,
        state=state_name(s),
        candidate=_candidate(s.candidate, updater) if s.candidate else None,
        rebuild=_candidate(s.rebuild, updater) if s.rebuild else None,
        preload=_preload(seen) if (seen := updater.preload_state) else None,
        probation=_probation(s, updater),
        draining=list(s.draining),
        previous=[r for r in s.stable_versions if r != s.active],
        rejected=[
            RejectedVersion(version=r.version, digest=r.digest, stage=r.stage, why=r.why)
            for r in rejections_in_force(s)
            if r.version
        ],
        last_error=s.last_error or None,
        failing=failing(updater) or None,
        sentinel=_sentinel(sentinel.state) if sentinel else None,
        rollout=_rollout(rollout) if rollout else None,
    )


def _rollout(seen: RolloutView) -> RolloutStatus:
    rollout = seen.rollout
    return RolloutStatus(
        id=rollout.id,
        version=rollout.plan.version,
        status=rollout.status,
        wave=rollout.wave,
        is_in=seen.is_in,
        phase=seen.phase,
        why=seen.why or None,
        leader=seen.led,
        orphaned=seen.orphaned,
        cause=rollout.cause,
    )


def _sentinel(seen: SentinelState) -> SentinelStatus | None:
    if seen == SentinelState():
        return None
    return SentinelStatus(
        at=seen.at, first_at=seen.first_at, figures=dict(seen.figures), why=seen.why or None
    )


def failing(updater: Updater) -> str:
    """Why the version that serves keeps failing, and what comes of that; "" while it doesn't."""
    s, failures = updater.state, updater.state.run.failures
    is_over = failures is None or updater.clock.now() - failures.last > updater.policy.failure_window_s
    if s.active is None or failures is None or is_over or not keeps_failing(failures):
        return ""
    if s.candidate:
        then = f"{s.candidate.goal.version} comes"
    elif rollback_target(s):
        then = "it stays, for update.sentinel.roll_back is off, or the version before can't be brought"
    else:
        then = "there is no version before it on this node"
    return f"{s.active.version} keeps failing: {failures.why}; {then}"


def _held(override: Override) -> Held:
    asked = override.goal.directive
    return Held(
        kind=override.kind,
        version=asked.version,
        by=asked.by,
        reason=asked.reason,
        until="the intent changes",
    )


def _candidate(c: Candidate, updater: Updater) -> CandidateStatus:
    now = updater.clock.now()
    under_way = updater.work_on(c)
    report = under_way.work.preparation.report if under_way and under_way.work else None
    return CandidateStatus(
        version=c.goal.version,
        digest=c.digest or None,
        stage=c.stage,
        attempt=c.attempt,
        seconds={k: round(v, 3) for k, v in c.durations(now).items()},
        error=(report and report.pause) or c.error or None,
        retry_in_seconds=None if c.retry_at is None else round(max(0.0, c.retry_at - now), 1),
        waits=(under_way and under_way.admission.waits) or None,
        gate=(report and report.gate) or None,
        gate_progress=GateProgress(done=report.gate_done, of=report.gate_total)
        if report and report.gate_total
        else None,
        trial=(report and report.trial) or None,
        fetch=FetchProgress(file=report.file, bytes=report.done, of=report.total, resumed_from=report.resumed)
        if report and report.file
        else None,
        gates=list(c.gates),
        shadow=_shadow(c, c.shadow, updater) if c.shadow else None,
    )


def _preload(seen: PreloadState) -> PreloadStatus:
    return PreloadStatus(version=seen.version, stage=seen.stage, ready=seen.ready, why=seen.why or None)


def _shadow(c: Candidate, s: Shadow, updater: Updater) -> ShadowStatus:
    now = updater.clock.now()
    return ShadowStatus(
        against=s.against.version,
        waits_for=waits_for(c, now, updater.policy),
        at=entry_terms(c.goal.directive, updater.policy).at,
        approved_by=s.approved_by or None,
        seconds_left=None if s.due is None else round(max(0.0, s.due - now), 1),
        shortfall=s.shortfall or None,
        breach=s.breach or None,
        pairs=s.pairs,
    )


def _probation(s: State, updater: Updater) -> ProbationStatus | None:
    watch, until = s.run.probation, s.probation_until
    if watch is None or until is None:
        return None
    return ProbationStatus(
        against=s.standby.version if s.standby else None,
        seconds_left=round(max(0.0, until - updater.clock.now()), 1),
        longer=watch.longer,
        shortfall=(lacks(s) or lacks_past(s)) or None,
        breach=watch.breach or None,
        pairs=watch.pairs,
    )


def _active(engine: Engine, epoch: int, withdrawn: str) -> ActiveEngine:
    gates = list(engine.artifact.gates)
    return ActiveEngine(**dict(_loaded(engine)), epoch=epoch, gates=gates, withdrawn=withdrawn or None)


def _loaded(engine: Engine) -> LoadedEngine:
    artifact = engine.artifact
    return LoadedEngine(
        version=engine.ref.version,
        digest=engine.ref.digest,
        engine=engine.name,
        input=artifact.imgsz or artifact.contract.imgsz,
        ready=engine.ready,
        tuning=artifact.tuning,
        tried=[replace(trial, ms=trial.ms and round(trial.ms, 2)) for trial in artifact.trials],
    )
