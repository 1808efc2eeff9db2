# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is done for one candidate, or for one rebuild: prepare it, load it, say how it went."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from edgeagent.core.events import (
    CandidateFailed,
    Event,
    FormConfirmed,
    FramesSeen,
    PreloadReady,
    PrepareCandidate,
    StageReached,
)
from edgeagent.core.form import Form
from edgeagent.core.lifecycle import Stage
from edgeagent.core.memory import Place
from edgeagent.core.pace import Pace
from edgeagent.core.state import PrepareMode
from edgeagent.errors import EdgeAgentError
from edgeagent.serving.artifact import Artifact
from edgeagent.serving.engine_process import Engine
from edgeagent.serving.router import Router
from edgeagent.update.admission import Admission
from edgeagent.update.engine_set import EngineSet
from edgeagent.update.interruption import repeat_when_killed
from edgeagent.update.preparation import Preparation, RefusedError
from edgeagent.update.room import fit_now, freed_by, was_measured

_log = structlog.get_logger(__name__)


class CandidateWork:
    """From FETCHING to READY, and through SHADOW. Cancelled when it is superseded; no worker of it is left then, nor if
    it fails."""

    def __init__(
        self,
        command: PrepareCandidate,
        preparation: Preparation,
        engines: EngineSet,
        router: Router,
        report: Callable[[Event], None],
        saved: Callable[[], Awaitable[None]],
        admission: Admission,
    ) -> None:
        """router: knows what the pipelines send. saved: returns when what was decided is on disk, raises OSError when
        the disk doesn't take it. admission: its own, which is over when the next one may begin."""
        self.command = command
        self.preparation = preparation
        self._admission = admission
        self._engines = engines
        self._router = router
        self._report = report
        self._saved = saved

    async def run(self) -> None:
        """Do it, and report. What nobody thought of is raised."""
        id = self.command.id
        try:
            artifact = await self.preparation.run()
            if self.command.mode is PrepareMode.PRELOAD:
                self._report(PreloadReady(id, artifact.ref.digest, artifact.gates))
                return
            # Pipelines may have gone: it is made for those that stay.
            self._report(FramesSeen(self._router.frame_sizes()))
            if not self._is_served(artifact):
                await self._load(artifact)
        except OSError as e:  # no process, no descriptor, no memory to be had just now
            self._failed(CandidateFailed(id, f"this machine lacks something: {e}", transient=True))
        except RefusedError as e:
            self._failed(CandidateFailed(id, e.why, e.transient, e.fingerprint))
        except EdgeAgentError as e:
            self._failed(CandidateFailed(id, str(e)))

    def _is_served(self, artifact: Artifact) -> bool:
        """Whether a rebuild came to what serves already: then it is told what was found out, and nothing is loaded."""
        if self.command.mode is not PrepareMode.REBUILD:
            return False
        engine = self._engines.held(artifact.ref)
        if engine is None or engine.artifact.plan != artifact.plan:
            return False
        engine.artifact = artifact
        self._report(FormConfirmed(self.command.id, form_of(artifact)))
        return True

    async def _load(self, artifact: Artifact) -> None:
        stops = await self._must_stop_first(artifact)
        self._report(StageReached(self.command.id, Stage.WARMING, artifact.ref.digest, stops=stops))
        if stops:
            await self._engines.gone()
        await repeat_when_killed(lambda: self._load_engine(artifact), self.preparation.pauses)

    async def _must_stop_first(self, artifact: Artifact) -> bool:
        """Whether what serves has to make room for it. Raises RefusedError when it may not, and there is none just now;
        a version that has served well is tried all the same."""
        if self._engines.serving is None or not was_measured(artifact):
            return False
        limits, may_stop = self.preparation.room()
        fit = await asyncio.to_thread(fit_now, artifact, limits, freed_by(self._engines.held_engines))
        if fit is None or fit.place is Place.BESIDE:
            return False
        if may_stop and fit.place is Place.INSTEAD:
            version = self.command.goal.version
            _log.warning("line.stops_for_update", version=version, gap_s=fit.load_s, **fit.figures)
            return True
        if self.command.mode is PrepareMode.BOOT:
            return False
        raise RefusedError("; ".join(fit.reasons(may_stop)), transient=True)

    async def _load_engine(self, artifact: Artifact) -> None:
        engine = self._engines.make(artifact)
        try:
            await engine.load(urgent=self._engines.is_urgent)
            if self.command.mode is PrepareMode.UPDATE:
                with suppress(OSError):  # a disk that takes nothing is no reason to serve nothing new
                    await self._saved()  # that it is tried, in case that the node dies of it
            self._engines.offer(engine)
            form, pace = form_of(artifact), self._pace(engine)
            ready = StageReached(self.command.id, Stage.READY, artifact.ref.digest, form=form, pace=pace)
            self._report(ready)
            self._admission.end()  # what comes now, such as its shadow, may take for ever
            await self._engines.out_of_shadow(engine)
        finally:
            await self._engines.end_unless_taken(engine)

    def _pace(self, engine: Engine) -> Pace:
        serving = self._engines.serving
        return Pace(engine.frame_ms, serving.frame_ms if serving else 0.0, self._router.rate())

    def _failed(self, event: CandidateFailed) -> None:
        goal = self.command.goal
        how = {"why": event.why, "again": event.transient or self.command.mode is PrepareMode.REBUILD}
        _log.warning("candidate.failed", version=goal.version, mode=self.command.mode.value, **how)
        self._report(event)


def form_of(artifact: Artifact) -> Form:
    """The form in which an artifact serves."""
    return Form(artifact.contract, artifact.imgsz, artifact.tuning)
