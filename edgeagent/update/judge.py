# SPDX-License-Identifier: AGPL-3.0-or-later
"""Has versions judged by live frames: a candidate in SHADOW beside what serves, what serves on probation beside the
version before; and watches for the moment of the swap. It performs and reports; the reconciler decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import structlog

from edgeagent.config import PipelineConfig, UpdateConfig
from edgeagent.config.verdict import zone_of
from edgeagent.core.detection_settings import AS_FOUND, DetectionSettings
from edgeagent.core.events import Event, MomentCame, PairsJudged, ProbationBreached, ShadowFinished
from edgeagent.core.health import HealthLimits
from edgeagent.core.lifecycle import Stage
from edgeagent.core.pairs import FramePair, PairLimits, PairTally
from edgeagent.core.past import PastLimits
from edgeagent.core.rollback import rollback_target
from edgeagent.core.schedule import parse_window
from edgeagent.core.state import State, VersionRef
from edgeagent.serving.engine_process import Engine
from edgeagent.serving.frame import Frame
from edgeagent.serving.router import Router
from edgeagent.update.engine_set import EngineSet
from edgeagent.update.health_watch import HealthWatch
from edgeagent.update.line_past import LinePast
from edgeagent.update.moment import MomentWatch, SwitchSettings
from edgeagent.update.pair_watch import PairWatch
from edgeagent.update.paired_run import PairedRun, PairedSettings, Second
from edgeagent.update.past_watch import PastWatch
from edgeagent.util.liveness import liveness_clock

_log = structlog.get_logger(__name__)

AGAIN_S = 0.5
"""Until a comparison that finds no slots in the rings begins anew."""
LEAST_PATIENCE_S, PATIENCE_FRAMES = 1.5, 50
"""On probation an engine owes its answer within so many times the time that a frame takes, and within so many seconds
at least: the version before is warm, and a line that waits for ten seconds has lost them."""


@dataclass(frozen=True)
class JudgeSettings:
    """limits: from when on two versions differ too much; paired: how often they are compared; switch: see
    `MomentWatch`; health: see `HealthWatch`; past: see `PastWatch`; past_file, line: see `LinePast`."""

    limits: PairLimits = field(default_factory=PairLimits)
    paired: PairedSettings = field(default_factory=PairedSettings)
    switch: SwitchSettings = field(default_factory=SwitchSettings)
    health: HealthLimits = field(default_factory=HealthLimits)
    past: PastLimits = field(default_factory=PastLimits)
    past_file: Path | None = None
    line: str = ""


def judge_settings(
    update: UpdateConfig,
    pipelines: Sequence[PipelineConfig],
    folder: Path,
    detections: DetectionSettings = AS_FOUND,
) -> JudgeSettings:
    """From the configuration. pipelines: on the model; folder: of the node's state; detections: what counts as one."""
    switch, judge = update.switch, update.judge
    windows = tuple(map(parse_window, switch.windows))
    return JudgeSettings(
        judge.pairs.limits(),
        PairedSettings(judge.pace.limits(), judge.patience_seconds),
        switch=SwitchSettings(switch.empty_frames, switch.regions, windows, zone_of(switch.time_zone)),
        health=judge.health.limits(),
        past=judge.past.limits(),
        past_file=folder / "past" / f"{pipelines[0].model}.json",
        line=_line_of(pipelines, judge.past.limits(), update.switch.time_zone, detections),
    )


def _line_of(
    pipelines: Sequence[PipelineConfig], limits: PastLimits, zone: str, detections: DetectionSettings
) -> str:
    """What figures of the past are of."""
    cameras = sorted(f"{p.name} {p.confidence} {p.iou}" for p in pipelines)
    text = f"{cameras} {limits.blocks} {limits.block_seconds} {limits.least_frames} {zone}"
    if detections != AS_FOUND:
        text += f" {detections}"
    return sha256(text.encode()).hexdigest()


