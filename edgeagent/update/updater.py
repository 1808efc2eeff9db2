# SPDX-License-Identifier: AGPL-3.0-or-later
"""Performs what the reconciler decides for one model, and tells it what came of that; decides nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from edgeagent.core.events import (
    AppendAudit,
    AwaitMoment,
    Cancel,
    CandidateFailed,
    CheckStore,
    Command,
    EngineRetired,
    Event,
    FrameAtFault,
    FramesSeen,
    PersistState,
    PrepareCandidate,
    ReplaceEngine,
    RetireEngine,
    SaveFirst,
    StageReached,
    StartShadow,
    StateSaved,
    StopServing,
    StoreChecked,
    Swap,
    Tick,
    WorkerFailed,
)
from edgeagent.core.lifecycle import Stage
from edgeagent.core.policy import Policy
from edgeagent.core.preload import preload_state
from edgeagent.core.preloaded import PreloadState
from edgeagent.core.reconciler import next_deadline, react
from edgeagent.core.state import Candidate, PrepareMode, State
from edgeagent.core.text import clean
from edgeagent.core.update_queue import Precedence, precedence_of
from edgeagent.observe.bus import Bus, PreloadChanged, StageEntered, Swapped, WorkerRestarted
from edgeagent.serving.artifact import Artifact
from edgeagent.serving.engine_process import Engine, EngineSettings, SpareEngine
from edgeagent.serving.router import Router
from edgeagent.serving.slot import Slot
from edgeagent.update.admission import Admission
from edgeagent.update.background import BackgroundTasks
from edgeagent.update.candidate_work import CandidateWork
from edgeagent.update.engine_set import EngineSet
from edgeagent.update.judge import Judge, JudgeSettings
from edgeagent.update.observer import UpdaterObserver
from edgeagent.update.preparation import Preparation, PreparationContext
from edgeagent.update.recent_frames import RecentFrames
from edgeagent.update.room import freed_by
from edgeagent.update.trial_runner import PrepareSettings, store_fingerprint
from edgeagent.update.update_queue import UpdateQueue
from edgeagent.update.update_watch import UpdateWatch, memory_of
from edgeagent.util.liveness import liveness_clock
from edgeagent.workers.messages import Detected

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class UpdaterSettings:
    """keep_spare: an engine worker waits for the next version all the time, not only while there is an update. judge:
    how versions are compared on live frames. queue: where updates wait for each other, one for all models of a node.
    beside_others: the model comes to a node on which others serve, whose frames go before its own first one."""

    keep_spare: bool = True
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    queue: UpdateQueue = field(default_factory=UpdateQueue)
    beside_others: bool = False


@dataclass
class UnderWay:
    """What is done for one candidate, rebuild or preload. work: from when it may begin."""

    admission: Admission
    task: asyncio.Task[None]
    work: CandidateWork | None = None


class Updater:
    """One model on this node. Everything happens on the event loop's thread.

    policy: that decisions follow. clock: of all times in the state. They are times in which the node has run: it
    watches nothing while it doesn't.
    """

    def __init__(
        self,
        state: State,
        policy: Policy,
        prepare: PrepareSettings,
        engine: EngineSettings,
        observer: UpdaterObserver,
        bus: Bus,
        settings: UpdaterSettings,
    ) -> None:
        self.state = state
        self.slot = Slot()
        self.slot.epoch = state.epoch
        self.router = Router(
            state.model,
            self.slot,
            resized=lambda: self.handle(FramesSeen(self.router.frame_sizes())),
            failing=self.failed,
            at_fault=lambda ref: self.handle(FrameAtFault(ref)),
        )
        self._recent = RecentFrames(self.router)
        self.spare = SpareEngine()
        self.policy = policy
        self._prepare_settings = prepare
        self._engine_settings = engine
        self._observer = observer
        self._bus = bus
        self._keep_spare = settings.keep_spare
        self._queue = settings.queue
        self._engines = EngineSet(self.slot, self._engine, settings.beside_others)
        self.judge = Judge(self.router, self._engines, settings.judge, self.handle)
        self._works: dict[int, UnderWay] = {}
        self._tasks = BackgroundTasks(model=state.model)
        self.clock = liveness_clock()
        self._watch = UpdateWatch(self.router.tally, lambda: memory_of(self.engines), self.clock.now)
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    # -- what the node asks --------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """Let the reconciler decide on an event, and perform its commands. Raises ConflictError from it."""
        if self._closed:
            return
        before = self.state
        run = replace(self.state.run, epoch_floor=self._observer.epoch_floor(self.state))
        self.state = replace(self.state, run=run)
        self.state, commands = react(self.state, event, self.clock.now(), self.policy)
        for command in commands:
            self._perform(command)
        for told in _entered(before, self.state):
            self._bus.publish(told)
        self.judge.follow(self.state)
        self._arm_timer()

    def configure(self, policy: Policy, prepare: PrepareSettings, judge: JudgeSettings) -> None:
        """Go on with these settings. What is being prepared, or compared, goes on as it began."""
        self.policy, self._prepare_settings = policy, prepare
        self.judge.configure(judge)
        self.handle(FramesSeen(self.router.frame_sizes()))

    @property
    def preload_state(self) -> PreloadState | None:
        """How far the version is that is made ready ahead; None when there is none."""
        p = self.state.run.preload
        under_way = self._works.get(p.id) if p else None
        return preload_state(self.state, under_way.admission.waits if under_way else "")

    @property
    def engines(self) -> list[Engine]:
        """Every engine with a worker: serving, standby, loading, draining."""
        return self._engines.all

    def work_on(self, c: Candidate) -> UnderWay | None:
        """What is done for the candidate or the rebuild; None while nothing is."""
        return self._works.get(c.id)

    @property
    def preparations(self) -> list[Preparation]:
        """All that are under way: of the candidate, of the rebuild, and of what is made ready ahead."""
        return [under_way.work.preparation for under_way in self._works.values() if under_way.work]

    @property
    def standby(self) -> Engine | None:
        """The engine that stays warm for a roll-back."""
        return self._engines.held(self.state.standby) if self.state.standby else None

    def forget_ring(self, ring: int) -> None:
        """A ring is gone: no engine needs it mapped any more."""
        for engine in self.engines:
            engine.forget_ring(ring)

    async def close(self) -> None:
        """Stop everything; returns when every worker is gone."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
        self.judge.close()
        self._tasks.cancel()
        await asyncio.gather(self.spare.end(), *(e.retire() for e in self.engines))
        await self._tasks.ended()

    # -- what engines say (EngineUser) ---------------------------------------------------------------

    def detected(self, engine: Engine, result: Detected) -> None:
        """To the router."""
        self.router.detected(engine, result)

    def fault(self, engine: Engine, ticket: int, why: str) -> None:
        """To the router, and into the log. On probation it counts for the version: the one before takes over, and has
        this frame too."""
        _log.warning("frame.failed", model=self.state.model, version=engine.ref.version, why=why)
        if self.state.stage is Stage.PROBATION and self.state.standby:
            self.failed(engine, f"a frame can't be inferred: {why}")
        self.router.fault(engine, ticket, why)

    def lost(self, engine: Engine) -> None:
        """To the router."""
        self.router.lost(engine)

    def ready(self, engine: Engine) -> None:
        """The router may have frames waiting for it. When it was started again, it may have taken the spare worker."""
        self.router.dispatch()
        if engine is self.slot.engine:
            self._have_spare()

    def failed(self, engine: Engine, why: str, from_outside: bool = False) -> None:
        """Counts for the version that serves, and for the one in SHADOW; an engine that drains has no say, even of the
        same version."""
        c = self.state.candidate
        if engine is self.slot.engine:
            self.handle(WorkerFailed(engine.ref, why, from_outside))
        elif c and self._engines.is_shadow(engine):
            why = f"its engine worker ended beside what serves: {why}"
            self.handle(CandidateFailed(c.id, why, transient=from_outside))

    # -- commands ------------------------------------------------------------------------------------

    def _perform(self, command: Command) -> None:
        match command:
            case PrepareCandidate(id):
                if command.mode.comes_in:
                    self._watch.begin(command.goal.version)
                admission = self._admission(command)
                # A fault of our own, or a worker that talks nonsense.
                task = self._tasks.start(
                    self._run(command, admission),
                    lambda e: self.handle(CandidateFailed(id, clean(f"error in edgeagent: {e!r}"))),
                )
                self._works[id] = UnderWay(admission, task)
            case Cancel(id):
                if id in self._works:
                    under_way = self._works.pop(id)
                    under_way.admission.end()  # what comes in its place doesn't wait for its workers' end
                    under_way.task.cancel()
            case StartShadow(id, ref):
                self.judge.start_shadow(id, ref)
                self._have_spare()  # it may stay there for long
            case AwaitMoment(id, at):
                self.judge.await_moment(id, at)
            case Swap(ref, epoch, names):
                self._engines.swap(ref, epoch, names)
                self._bus.publish(Swapped(self.state.model, ref.version, ref.digest, epoch))
                self.router.dispatch()
            case StopServing(ref):
                self._tasks.start(self._drain(self._engines.stop(ref)))
                _log.warning("line.stopped", model=self.state.model, version=ref.version)
            case ReplaceEngine(ref):
                self._tasks.start(self._drain(self._engines.replace(ref)))
                _log.info("engine.rebuilt", model=self.state.model, version=ref.version)
                self.router.dispatch()
            case RetireEngine(ref):
                self._tasks.start(self._drain(self._engines.give_up(ref)))
            case CheckStore(version):
                self._tasks.start(self._check_store(version))
            case PersistState():
                self._observer.save(self.state)
            case SaveFirst(id):
                self._observer.save(self.state)
                self._tasks.start(self._saved(id))
            case AppendAudit():
                on_probation = self.state.stage is Stage.PROBATION
                self._observer.record(self.state.model, self._watch.told(command, on_probation))

    def _admission(self, command: PrepareCandidate) -> Admission:
        def precedence() -> Precedence:
            return precedence_of(command.mode, command.goal.version, self.state)

        model = self.state.model
        return Admission(model, command, self._prepare_settings, self._queue, precedence, self.handle)

    def _work(self, command: PrepareCandidate, admission: Admission) -> CandidateWork:
        is_rebuild = command.mode is PrepareMode.REBUILD
        engine = self.slot.engine

        def expect(backend: str) -> None:  # the engine's worker imports it while the gates run
            if command.mode.comes_in:
                self.spare.wait(backend, soon=True, urgent=self._engines.is_urgent)

        preparation = Preparation(
            self.state.model,
            command.goal,
            command.mode,
            self._prepare_settings,
            PreparationContext(
                engine.artifact.contract if engine else None,
                self._recent.frames,
                self.router.frame_sizes,
                lambda stage, digest, gates: self.handle(StageReached(command.id, stage, digest, gates)),
                frozenset() if is_rebuild else frozenset(r.digest for r in self.state.rejections),
                backend="" if is_rebuild else self._engines.backend,
                on_backend=expect,
                names_in_force=self.slot.classes.names,
                interval_ms=self.router.shortest_interval_ms,
                freed_by_stop=lambda: freed_by(self._engines.held_engines),
                active_plan=engine.artifact.plan if engine else None,
                active_digest=engine.ref.digest if engine else "",
                beside_others=self._engines.beside_others,
            ),
        )
        saved = partial(self._observer.saved, self.state.model)
        return CandidateWork(command, preparation, self._engines, self.router, self.handle, saved, admission)

    async def _run(self, command: PrepareCandidate, admission: Admission) -> None:
        try:
            waited = await admission.come()
            if command.mode.comes_in:
                if waited:  # that cost the line nothing
                    self._watch.begin(command.goal.version)
                self.spare.wait(self._engines.backend)
            self._works[command.id].work = work = self._work(command, admission)
            await work.run()
        finally:
            admission.end()
            self._works.pop(command.id, None)
            self._have_spare()
            if not self._keep_spare and not self._works:
                await self.spare.end()

    def _engine(self, artifact: Artifact) -> Engine:
        restarted = partial(self._bus.publish, WorkerRestarted("engine", self.state.model))
        return Engine(artifact, self._engine_settings, self, restarted, self.spare)

    def _have_spare(self) -> None:
        """For the next version, or for this one when its worker dies."""
        if self._keep_spare and not self._closed:
            self.spare.wait(self._engines.backend)

    async def _drain(self, engine: Engine) -> None:
        await self._engines.drain(engine)
        _log.info("engine.retired", model=self.state.model, version=engine.ref.version)
        self.handle(EngineRetired(engine.ref))

    async def _saved(self, id: int) -> None:
        with suppress(OSError):  # a disk that takes nothing is no reason to serve nothing new
            await self._observer.saved(self.state.model)
        self.handle(StateSaved(id))

    async def _check_store(self, version: str) -> None:
        fingerprint = ""
        try:
            fingerprint = await store_fingerprint(self.state.model, version, self._prepare_settings)
        finally:
            self.handle(StoreChecked(version, fingerprint))

    # -- time ----------------------------------------------------------------------------------------

    def _arm_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        at = next_deadline(self.state)
        if at is not None:
            delay = max(0.0, at - self.clock.now())
            self._timer = asyncio.get_running_loop().call_later(delay, self.handle, Tick())


def _entered(before: State, now: State) -> Iterator[StageEntered | PreloadChanged]:
    """The stages that the candidate, and what is made ready ahead, have entered since."""
    was, c = before.candidate, now.candidate
    if c and not (was and (was.id, was.stage) == (c.id, c.stage)):
        yield StageEntered(now.model, c.goal.version, c.digest, c.stage)
    ahead = preload_state(now)
    if ahead and ahead != preload_state(before):
        yield PreloadChanged(now.model, ahead.version, ahead.stage, ahead.why)
