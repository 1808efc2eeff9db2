# SPDX-License-Identifier: AGPL-3.0-or-later
"""The reconciler on paper: events go in, commands come out, and the state is kept between them.

`on` answers with what is to be done (PrepareCandidate, Cancel, StartShadow, AwaitMoment, Swap, ReplaceEngine,
RetireEngine); AppendAudit, PersistState, SaveFirst and CheckStore are kept aside, in `records`, `saved` and `checks`,
so that a test reads as the protocol. The disk takes what is saved at once, unless `disk_takes` says otherwise.
"""

from __future__ import annotations

import json
from typing import Any

from edgeagent.core.directive import Directive
from edgeagent.core.events import (
    AppendAudit,
    AwaitMoment,
    Cancel,
    CandidateFailed,
    CheckStore,
    Event,
    IntentChanged,
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
from edgeagent.core.pairs import PairSummary
from edgeagent.core.policy import Policy
from edgeagent.core.reconciler import react
from edgeagent.core.state import State, VersionRef, from_json, to_json

POLICY = Policy(probation_s=60.0, retry_min_s=1.0, retry_max_s=30.0, keep_stable=3)
UNPROVEN = (Stage.VERIFYING, Stage.PREPARING, Stage.GATING, Stage.WARMING)
PROVEN = (Stage.VERIFYING, Stage.PREPARING, Stage.WARMING)
Act = (
    PrepareCandidate | Cancel | StartShadow | AwaitMoment | Swap | StopServing | ReplaceEngine | RetireEngine
)


def digest_of(version: str, content: str = "") -> str:
    """The digest of a version; of other `content` under the same name."""
    return f"sha256:{version}{content}"


def ref(version: str, content: str = "") -> VersionRef:
    """The version as it serves."""
    return VersionRef(version, digest_of(version, content))


def intent(version: str, revision: int, **fields: Any) -> IntentChanged:
    """The operator wrote this version into the key."""
    return IntentChanged(Directive(version, f"/models/yolo/current@{revision}", by="etcd", **fields))


def summary(frames: int, objects: int) -> PairSummary:
    """What so many frames say that two versions have seen, on which nothing is lost."""
    return PairSummary(frames=frames, objects=objects)


class Playbook:
    """One model on one node, with a clock that stands until it is moved."""

    def __init__(self, state: State | None = None, policy: Policy = POLICY) -> None:
        self.state = state or State("yolo")
        self.policy = policy
        self.now = 1000.0
        self.records: list[AppendAudit] = []
        self.checks: list[str] = []  # versions that the store was asked about
        self.looks = 0
        self.saved = to_json(self.state)
        self.disk_takes = True

    def on(self, event: Event) -> list[Act]:
        """What is to be done about it."""
        self.state, commands = react(self.state, event, self.now, self.policy)
        self.records += [c for c in commands if isinstance(c, AppendAudit)]
        self.checks += [c.version for c in commands if isinstance(c, CheckStore)]
        if any(isinstance(c, PersistState | SaveFirst) for c in commands):
            self.saved = json.loads(json.dumps(to_json(self.state)))
        aside = AppendAudit | PersistState | SaveFirst | CheckStore
        acts: list[Act] = [c for c in commands if not isinstance(c, aside)]
        for command in commands:
            if isinstance(command, SaveFirst) and self.disk_takes:
                acts += self.on(StateSaved(command.id))
        return acts

    def after(self, seconds: float) -> list[Act]:
        """What is to be done when so much time has passed."""
        self.now += seconds
        return self.on(Tick())

    def reaches(self, *stages: Stage, content: str = "", digest: str = "") -> list[Act]:
        """The candidate goes through these stages, with other `content` or `digest`; what is to be done at the last."""
        acts: list[Act] = []
        for stage in stages:
            assert acts == [], f"unexpected before {stage}: {acts}"
            c = self.state.candidate
            assert c is not None
            acts = self.on(StageReached(c.id, stage, digest or digest_of(c.goal.version, content)))
        return acts

    def passes(self, content: str = "") -> list[Act]:
        """The candidate goes all its way to READY; what is to be done then."""
        c = self.state.candidate
        assert c is not None
        return self.reaches(*(PROVEN if c.goal.known_good else UNPROVEN), Stage.READY, content=content)

    def fails(self, why: str, transient: bool = False) -> list[Act]:
        """The candidate can't go on."""
        c = self.state.candidate
        assert c is not None
        return self.on(CandidateFailed(c.id, why, transient))

    def crashes(self, version: str, why: str = "crashed") -> list[Act]:
        """Its worker fails; what is to be done then."""
        return self.on(WorkerFailed(ref(version), why))

    def store_changes(self, fingerprint: str = "") -> list[Act]:
        """The store is looked at when it is time, and holds something else under the refused version, or this."""
        watch = self.state.run.store_watch
        assert watch is not None
        assert watch.due is not None
        self.checks.clear()
        acts = self.after(watch.due - self.now)
        assert self.checks == [watch.version]
        self.looks += 1
        return acts + self.on(StoreChecked(watch.version, fingerprint or f"content {self.looks}"))

    def restarts(self) -> list[Act]:
        """The node was killed and starts again, with what was on disk; the first thing it does."""
        self.state = from_json(self.state.model, self.saved)
        return self.on(Tick())

    def rereads(self) -> list[Act]:
        """The config store is there after a start, and tells the intent that stood before; what is to be done."""
        assert self.state.directive is not None
        return self.on(IntentChanged(self.state.directive))

    def serves(self, *versions: str) -> Playbook:
        """Each of these was the intent and became stable, one after the other."""
        for n, version in enumerate(versions, start=1):
            self.on(intent(version, n))
            self.passes()
            self.after(self.policy.probation_s)
        assert self.state.candidate is None
        return self


def begun(acts: list[Act]) -> list[str]:
    """The versions that are to be brought in."""
    return [act.goal.version for act in acts if isinstance(act, PrepareCandidate)]
