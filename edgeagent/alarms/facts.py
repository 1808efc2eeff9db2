# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node knows of itself, as far as its alarms are about it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeagent.alarms.rule_set import Classes
from edgeagent.core.alarms.refusal import refused_version
from edgeagent.core.alarms.system import ModelFacts, PipelineFacts, SinkFacts, SystemFacts
from edgeagent.core.fleet_phase import RolloutView
from edgeagent.observe.bus import Bus, WorkerRestarted
from edgeagent.serving.pipeline import Pipeline
from edgeagent.update.updater import Updater

NOBODY_LEADS = "it should go on, and no coordinator leads it"


@dataclass(frozen=True)
class Surroundings:
    """Who knows what is neither a pipeline nor a model. Each says what is wrong, "" for nothing."""

    disk_error: Callable[[], str]
    config_store: Callable[[], str]
    api: Callable[[], str]
    rollout_of: Callable[[str], RolloutView | None] = lambda model: None


class NodeFacts:
    """A view on the pipelines and models of a node; changes nothing of theirs."""

    def __init__(
        self,
        pipelines: Mapping[str, Pipeline],
        updaters: Mapping[str, Updater],
        surroundings: Surroundings,
        bus: Bus,
    ) -> None:
        self._pipelines, self._updaters, self._around = pipelines, updaters, surroundings
        self._restarts: dict[str, int] = {}
        bus.subscribe(WorkerRestarted, self._restarted)

    def classes(self, model: str) -> Classes | None:
        """The version that serves, and its classes; None while none does."""
        updater = self._updaters.get(model)
        engine = updater.slot.engine if updater else None
        return (engine.ref.version, tuple(engine.artifact.contract.names)) if engine else None

    def serves(self, pipeline: str) -> bool:
        """Whether frames of a pipeline come, and are looked at."""
        p = self._pipelines.get(pipeline)
        engine = self._updaters[p.config.model].slot.engine if p else None
        return bool(p and engine and engine.ready and p.capture.source.state in ("running", "frozen"))

    def look(self, unusable: Callable[[str], Mapping[str, str]], free_bytes: int | None) -> SystemFacts:
        """unusable: of a pipeline, the rules that can't be judged, and why; free_bytes: of the disk."""
        around = self._around
        return SystemFacts(
            tuple(self._pipeline(name, p, unusable(name)) for name, p in self._pipelines.items()),
            tuple(self._model(name, u) for name, u in self._updaters.items()),
            around.disk_error(),
            free_bytes,
            around.config_store(),
            around.api(),
        )

    def _pipeline(self, name: str, p: Pipeline, unusable: Mapping[str, str]) -> PipelineFacts:
        source = p.capture.source
        return PipelineFacts(
            name=name,
            model=p.config.model,
            state=source.state,
            why=source.why,
            captured=source.captured,
            dropped=dict(p.dropped),
            sinks=tuple(
                SinkFacts(s["sink"], s["type"], s["lost"], s["error"] or "") for s in p.sinks.status()["each"]
            ),
            unusable=unusable,
        )

    def _model(self, name: str, updater: Updater) -> ModelFacts:
        engine, rollout = updater.slot.engine, self._around.rollout_of(name)
        return ModelFacts(
            name=name,
            serves=engine.ref.version if engine else None,
            ready=bool(engine and engine.ready),
            restarts=self._restarts.get(name, 0),
            refused=refused_version(updater.state),
            orphaned=NOBODY_LEADS if rollout and rollout.orphaned else "",
        )

    def _restarted(self, event: WorkerRestarted) -> None:
        if event.kind == "engine":
            self._restarts[event.of] = self._restarts.get(event.of, 0) + 1


def free_bytes(folder: Path) -> int | None:
    """What a user without privileges may still write there; None where that can't be told. May wait for the disk."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize
