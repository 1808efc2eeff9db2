# SPDX-License-Identifier: AGPL-3.0-or-later
"""Performs what the reconciler decides for one model, and tells it what came of that; decides nothing itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

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
from edgeagent.core.reconciler import next_deadline, react
from edgeagent.core.state import Candidate, PrepareMode, State
from edgeagent.core.text import clean
from edgeagent.observe.bus import Bus, StageEntered, Swapped, WorkerRestarted
from edgeagent.serving.artifact import Artifact
from edgeagent.serving.engine_process import Engine, EngineSettings, SpareEngine
from edgeagent.serving.router import Router
from edgeagent.serving.slot import Slot
from edgeagent.update.background import BackgroundTasks
from edgeagent.update.candidate_work import CandidateWork
from edgeagent.update.engine_set import EngineSet
from edgeagent.update.judge import Judge, JudgeSettings
from edgeagent.update.preparation import Preparation, PreparationContext
from edgeagent.update.recent_frames import RecentFrames
from edgeagent.update.room import freed_by
from edgeagent.update.trial_runner import PrepareSettings, store_fingerprint
from edgeagent.update.update_watch import UpdateWatch, memory_of
from edgeagent.util.liveness import liveness_clock
from edgeagent.workers.messages import Detected

_log = structlog.get_logger(__name__)


class UpdaterObserver(Protocol):
    """Who is told of what an updater does."""

    def save(self, state: State) -> None:
        """Write the state to disk, soon and durably."""

    async def saved(self, model: str) -> None:
        """Return when what was saved last of a model is on disk. Raises OSError when the disk doesn't take it."""

    def epoch_floor(self, state: State) -> int:
        """What the number of the next swap must be above, so that it is this swap's for ever."""

    def record(self, model: str, record: AppendAudit) -> None:
        """Something for the audit log."""


@dataclass(frozen=True)
class UpdaterSettings:
    """keep_spare: an engine worker waits for the next version all the time, not only while there is an update. judge:
    how versions are compared on live frames."""

    keep_spare: bool = True
    judge: JudgeSettings = field(default_factory=JudgeSettings)


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
        settings: UpdaterSettings = UpdaterSettings(),
    ) -> None:
        self.state = state
        self.slot = Slot()
        self.slot.epoch = state.epoch
        self.router = Router(
            state.model,
            self.slot,
            resized=self._frames_seen,
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
        self._engines = EngineSet(self.slot)
        self.judge = Judge(self.router, self._engines, settings.judge, self.handle)
        self._works: dict[int, tuple[CandidateWork, asyncio.Task[None]]] = {}
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
        before = self.state.candidate
        run = replace(self.state.run, epoch_floor=self._observer.epoch_floor(self.state))
        self.state = replace(self.state, run=run)
        self.state, commands = react(self.state, event, self.clock.now(), self.policy)
        for command in commands:
            self._perform(command)
        if entered := _entered(self.state.model, before, self.state.candidate):
            self._bus.publish(entered)
        self.judge.follow(self.state)
        self._arm_timer()

    @property
    def engines(self) -> list[Engine]:
        """Every engine with a worker: serving, standby, loading, draining."""
        return self._engines.all

    def preparation_of(self, c: Candidate) -> Preparation | None:
        """That of the candidate or the rebuild, while it is worked on."""
        return self._works[c.id][0].preparation if c.id in self._works else None

    @property
    def preparations(self) -> list[Preparation]:
        """All that are under way: of the candidate, and of the rebuild."""
        return [work.preparation for work, _ in self._works.values()]

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
                if command.mode is not PrepareMode.REBUILD:
                    self._watch.begin(command.goal.version)
                work = self._work(command)
                self._works[id] = work, self._tasks.start(self._run(work), partial(self._fault, id))
            case Cancel(id):
                if id in self._works:
                    self._works.pop(id)[1].cancel()
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

    def _work(self, command: PrepareCandidate) -> CandidateWork:
        is_rebuild = command.mode is PrepareMode.REBUILD
        engine = self.slot.engine

        def expect(backend: str) -> None:  # the engine's worker imports it while the gates run
            if not is_rebuild:
                self.spare.wait(backend, soon=True, urgent=self._engines.serving is None)

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
                backend="" if is_rebuild else self._backend,
                on_backend=expect,
                names_in_force=self.slot.classes.names,
                interval_ms=self.router.shortest_interval_ms,
                freed_by_stop=lambda: freed_by(self._engines.held_engines),
                active_plan=engine.artifact.plan if engine else None,
                active_digest=engine.ref.digest if engine else "",
            ),
        )
        return CandidateWork(
            command,
            preparation,
            self._engines,
            self._engine,
            self.router,
            self.handle,
            partial(self._observer.saved, self.state.model),
        )

    async def _run(self, work: CandidateWork) -> None:
        try:
            if work.command.mode is not PrepareMode.REBUILD:
                self.spare.wait(self._backend)
            await work.run()
        finally:
            self._works.pop(work.command.id, None)
            self._have_spare()
            if not self._keep_spare and not self._works:
                await self.spare.end()

    def _fault(self, id: int, error: BaseException) -> None:
        """A fault of our own, or a worker that talks nonsense."""
        self.handle(CandidateFailed(id, clean(f"error in edgeagent: {error!r}")))

    def _engine(self, artifact: Artifact) -> Engine:
        restarted = partial(self._bus.publish, WorkerRestarted("engine", self.state.model))
        return Engine(artifact, self._engine_settings, self, restarted, self.spare)

    def _have_spare(self) -> None:
        """For the next version, or for this one when its worker dies."""
        if self._keep_spare and not self._closed:
            self.spare.wait(self._backend)

    @property
    def _backend(self) -> str:
        """Of the version that serves: the next one's is likely the same."""
        return self.slot.engine.artifact.plan.variant.backend if self.slot.engine else ""

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

    # -- frames and time -----------------------------------------------------------------------------

    def _frames_seen(self) -> None:
        self.handle(FramesSeen(self.router.frame_sizes()))

    def _arm_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        at = next_deadline(self.state)
        if at is not None:
            delay = max(0.0, at - self.clock.now())
            self._timer = asyncio.get_running_loop().call_later(delay, self.handle, Tick())


def _entered(model: str, before: Candidate | None, now: Candidate | None) -> StageEntered | None:
    """The stage that the candidate of now has entered since."""
    if now is None or (before and (before.id, before.stage) == (now.id, now.stage)):
        return None
    return StageEntered(model, now.goal.version, now.digest, now.stage)
