# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node says of itself, put together from its models and pipelines: status, readiness, workers, progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from edgeagent.core.fleet_phase import RolloutView
from edgeagent.core.goal import state_name
from edgeagent.notify.service import Notifier
from edgeagent.observe.gpu import GpuCollector
from edgeagent.observe.metrics import Metrics
from edgeagent.observe.rollout_metrics import RolloutMetrics
from edgeagent.observe.state_metrics import StateMetrics
from edgeagent.observe.worker_use import WorkerSeen, WorkerUse
from edgeagent.serving.pipeline import Pipeline
from edgeagent.serving.preview import Previews
from edgeagent.status.model_status import failing, model_now, model_status
from edgeagent.status.pipeline_status import pipeline_status
from edgeagent.status.schema import ModelStatus, NotifyStatus, PipelineStatus, WorkerStatus
from edgeagent.update.picture_writer import PictureWriter
from edgeagent.update.sentinel import GoldenSentinel
from edgeagent.update.snapshots import Snapshots
from edgeagent.update.updater import Updater
from edgeagent.update.withdrawal_watch import WithdrawalWatch
from edgeagent.workers.process import WorkerProcess


class HasWorker(Protocol):
    """Who has one process at most that works for the node."""

    @property
    def worker(self) -> WorkerProcess | None:
        """It, while it is there."""


