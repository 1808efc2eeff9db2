# SPDX-License-Identifier: AGPL-3.0-or-later
"""Performs what the reconciler decides for one model: prepares, warms, swaps, drains, retires, remembers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import structlog

from edgeagent.core.directive import Directive
from edgeagent.core.events import (
    ActiveUnhealthy,
    AppendAudit,
    Cancel,
    CandidateFailed,
    Command,
    Event,
    PersistState,
    PrepareCandidate,
    RetireEngine,
    StageReached,
    StoreChanged,
    Swap,
    Tick,
)
from edgeagent.core.form import FrameSizes
from edgeagent.core.lifecycle import Stage
from edgeagent.core.probation import exceeds_failure_budget
from edgeagent.core.reconciler import Policy, goal, next_deadline, react, rejection_of
from edgeagent.core.state import Goal, PrepareMode, State, VersionRef
from edgeagent.errors import EdgeAgentError
from edgeagent.serving.artifact import Artifact
from edgeagent.serving.engine_process import Engine, EngineSettings, SpareEngine
from edgeagent.serving.frame import Frame
from edgeagent.serving.router import Router
from edgeagent.serving.slot import Slot
from edgeagent.update.preparation import (
    Preparation,
    PrepareSettings,
    RefusedError,
    store_fingerprint,
)
from edgeagent.workers.messages import Detected

_log = structlog.get_logger(__name__)
_RECHECK_MIN_S = 2.0
_REFIT_AGAIN_S = 300.0
"""Seconds after which what could not be made anew is tried again: so seldom that it may fail each time."""


class UpdaterObserver(Protocol):
    """Who is told of what an updater does."""

    def save(self, state: State) -> None:
        """Write the state to disk, soon and durably."""

    def record(self, model: str, record: AppendAudit) -> None:
        """Something for the audit log and the metrics."""

    def worker_restarted(self, kind: str) -> None:
        """A worker was started again after it ended."""


class Updater:
    """One model on this node. Everything happens on the event loop's thread."""

    def __init__(
        self,
        state: State,
        policy: Policy,
        prepare: PrepareSettings,
        engine: EngineSettings,
        observer: UpdaterObserver,
        recheck_s: float,
        keep_spare: bool = True,
    ) -> None:
        """keep_spare: an engine worker waits for the next version all the time, not only while there is an update."""
        self.spare = SpareEngine()
        self._keep_spare = keep_spare
        self.state = state
        self.slot = Slot()
        self.slot.epoch = state.epoch
        self.router = Router(state.model, self.slot, resized=self._refit_if_needed)
        self._policy = policy
        self._prepare_settings = prepare
        self._engine_settings = engine
        self._observer = observer
        self._recheck_s = recheck_s
        self._engines: dict[VersionRef, Engine] = {}  # active, standby, and the candidate that is ready
        self._draining: set[Engine] = set()
        self._work: tuple[int, asyncio.Task[None]] | None = None
        self._preparation: Preparation | None = None
        self._warming: Engine | None = None
        self._fitting: Engine | None = None
        self._refit: asyncio.Task[None] | None = None
        self._refit_preparation: Preparation | None = None
        self._refit_again: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._failures: list[float] = []
        self._recheck: asyncio.Task[None] | None = None
        self._refused_fingerprint: dict[str, str] = {}
        self._closed = False

    # -- what the node asks --------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """Let the reconciler decide on an event, and perform its commands. Raises ConflictError from it."""
        if self._closed:
            return
        self.state, commands = react(self.state, event, time.monotonic(), self._policy)
        for command in commands:
            self._perform(command)
        self._arm_timer()
        self._watch_refused()

    def set_probation(self, seconds: float) -> None:
        """How long the versions that come from now on are watched."""
        self._policy = replace(self._policy, probation_s=seconds)

    @property
    def engines(self) -> list[Engine]:
        """Every engine with a worker: serving, standby, warming, draining."""
        loading = [engine for engine in (self._warming, self._fitting) if engine]
        return [*self._engines.values(), *loading, *self._draining]

    @property
    def preparation(self) -> Preparation | None:
        """That of the candidate, while there is one."""
        return self._preparation

    @property
    def preparations(self) -> list[Preparation]:
        """All that are under way: of the candidate, and of the version that is made anew."""
        return [p for p in (self._preparation, self._refit_preparation) if p]

    @property
    def standby(self) -> Engine | None:
        """The engine that stays warm for a roll-back."""
        return self._engines.get(self.state.standby) if self.state.standby else None

    def forget_ring(self, ring: int) -> None:
        """A ring is gone: no engine needs it mapped any more."""
        for engine in self.engines:
            engine.forget_ring(ring)

    async def close(self) -> None:
        """Stop everything; returns when every worker is gone."""
        self._closed = True
        for timer in (self._timer, self._refit_again):
            if timer:
                timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(self.spare.end(), *(e.retire() for e in self.engines))
        if self._tasks:
            await asyncio.wait(self._tasks)

    # -- what engines say (EngineUser) ---------------------------------------------------------------

    def detected(self, engine: Engine, result: Detected) -> None:
        """To the router."""
        self.router.detected(engine, result)

    def fault(self, engine: Engine, ticket: int, why: str) -> None:
        """To the router, and into the log."""
        _log.warning("frame failed", model=self.state.model, version=engine.ref.version, why=why)
        self.router.fault(engine, ticket, why)

    def lost(self, engine: Engine) -> None:
        """To the router."""
        self.router.lost(engine)

    def ready(self, engine: Engine) -> None:
        """The router may have frames waiting for it. When it was started again, it may have taken the spare worker."""
        self.router.dispatch()
        if engine is self.slot.engine:
            self._have_spare()

    def failed(self, engine: Engine, why: str) -> None:
        """Too many failures of the active engine disappoint; one that drains, even of the same version, has no say."""
        if engine is not self.slot.engine:
            return
        now = time.monotonic()
        self._failures = [*self._failures[-9:], now]
        if exceeds_failure_budget(self._failures, now):
            self.handle(ActiveUnhealthy(engine.ref, why))

    # -- commands ------------------------------------------------------------------------------------

    def _perform(self, command: Command) -> None:
        match command:
            case PrepareCandidate(id, wanted, mode):
                self._cancel_work()
                self._work = (id, self._start(self._bring_in(id, wanted, mode)))
            case Cancel(id):
                if self._work and self._work[0] == id:
                    self._cancel_work()
            case Swap(ref, epoch):
                self._failures.clear()
                self.slot.swap(self._engines[ref], epoch)
                _log.info("swapped", model=self.state.model, version=ref.version, epoch=epoch)
                self.router.dispatch()
                self._refit_if_needed()
            case RetireEngine(ref):
                self._drop(self._engines.pop(ref))
            case PersistState():
                self._observer.save(self.state)
            case AppendAudit():
                self._observer.record(self.state.model, command)

    def _cancel_work(self) -> None:
        if self._work:
            self._work[1].cancel()
            self._work = None

    async def _bring_in(self, id: int, wanted: Goal, mode: PrepareMode) -> None:
        """The way of a candidate from FETCHING to READY. Cancelled when it is superseded."""
        engine = None
        preparation = Preparation(
            self.state.model,
            wanted,
            self._prepare_settings,
            self._active_contract(),
            self._recent_frames,
            self._frame_sizes,
            lambda stage, digest: self.handle(StageReached(id, stage, digest)),
            {r.digest for r in self.state.rejections},
            mode,
            backend=self._backend,
        )
        self._preparation = preparation
        try:
            self.spare.wait(self._backend)
            artifact = await preparation.run()
            self.handle(StageReached(id, Stage.WARMING, artifact.ref.digest))
            self._warming = engine = self._engine(artifact)
            await engine.load()
            self._engines[engine.ref] = engine
            self._warming, ready, engine = None, engine, None
            self._work = None
            self.handle(StageReached(id, Stage.READY, ready.ref.digest))
        except OSError as e:  # no process, no descriptor, no memory to be had just now
            self.handle(CandidateFailed(id, f"this machine lacks something: {e}", transient=True))
        except RefusedError as e:
            if e.fingerprint:
                self._refused_fingerprint[wanted.version] = e.fingerprint
            self.handle(CandidateFailed(id, e.why, e.transient))
        except EdgeAgentError as e:
            self.handle(CandidateFailed(id, str(e)))
        finally:
            if self._preparation is preparation:
                self._preparation = None
            self._have_spare()
            if not self._keep_spare and (self._work is None or self._work[1] is asyncio.current_task()):
                await self.spare.end()
            if engine:
                if self._warming is engine:
                    self._warming = None
                await asyncio.shield(engine.retire())

    def _engine(self, artifact: Artifact) -> Engine:
        restarted = partial(self._observer.worker_restarted, "engine")
        return Engine(artifact, self._engine_settings, self, restarted, self.spare)

    def _have_spare(self) -> None:
        """For the next version, or for this one when its worker dies."""
        if self._keep_spare and not self._closed:
            self.spare.wait(self._backend)

    @property
    def _backend(self) -> str:
        """Of the version that serves: the next one's is likely the same."""
        return self.slot.engine.artifact.variant.backend if self.slot.engine else ""

    def _refit_if_needed(self) -> None:
        """Make the version that serves anew when it is not in the form that it should have on this node.

        Nothing else changes: version, digest and epoch stay."""
        if (self._refit is None or self._refit.done()) and self._unfit() and not self._closed:
            self._refit = self._start(self._refit_until_it_fits())

    def _unfit(self) -> Engine | None:
        """The engine that serves, if its version serves as it was published for want of something better, or there are
        frames of another shape than those it was made for: until then it sees these smaller than it should."""
        engine, frames = self.slot.engine, self._frame_sizes()
        if engine is None or engine.artifact.provisional:
            return engine
        made_for = engine.artifact.imgsz
        if made_for is None or not frames.seen:
            return None
        needed = engine.artifact.contract.fitted(frames.seen)
        # A camera that hasn't sent a frame yet may need what the others don't; what these lack, they lack without it.
        too_small = needed[0] > made_for[0] or needed[1] > made_for[1]
        return engine if too_small or (frames.complete and needed != made_for) else None

    async def _refit_until_it_fits(self) -> None:
        """Meanwhile another version may serve, or other frames come. What fails waits for these, or a while."""
        while engine := self._unfit():
            if not await self._fit(engine):
                if self._refit_again:
                    self._refit_again.cancel()
                again = asyncio.get_running_loop().call_later(_REFIT_AGAIN_S, self._refit_if_needed)
                self._refit_again = again
                return

    async def _fit(self, engine: Engine) -> bool:
        ref, model = engine.ref, self.state.model
        goal = Goal(Directive(ref.version, "rebuild", "node"), ref.digest)
        preparation = Preparation(
            model,
            goal,
            self._prepare_settings,
            self._active_contract(),
            self._recent_frames,
            self._frame_sizes,
            lambda stage, digest: None,
            set(),
            PrepareMode.REBUILD,
        )
        self._refit_preparation = preparation
        try:
            artifact = await preparation.run()
            if replace(engine.artifact, provisional=False, trials=artifact.trials) == artifact:
                engine.artifact = artifact  # that is how it serves already
                return True
            self._fitting = self._engine(artifact)
            await self._fitting.load()
            if self._engines.get(ref) is engine:
                self._engines[ref], self._fitting = self._fitting, None
                if self.slot.engine is engine:
                    self.slot.swap(self._engines[ref], self.slot.epoch)
                    self.router.dispatch()
                self._drop(engine)
                form = {"engine": artifact.variant.name, "input": artifact.imgsz}
                _log.info("made anew", model=model, version=ref.version, **form)
            return True
        except (OSError, RefusedError, EdgeAgentError) as e:
            _log.warning("not made anew", model=model, version=ref.version, why=str(e))
            return False
        finally:
            self._refit_preparation = None
            self._have_spare()
            fitting, self._fitting = self._fitting, None
            if fitting:
                await asyncio.shield(fitting.retire())

    def _drop(self, engine: Engine) -> None:
        self._draining.add(engine)
        self._start(self._drain(engine))

    async def _drain(self, engine: Engine) -> None:
        await self.slot.drained(engine)
        await engine.retire()
        self._draining.discard(engine)
        _log.info("retired", model=self.state.model, version=engine.ref.version)

    def _active_contract(self) -> Any:
        return self.slot.engine.artifact.contract if self.slot.engine else None

    def _frame_sizes(self) -> FrameSizes:
        sizes = [line.sizes for line in self.router.lines]
        return FrameSizes(frozenset().union(*sizes), all(sizes))

    def _recent_frames(self) -> list[Frame]:
        newest = (line.recent or (line.waiting[-1] if line.waiting else None) for line in self.router.lines)
        return [frame for frame in newest if frame]

    # -- time ----------------------------------------------------------------------------------------

    def _arm_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        at = next_deadline(self.state)
        if at is not None:
            delay = max(0.0, at - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self.handle, Tick())

    def _watch_refused(self) -> None:
        """While what should serve was refused, look now and then whether the store holds something else."""
        wanted = goal(self.state)
        refused = wanted is not None and rejection_of(self.state, wanted) is not None
        if refused and wanted and not self._recheck:
            self._recheck = self._start(self._recheck_store(wanted.version))
        elif not refused and self._recheck:
            self._recheck.cancel()
            self._recheck = None

    async def _recheck_store(self, version: str) -> None:
        delay = _RECHECK_MIN_S
        while True:
            await asyncio.sleep(min(delay, self._recheck_s))
            delay *= 2
            now = await store_fingerprint(self.state.model, version, self._prepare_settings)
            # What was refused before a restart isn't known: then the store is asked once more.
            if now and now != self._refused_fingerprint.get(version):
                # If it is refused by its digest, without another look at the store, this is what was refused.
                self._refused_fingerprint[version] = now
                _log.info("the store's content changed", model=self.state.model, version=version)
                self._recheck = None
                self.handle(StoreChanged(version))
                return

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        # A fault of our own, or a worker that talks nonsense.
        _log.error("updater failed", model=self.state.model, exc_info=error)
        if self._work and self._work[1] is task:
            self.handle(CandidateFailed(self._work[0], f"error in edgeagent: {error!r}"))