class Judge:
    """Of one model. On the event loop's thread.

    on_pair: is shown each pair with its frame, of which it must `retain` what it goes on using.
    """

    def __init__(
        self, router: Router, engines: EngineSet, settings: JudgeSettings, report: Callable[[Event], None]
    ) -> None:
        self.on_pair: Callable[[FramePair, Frame], None] = lambda pair, frame: None
        self._router = router
        self._engines = engines
        self._settings = settings
        self._report = report
        self._shadow_of: tuple[int, VersionRef] | None = None  # id and version of the candidate in SHADOW
        self._shadow: PairWatch | None = None
        self._moment: MomentWatch | None = None
        self._probation_of: tuple[VersionRef, VersionRef] | None = None  # what serves, and the version before
        self._probation: PairWatch | None = None
        clock = liveness_clock().now
        past = LinePast(settings.past_file, settings.line, clock)
        self._health = HealthWatch(
            router, settings.health, lambda ref, why: report(ProbationBreached(ref, why)), clock, past
        )
        self._past = PastWatch(
            router, past, settings.past, report, clock, lambda: datetime.now(self._settings.switch.zone)
        )

    def start_shadow(self, id: int, ref: VersionRef) -> None:
        """Compare the candidate with what serves from now on. What serves comes first: while it is on probation itself,
        the line has nothing left for another."""
        self._end_shadow()
        self._engines.shadow(ref)
        self._shadow_of = id, ref

    def await_moment(self, id: int, at: str) -> None:
        """Watch for the moment of the candidate's swap, and for no other any more."""
        if self._moment:
            self._moment.close()
        self._moment = MomentWatch(
            at, self._settings.switch, self._router, lambda why: self._report(MomentCame(id, why))
        )

    def configure(self, settings: JudgeSettings) -> None:
        """Judge by these from now on; a comparison that is under way goes on as it began."""
        before, self._settings = self._settings, settings
        if (before.health, before.past, before.line) != (settings.health, settings.past, settings.line):
            self._health.configure(settings.health)
            self._past.configure(settings.past, settings.line)

    def follow(self, state: State) -> None:
        """To be called after each decision: end what is no longer asked for, begin what can be."""
        c = state.candidate
        if self._shadow_of and (c is None or c.stage is not Stage.SHADOW or c.id != self._shadow_of[0]):
            self._end_shadow()
            if self._moment:
                self._moment.close()
                self._moment = None
        active, standby = state.active, state.standby
        watched = (active, standby) if active and standby and state.stage is Stage.PROBATION else None
        if watched != self._probation_of:
            self._end_probation()
            self._probation_of = watched
            if watched:
                self._begin_probation(*watched)
        self._have_answers_in_time()
        watch = state.run.probation
        may_be_slow = watch is not None and watch.may_be_slow
        serving, stable = self._engines.serving, state.stage is Stage.STABLE
        before = None if stable else standby or rollback_target(state)
        self._health.follow(serving, before, may_be_slow, stable)
        pairs = watch.pairs if watch else None
        judged = watch is not None and (watched is None or pairs is None or not pairs.frames)
        self._past.follow(serving, stable, judged)
        if self._shadow_of and self._shadow is None and self._probation is None:
            self._begin_shadow(*self._shadow_of)

    def close(self) -> None:
        """End everything."""
        self._end_shadow()
        self._end_probation()
        self._health.close()
        self._past.close()
        if self._moment:
            self._moment.close()

    def names_of(self, ref: VersionRef) -> tuple[str, ...]:
        """The classes of a version that is loaded, as its boxes are numbered in the pairs; none when it isn't."""
        serving = self._engines.serving
        if serving and serving.ref == ref:
            return self._engines.names
        engine = next((e for e in self._engines.all if e.ref == ref), None)
        return engine.artifact.contract.names if engine else ()

    # -- the two watches -------------------------------------------------------------------------------

    def _begin_shadow(self, id: int, ref: VersionRef) -> None:
        if self._engines.serving is None:
            return
        engine = self._engines.shadow(ref)
        watch = PairWatch(
            PairTally(self._settings.limits, self._engines.names, engine.artifact.contract.names),
            lambda summary, shortfall: self._report(PairsJudged(ref, summary, shortfall)),
            lambda why, summary: self._breached(ShadowFinished(id, why, summary), ref),
        )
        self._shadow = watch
        self._run(watch, engine, Second.CANDIDATE)

    def _begin_probation(self, active: VersionRef, standby: VersionRef) -> None:
        engine, serving = self._engines.held(standby), self._engines.held(active)
        if engine is None or serving is None:
            return
        names = engine.artifact.contract.names, serving.artifact.contract.names
        watch = PairWatch(
            PairTally(self._settings.limits, *names),
            lambda summary, shortfall: self._report(PairsJudged(active, summary, shortfall)),
            lambda why, summary: self._breached(ProbationBreached(active, why, summary), active),
        )
        self._probation = watch
        self._run(watch, engine, Second.INCUMBENT)

    def _breached(self, event: ShadowFinished | ProbationBreached, ref: VersionRef) -> None:
        watch = "shadow" if isinstance(event, ShadowFinished) else "probation"
        _log.warning("pairs.breach", version=ref.version, watch=watch, why=event.why)
        self._report(event)

    def _run(self, watch: PairWatch, engine: Engine, second: Second) -> None:
        def on_pair(pair: FramePair, frame: Frame) -> None:
            watch.observe(pair)
            self.on_pair(pair, frame)

        run = PairedRun(self._router, engine, second, on_pair, self._settings.paired)

        def begin() -> None:
            try:
                run.start()
            except (
                ValueError
            ) as e:  # the comparison before has a frame yet, which is being written as a picture
                _log.info("pairs.wait", version=engine.ref.version, why=str(e))
                watch.on_end = asyncio.get_running_loop().call_later(AGAIN_S, begin).cancel
                return
            watch.on_end = run.stop

        begin()

    def _end_shadow(self) -> None:
        if self._shadow:
            self._shadow.close()
        self._shadow = self._shadow_of = None

    def _end_probation(self) -> None:
        if self._probation:
            self._probation.close()
        self._probation = self._probation_of = None

    def _have_answers_in_time(self) -> None:
        """Of what serves: on probation with less patience than else."""
        serving = self._engines.serving
        if serving is None:
            return
        patience_s = max(LEAST_PATIENCE_S, PATIENCE_FRAMES * serving.frame_ms / 1000)
        serving.answer_within(patience_s if self._probation_of else None)