class NodeStatus:
    """A view on the updaters and pipelines of a node; changes nothing of theirs."""

    def __init__(
        self,
        updaters: Mapping[str, Updater],
        pipelines: Mapping[str, Pipeline],
        metrics: Metrics,
        pictures: PictureWriter,
    ) -> None:
        self._updaters = updaters
        self._pipelines = pipelines
        self._metrics = metrics
        self._pictures = pictures
        self.sentinels: Mapping[str, GoldenSentinel] = {}
        self.withdrawals: WithdrawalWatch | None = None
        self.previews: Previews | None = None
        self.notify: Notifier | None = None
        self.clips: HasWorker | None = None
        self.snapshots: Snapshots | None = None
        self.rollout_of: Callable[[str], RolloutView | None] = lambda model: None
        self._rollout_metrics = RolloutMetrics(metrics.registry)
        self._state_metrics = StateMetrics(metrics.registry)
        use = self._worker_use = WorkerUse()
        metrics.registry.register(use)
        metrics.registry.register(GpuCollector(workers=lambda: use.workers))
        self._shown_models: set[tuple[str, str, str, str, str]] = set()
        self._last_look: dict[str, tuple[int, int]] = {}

    def models(self) -> dict[str, ModelStatus]:
        """Each model's part of `/api/status`."""
        return {
            m: model_status(u, self.sentinels.get(m), self._withdrawn(m), self.rollout_of(m))
            for m, u in self._updaters.items()
        }

    def _withdrawn(self, model: str) -> str:
        return self.withdrawals.reason(model) if self.withdrawals else ""

    def models_now(self) -> dict[str, dict[str, Any]]:
        """Each model in a few words, as the plant is told."""
        return {model: model_now(updater) for model, updater in self._updaters.items()}

    def receivers(self) -> list[NotifyStatus]:
        """Who is told of alarms and updates."""
        return [NotifyStatus(**status) for status in self.notify.status()] if self.notify else []

    def pipelines(self) -> dict[str, PipelineStatus]:
        """Each pipeline's part of `/api/status`."""
        return {n: pipeline_status(p) for n, p in self._pipelines.items()}

    def ready(self) -> tuple[bool, str]:
        """Whether each pipeline has given a result within the last seconds, or has come to its source's end; and no
        version keeps failing."""
        waiting = [f"{model}: {why}" for model, u in self._updaters.items() if (why := failing(u))]
        for name, p in self._pipelines.items():
            engine = self._updaters[p.config.model].slot.engine
            state = p.capture.source.state
            if (state == "ended" and p.results) or (state == "waiting" and engine):
                continue
            if not p.results or time.monotonic() - p.last_result > p.config.source.stall_seconds:
                camera = f"camera {p.capture.source.state} {p.capture.source.why}".strip()
                waiting.append(f"{name}: {camera if engine else 'no model serves yet'}")
        return not waiting, "; ".join(waiting)

    def summary(self) -> str:
        """One line, for `systemctl status`."""
        models = ", ".join(
            f"{m} {u.state.active.version if u.state.active else 'none'} {state_name(u.state)}"
            for m, u in self._updaters.items()
        )
        return f"{models}; {sum(p.capture.source.fps for p in self._pipelines.values()):.0f} frames/s"

    def frames_progress(self) -> bool:
        """Whether no line has taken frames since the last look and given no result although its engine is ready.

        A camera that is away and a model that isn't there yet are no hang; nor is a model that fails on each of them.
        """
        stuck = False
        for name, p in self._pipelines.items():
            engine = self._updaters[p.config.model].slot.engine
            captured, answered = self._last_look.get(name, (0, 0))
            answers = p.results + p.dropped.get("failed", 0)
            if engine and engine.ready and p.capture.source.frames > captured and answers == answered:
                stuck = True
            else:
                self._last_look[name] = (p.capture.source.frames, answers)
        return not stuck

    def update_metrics(self) -> None:
        """The metrics that only polling shows: workers' memory, cameras, which version has which role."""
        memory = dict.fromkeys(("capture", "engine", "prepare", "spare", "pictures", "preview", "clips"), 0)
        workers = self.workers()
        for worker in workers:
            memory[worker.kind] += worker.memory_bytes
        self._worker_use.see(map(_seen, workers))
        for kind, count in memory.items():
            self._metrics.worker_memory(kind, count)
        for name, pipeline in self._pipelines.items():
            self._metrics.pipeline_up(name, pipeline.capture.source.state == "running")
        self._state_metrics.show(
            {name: p.capture.source.state for name, p in self._pipelines.items()},
            {model: bool(failing(u)) for model, u in self._updaters.items()},
        )
        self._rollout_metrics.show({model: self.rollout_of(model) for model in self._updaters})
        models = {
            (model, engine.ref.version, engine.ref.digest, engine.name, role)
            for model, u in self._updaters.items()
            for engine, role in ((u.slot.engine, "active"), (u.standby, "standby"))
            if engine
        }
        for labels in self._shown_models - models:
            self._metrics.remove_model_info(*labels)
        for labels in models - self._shown_models:
            self._metrics.model_info(*labels)
        self._shown_models = models

    def workers(self) -> list[WorkerStatus]:
        """Every process that works for the node now."""
        found: list[WorkerStatus] = []

        def add(worker: WorkerProcess | None, kind: str, **of: str) -> None:
            if worker and worker.alive:
                memory, ran = worker.memory_bytes(), worker.cpu_seconds()
                found.append(
                    WorkerStatus(pid=worker.pid, kind=kind, memory_bytes=memory, cpu_seconds=ran, **of)
                )

        add(self._pictures.worker, "pictures")
        add(self.snapshots.worker if self.snapshots else None, "pictures")
        add(self.previews.worker if self.previews else None, "preview")
        add(self.clips.worker if self.clips else None, "clips")
        for name, pipeline in self._pipelines.items():
            add(pipeline.capture.worker, "capture", pipeline=name)
        for model, updater in self._updaters.items():
            for engine in updater.engines:
                add(engine.worker, "engine", model=model, version=engine.ref.version)
            add(updater.spare.worker, "spare", model=model)
            for preparation in updater.preparations:
                add(preparation.runner.spare.worker, "prepare", model=model, version=preparation.version)
                if preparation.runner.task:
                    add(preparation.runner.task.worker, "prepare", model=model, version=preparation.version)
        return found


def _seen(worker: WorkerStatus) -> WorkerSeen:
    of = (worker.pipeline or "", worker.model or "", worker.version or "")
    return WorkerSeen(worker.pid, (worker.kind, *of), worker.cpu_seconds, worker.memory_bytes)
