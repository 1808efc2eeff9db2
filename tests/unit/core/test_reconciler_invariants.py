# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whatever happens, in whatever order: what the reconciler asks for can be performed, and the promises hold."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from edgeagent.core.directive import Directive
from edgeagent.core.directive_fields import ProbationTerms, ShadowTerms
from edgeagent.core.events import (
    AppendAudit,
    ApproveRequested,
    AwaitMoment,
    Cancel,
    CandidateFailed,
    CheckStore,
    EngineRetired,
    Event,
    FormConfirmed,
    FrameAtFault,
    FramesSeen,
    GaveWay,
    IntentChanged,
    IntentInvalid,
    MomentCame,
    PairsJudged,
    PastJudged,
    PersistState,
    PreloadReady,
    PreloadWanted,
    PrepareCandidate,
    ProbationBreached,
    PromoteRequested,
    RefuseRequested,
    ReplaceEngine,
    RetireEngine,
    RollbackRequested,
    SaveFirst,
    ShadowFinished,
    StageReached,
    StartShadow,
    StateSaved,
    StopServing,
    StoreChecked,
    Swap,
    Tick,
    WorkerFailed,
)
from edgeagent.core.form import Form, FrameSizes
from edgeagent.core.goal import goal, rejection_of
from edgeagent.core.lifecycle import Stage
from edgeagent.core.model import Contract
from edgeagent.core.pairs import PairSummary
from edgeagent.core.policy import Policy
from edgeagent.core.probation import MAX_STABLE_FAILURES, MIN_FAILING_S
from edgeagent.core.reconciler import next_deadline, react
from edgeagent.core.rollout import rollout_intent
from edgeagent.core.state import (
    MAX_REJECTIONS,
    Candidate,
    Goal,
    PrepareMode,
    State,
    VersionRef,
    from_json,
    to_json,
)
from edgeagent.core.tuning import Tuning
from edgeagent.errors import ConflictError
from tests.support.examples import examples
from tests.support.playbook import summary

POLICY = Policy(
    probation_s=10.0,
    probation_longest=2.0,
    switch_max_wait_s=3.0,
    has_windows=True,
    retry_min_s=1.0,
    retry_max_s=4.0,
    keep_stable=3,
)
SUMMARIES = st.builds(summary, st.sampled_from([0, 50, 100]), st.just(4))
SHORTFALLS = st.sampled_from(["", "too little was seen"])
TERMS = st.fixed_dictionaries(
    {},
    optional={
        "shadow": st.sampled_from([ShadowTerms(0), ShadowTerms(seconds=4), ShadowTerms(frames=100)]),
        "probation": st.sampled_from([ProbationTerms(4), ProbationTerms(20)]),
        "approval": st.sampled_from(["auto", "manual"]),
        "at": st.sampled_from(["now", "between-parts", "window"]),
    },
)
"""How a version is to come in."""
CONTRACT = Contract("detect", ("scratch",), (320, 320), 32)
SIZES = st.sampled_from([(720, 1280), (1280, 720), (480, 640), (360, 640)])
VERSIONS = st.sampled_from(["v1", "v2", "v3", "v4"])
UNPROVEN = [Stage.VERIFYING, Stage.PREPARING, Stage.GATING, Stage.WARMING, Stage.READY]
PROVEN = [Stage.VERIFYING, Stage.PREPARING, Stage.WARMING, Stage.READY]


def candidate_is_counted(state: State) -> bool:
    """Whether the candidate waits for the disk only."""
    c = state.candidate
    return c is not None and c.shadow is not None and c.shadow.counted


class Work:
    """What the executor does for one candidate or rebuild: the stages still ahead, the content that it found, the form
    that it makes for the frames of now."""

    def __init__(self, id: int, wanted: Goal, mode: PrepareMode, frames: FrameSizes) -> None:
        self.id = id
        self.wanted = wanted
        self.mode = mode
        self.way = UNPROVEN if mode.is_unproven else PROVEN
        self.ahead = list(self.way)
        self.digest = wanted.digest if mode is PrepareMode.REBUILD else ""
        self.form = Form(CONTRACT, CONTRACT.fitted(frames.seen))


class Node(RuleBasedStateMachine):
    """An executor of commands, as plain as can be; it refuses what can't be performed."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State("yolo")
        self.now = 0.0
        self.live: set[VersionRef] = set()  # engines with a worker
        self.active: VersionRef | None = None
        self.epoch = 0
        self.work: Work | None = None
        self.shadow: tuple[int, VersionRef] | None = (
            None  # id and version of the engine that sees frames, too
        )
        self.saving = 0  # id of the candidate whose trial is to be on disk before it serves
        self.awaited = 0  # id of the candidate whose moment is watched for
        self.rebuild: Work | None = None
        self.preload: Work | None = None
        self.rebuilt: VersionRef | None = None  # of the engine that is ready to take over
        self.draining: Counter[VersionRef] = Counter()
        self.frames = FrameSizes()
        self.asked: list[str] = []  # what the store is being asked about
        self.touched = 0  # how often somebody did something to the store
        self.earned: set[VersionRef] = set()  # once stable
        self.first = True  # no version was ever good here
        self.proven = False  # whether a stable version has served since the start
        self.content = dict.fromkeys(["v1", "v2", "v3", "v4"], 0)  # of the store
        self.saved: dict[str, Any] = to_json(self.state)
        self.intents: list[Directive] = []
        self.written: Directive | None = None  # into `current`
        self.revision = 0
        self.last_id = 0

    # -- the executor --------------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """Decide and perform; then tell it again, which must change nothing."""
        self.first = not self.state.stable_versions
        self.state, commands = react(self.state, event, self.now, POLICY)
        for command in commands:
            self.perform(command)
        once = RollbackRequested | WorkerFailed | EngineRetired | ApproveRequested | RefuseRequested
        counts = isinstance(event, once)
        again = [Tick()] if counts else [event, Tick()]
        for repeated in again:
            state, commands = react(self.state, repeated, self.now, POLICY)
            assert [c for c in commands if not isinstance(c, PersistState)] == []
            assert state == self.state
        if self.state.active and self.state.probation_until is None:
            self.earned.add(self.state.active)
            self.proven = True

    def perform(self, command: object) -> None:
        match command:
            case PrepareCandidate(id, wanted, mode):
                assert id > self.last_id
                self.last_id = id
                work = Work(id, wanted, mode, self.frames)
                if mode is PrepareMode.PRELOAD:
                    assert self.preload is None, "two preloads at once"
                    assert self.work is None, "beside a candidate"
                    self.preload = work
                elif mode is PrepareMode.REBUILD:
                    assert self.rebuild is None, "two rebuilds at once"
                    assert VersionRef(wanted.version, wanted.digest) == self.active
                    self.rebuild = work
                else:
                    assert mode is wanted.mode
                    assert self.work is None, "two candidates at once"
                    self.work = work
            case Cancel(id):
                assert id <= self.last_id
                self.work = None if self.work and self.work.id == id else self.work  # unless it waited only
                self.rebuild = None if self.rebuild and self.rebuild.id == id else self.rebuild
                self.preload = None if self.preload and self.preload.id == id else self.preload
                if self.shadow and self.shadow[0] == id:
                    self.live.remove(self.shadow[1])
                    self.shadow = None
            case StartShadow(id, ref):
                assert self.state.candidate
                assert id == self.state.candidate.id
                assert ref in self.live
                assert ref != self.state.active
                self.shadow = id, ref
            case AwaitMoment(id, at):
                assert self.shadow
                assert self.shadow[0] == id
                assert at in ("between-parts", "window")
                self.awaited = id
            case Swap(ref, epoch):
                assert ref in self.live, "not warm"
                assert epoch == self.epoch + 1
                assert ref != self.active
                self.active, self.epoch = ref, epoch
                if self.shadow and self.shadow[1] == ref:
                    self.shadow = None
                if self.state.probation_until is None:
                    assert self.first or ref in self.earned, "trusted without having earned it"
            case StopServing(ref):
                assert ref == self.active
                self.live.remove(ref)
                self.draining[ref] += 1
                self.active, self.proven = None, False
            case ReplaceEngine(ref):
                assert ref == self.active == self.rebuilt
                self.draining[ref] += 1
            case RetireEngine(ref):
                assert ref != self.active
                self.live.remove(ref)
                self.draining[ref] += 1
            case CheckStore(version):
                self.asked.append(version)
            case PersistState():
                self.saved = json.loads(json.dumps(to_json(self.state)))
            case SaveFirst(id):
                assert self.shadow
                assert self.shadow[0] == id
                self.saved = json.loads(json.dumps(to_json(self.state)))
                self.saving = id
            case AppendAudit():
                assert all(seconds >= 0 for seconds in command.stages.values())

    # -- what can happen -----------------------------------------------------------------------------

    @rule(version=VERSIONS, allow=st.booleans(), terms=TERMS)
    def write_the_key(self, version: str, allow: bool, terms: dict[str, Any]) -> None:
        self.revision += 1
        key = f"key@{self.revision}"
        self.written = Directive(version, key, "etcd", allow_new_contract=allow, **terms)
        self.intents.append(self.written)
        self.handle(IntentChanged(self.intents[-1]))

    @rule(version=VERSIONS, unconverted=st.booleans(), terms=TERMS)
    def an_update_goes_through(self, version: str, unconverted: bool, terms: dict[str, Any]) -> None:
        """As it mostly does: nothing happens meanwhile."""
        self.write_the_key(version, False, terms)
        for _ in range(2):  # after a start what was good comes first
            while self.work:
                self.the_candidate_advances(1, unconverted)

    @rule(version=VERSIONS, terms=TERMS)
    def a_rollout_begins(self, version: str, terms: dict[str, Any]) -> None:
        self.revision += 1
        intent_id = rollout_intent("yolo", f"r{self.revision}")
        self.intents.append(Directive(version, intent_id, "CI", spread_s=5.0, **terms))
        refused = self.state.rejections
        self.handle(IntentChanged(self.intents[-1]))
        assert set(refused) <= {replace(r, version=v) for r in self.state.rejections for v in (r.version, "")}

    @precondition(lambda self: self.written and self.intents[-1] != self.written)
    @rule()
    def a_rollout_is_taken_back(self) -> None:
        """What the key says has mostly served well here."""
        assert self.written
        back, served, hold = replace(self.written, returns=True), self.active, self.state.override
        self.intents.append(back)
        self.handle(IntentChanged(back))
        again = self.intents[-2:] == [back, back]
        if again or (hold and hold.kind != "sentinel" and hold.goal.version != back.version):
            assert self.state.override == hold
            return
        assert self.state.override is None
        wanted = goal(self.state)
        if wanted and served and self.state.stable_versions and self.state.run.intent_synced:
            leaves = [ref for ref in self.earned if ref.version != served.version]
            assert wanted.version in {back.version, *(ref.version for ref in leaves)}

    @precondition(lambda self: self.intents)
    @rule()
    def the_watch_repeats_itself(self) -> None:
        self.handle(IntentChanged(self.intents[-1]))

    @rule()
    def write_nonsense(self) -> None:
        self.handle(IntentInvalid("nonsense"))

    @rule()
    def roll_back(self) -> None:
        before = self.state
        try:
            self.handle(RollbackRequested("Ada"))
        except ConflictError:
            assert self.state == before
            return
        wanted = goal(self.state)
        assert wanted is not None
        assert VersionRef(wanted.version, wanted.digest) in self.earned

    @rule(version=VERSIONS)
    def promote(self, version: str) -> None:
        self.revision += 1
        self.handle(PromoteRequested(Directive(version, f"api@{self.revision}", "Ada")))

    @precondition(lambda self: self.work)
    @rule(steps=st.integers(1, 5), unconverted=st.booleans(), no_room=st.booleans())
    def the_candidate_advances(self, steps: int, unconverted: bool, no_room: bool = False) -> None:
        """no_room: what serves has to be stopped before it is loaded."""
        for _ in range(steps):
            work = self.work
            if work is None:
                return
            stage = work.ahead.pop(0)
            if stage is not Stage.FETCHING:
                work.digest = (
                    work.digest or f"sha256:{work.wanted.version}/{self.content[work.wanted.version]}"
                )
            if stage is Stage.READY:
                self.live.add(VersionRef(work.wanted.version, work.digest))
                self.work = None
                if unconverted and work.mode is PrepareMode.BOOT:
                    work.form = Form(CONTRACT, None, tuning=Tuning.UNCONVERTED)
            stops = no_room and stage is Stage.WARMING and self.active is not None
            self.handle(StageReached(work.id, stage, work.digest, form=work.form, stops=stops))

    @precondition(lambda self: self.work and len(self.work.ahead) == len(self.work.way))
    @rule()
    def the_candidate_waits_for_its_turn(self) -> None:
        assert self.work
        self.work.ahead.insert(0, Stage.FETCHING)
        self.handle(StageReached(self.work.id, Stage.ASPIRED))

    @precondition(lambda self: self.work and self.work.ahead[0] is not Stage.FETCHING)
    @rule(transient=st.booleans())
    def the_candidate_fails(self, transient: bool) -> None:
        work, self.work = self.work, None
        assert work is not None
        self.handle(CandidateFailed(work.id, "bad", transient, f"touch {self.touched}"))

    @precondition(lambda self: self.state.rejections)
    @rule()
    def a_frame_fails_on_both(self) -> None:
        last = self.state.rejections[-1]
        self.handle(FrameAtFault(VersionRef(last.version, last.digest)))
        assert self.state.run.blamed is None or self.state.run.blamed.digest != last.digest

    @precondition(lambda self: self.shadow)
    @rule(summary=SUMMARIES, shortfall=SHORTFALLS)
    def the_shadow_sees_frames(self, summary: PairSummary, shortfall: str) -> None:
        assert self.shadow
        self.handle(PairsJudged(self.shadow[1], summary, shortfall))

    @precondition(lambda self: self.shadow)
    @rule(summary=SUMMARIES)
    def the_shadow_does_worse(self, summary: PairSummary) -> None:
        assert self.shadow
        id, ref = self.shadow
        self.handle(ShadowFinished(id, "it finds fewer scratches", summary))
        assert self.active != ref

    @precondition(lambda self: self.shadow)
    @rule(from_outside=st.booleans())
    def the_shadow_dies(self, from_outside: bool) -> None:
        assert self.shadow
        self.handle(CandidateFailed(self.shadow[0], "crashed", from_outside))
        assert self.shadow is None

    @precondition(lambda self: self.saving)
    @rule()
    def the_disk_has_it(self) -> None:
        id, self.saving = self.saving, 0
        self.handle(StateSaved(id))
        assert self.shadow is None or self.shadow[0] != id or not candidate_is_counted(self.state)

    @precondition(lambda self: self.awaited)
    @rule()
    def the_moment_comes(self) -> None:
        self.handle(MomentCame(self.awaited, "nothing lies before the cameras"))

    @rule(version=st.sampled_from(["", "v1", "v2", "v3", "v4"]), refuse=st.booleans())
    def the_operator_looks_at_the_shadow(self, version: str, refuse: bool) -> None:
        before, shadow = self.state, self.shadow
        try:
            if refuse:
                self.handle(RefuseRequested("Ada", "misses dents", version))
            else:
                self.handle(ApproveRequested("Ada", version))
        except ConflictError:
            assert self.state == before
            assert shadow is None or version not in ("", shadow[1].version)
            return
        assert shadow is not None
        assert not refuse or self.shadow is None

    @precondition(lambda self: self.active)
    @rule(summary=SUMMARIES, shortfall=SHORTFALLS, breach=st.booleans())
    def probation_sees_frames(self, summary: PairSummary, shortfall: str, breach: bool) -> None:
        assert self.active
        ref, back = self.active, self.state.standby
        if breach:
            self.handle(ProbationBreached(ref, "it finds fewer scratches", summary))
            assert self.active == (back or ref)
        else:
            self.handle(PairsJudged(ref, summary, shortfall))

    @precondition(lambda self: self.active)
    @rule(shortfall=SHORTFALLS, waits=st.booleans())
    def probation_is_held_against_the_past(self, shortfall: str, waits: bool) -> None:
        assert self.active
        ref = self.active
        self.handle(PastJudged(ref, shortfall, waits))
        assert self.active == ref

    @precondition(lambda self: self.rebuild)
    @rule(steps=st.sampled_from([1, 2, 4]), confirmed=st.booleans())
    def the_rebuild_advances(self, steps: int, confirmed: bool) -> None:
        epoch = self.epoch
        for _ in range(steps):
            work = self.rebuild
            if work is None:
                break
            stage = work.ahead.pop(0)
            if stage is Stage.READY:
                self.rebuild, self.rebuilt = None, VersionRef(work.wanted.version, work.digest)
                event = StageReached(work.id, stage, work.digest, form=work.form)
                self.handle(FormConfirmed(work.id, work.form) if confirmed else event)
                self.rebuilt = None
            else:
                self.handle(StageReached(work.id, stage, work.digest))
        assert self.epoch == epoch

    @precondition(lambda self: self.rebuild)
    @rule(why=st.sampled_from(["disk full", "no process"]))
    def the_rebuild_fails(self, why: str) -> None:
        work, self.rebuild = self.rebuild, None
        assert work is not None
        self.handle(CandidateFailed(work.id, why))

    @precondition(lambda self: self.active)
    @rule(size=SIZES, confirmed=st.booleans())
    def a_rebuild_goes_through(self, size: tuple[int, int], confirmed: bool) -> None:
        """As it mostly does: nothing happens meanwhile."""
        self.frames_of_a_size_come(size, True)
        if self.rebuild:
            self.the_rebuild_advances(len(self.rebuild.ahead), confirmed)

    @rule(version=st.none() | VERSIONS, slow=st.booleans())
    def a_version_is_to_be_made_ready(self, version: str | None, slow: bool) -> None:
        self.revision += 1
        self.handle(
            PreloadWanted(version and Directive(version, f"key@{self.revision}", "Ada", allow_slow=slow))
        )

    @precondition(lambda self: self.preload)
    @rule(steps=st.sampled_from([1, 2, 3]))
    def the_preload_advances(self, steps: int) -> None:
        active = self.active
        for _ in range(steps):
            work = self.preload
            if work is None:
                break
            digest = f"sha256:{work.wanted.version}/{self.content[work.wanted.version]}"
            stage = work.ahead.pop(0)
            if stage is Stage.WARMING:  # as far as it goes
                self.preload = None
                self.handle(PreloadReady(work.id, digest))
            else:
                self.handle(StageReached(work.id, stage, digest))
        assert self.active == active

    @precondition(lambda self: self.preload)
    @rule(transient=st.booleans())
    def the_preload_fails(self, transient: bool) -> None:
        work, self.preload = self.preload, None
        assert work is not None
        self.handle(CandidateFailed(work.id, "bad", transient))

    @precondition(lambda self: self.preload)
    @rule()
    def an_update_needs_the_place_of_the_preload(self) -> None:
        assert self.preload
        self.handle(GaveWay(self.preload.id))

    @rule(size=SIZES, complete=st.booleans())
    def frames_of_a_size_come(self, size: tuple[int, int], complete: bool) -> None:
        self.frames = FrameSizes(self.frames.seen | {size}, complete)
        self.handle(FramesSeen(self.frames))

    @rule()
    def a_pipeline_goes(self) -> None:
        self.frames = FrameSizes()
        self.handle(FramesSeen(self.frames))

    @precondition(lambda self: self.draining)
    @rule(data=st.data())
    def an_engine_has_drained(self, data: st.DataObject) -> None:
        ref = data.draw(st.sampled_from(sorted(self.draining.elements(), key=str)))
        self.draining -= Counter([ref])
        self.handle(EngineRetired(ref))

    @precondition(lambda self: self.last_id > 1)
    @rule(data=st.data(), stage=st.sampled_from(Stage))
    def an_outdated_candidate_reports(self, data: st.DataObject, stage: Stage) -> None:
        under_way = {work.id for work in (self.work, self.rebuild, self.preload) if work}
        under_way |= {self.shadow[0]} if self.shadow else set()
        id = data.draw(st.integers(1, self.last_id).filter(lambda id: id not in under_way))
        before = self.state
        for report in (
            StageReached(id, stage, "sha256:old"),
            CandidateFailed(id, "old"),
            CandidateFailed(id, "old", transient=True),
            FormConfirmed(id, Form(CONTRACT)),
            PreloadReady(id, "sha256:old"),
            GaveWay(id),
        ):
            self.handle(report)
            assert self.state == before

    @rule(version=VERSIONS, changed=st.booleans())
    def the_store_is_touched(self, version: str, changed: bool) -> None:
        self.content[version] += changed
        self.touched += 1

    @precondition(lambda self: self.asked)
    @rule(reachable=st.booleans())
    def the_store_answers(self, reachable: bool) -> None:
        self.handle(StoreChecked(self.asked.pop(), f"touch {self.touched}" if reachable else ""))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def an_engine_misbehaves(self, data: st.DataObject) -> None:
        self.handle(WorkerFailed(data.draw(st.sampled_from(sorted(self.live, key=str))), "crashed"))

    @precondition(lambda self: self.active)
    @rule(from_outside=st.booleans())
    def what_serves_keeps_failing(self, from_outside: bool) -> None:
        for _ in range(MAX_STABLE_FAILURES):
            self.now += MIN_FAILING_S / (MAX_STABLE_FAILURES - 1)
            self.handle(Tick())
            assert self.active is not None
            self.handle(WorkerFailed(self.active, "NaN", from_outside))

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.handle(Tick())
        at = next_deadline(self.state)
        assert at is None or at > self.now

    @rule()
    def the_node_is_killed(self) -> None:
        self.live.clear()
        self.draining.clear()
        self.asked.clear()
        self.frames = FrameSizes()
        self.active = self.work = self.rebuild = self.preload = self.shadow = None
        self.proven = False
        self.last_id = self.awaited = 0
        self.now += 100.0
        self.state = from_json("yolo", self.saved)
        assert self.state.epoch == self.epoch
        self.handle(Tick())
        if self.state.stable_versions:
            assert self.work is not None
            assert self.work.wanted.version == self.state.stable_versions[-1].version

    # -- what always holds ---------------------------------------------------------------------------

    @invariant()
    def no_engine_is_forgotten_and_none_is_missing(self) -> None:
        shadow = self.shadow[1] if self.shadow else None
        assert self.live == {ref for ref in (self.state.active, self.state.standby, shadow) if ref}

    @invariant()
    def what_serves_is_what_the_state_says(self) -> None:
        assert self.active == self.state.active
        assert self.epoch == self.state.epoch
        assert (self.active is None) or self.active != self.state.standby

    @invariant()
    def the_candidate_is_being_worked_on_or_waits(self) -> None:
        c = self.state.candidate
        shadow = self.shadow[0] if self.shadow else None
        assert _under_way(c) == (self.work.id if self.work else shadow)

    @invariant()
    def only_what_is_in_shadow_sees_frames(self) -> None:
        c = self.state.candidate
        assert (self.shadow is not None) == (c is not None and c.stage is Stage.SHADOW)
        assert c is None or (c.shadow is not None) == (c.stage is Stage.SHADOW)
        assert c is None or c.shadow is None or c.shadow.against == self.active

    @invariant()
    def what_serves_has_its_form_or_is_rebuilt_or_waits_for_that(self) -> None:
        s, r = self.state, self.state.rebuild
        assert set(s.forms) <= {s.active, s.standby}
        lacks = s.forms[s.active].lacks(s.frames) if s.active in s.forms else ""
        assert bool(lacks) == (r is not None)
        assert _under_way(r) == (self.rebuild.id if self.rebuild else None)
        assert r is None or VersionRef(r.goal.version, r.goal.digest) == s.active

    @invariant()
    def what_is_made_ready_is_worked_on_or_waits(self) -> None:
        p = self.state.run.preload
        assert (p.id if p and p.makes_for else None) == (self.preload.id if self.preload else None)
        assert p is None or p.makes_for is None or p.retry_at is None

    @invariant()
    def whatever_drains_is_known(self) -> None:
        assert Counter(self.state.draining) == self.draining

    @invariant()
    def the_store_is_looked_at_while_what_should_serve_is_refused(self) -> None:
        wanted, watch = goal(self.state), self.state.run.store_watch
        if wanted and rejection_of(self.state, wanted):
            assert watch is not None
            assert watch.version == wanted.version
            assert watch.due is not None or watch.version in self.asked
        else:
            assert watch is None or watch.due is None

    @invariant()
    def what_is_safe_at_boot_has_earned_it(self) -> None:
        assert set(self.state.stable_versions) <= self.earned
        assert (
            len({ref.version for ref in self.state.stable_versions})
            == len(self.state.stable_versions)
            <= POLICY.keep_stable
        )

    @invariant()
    def what_is_taken_back_comes_without_gates_if_it_has_earned_that(self) -> None:
        directive, wanted = self.state.directive, goal(self.state)
        if directive and directive.returns and wanted and wanted.intent_id == directive.intent_id:
            good = [r for r in self.state.stable_versions if r.version == directive.version]
            assert wanted.digest == (good[0].digest if good else "")
            assert self.work is None or self.work.mode is wanted.mode

    @invariant()
    def there_is_always_a_way_back(self) -> None:
        if self.active and self.state.probation_until is None:
            assert self.active == self.state.last_known_good
            assert self.state.standby is None
        elif self.proven:
            assert self.state.standby == self.state.last_known_good
        else:  # no good version has started since the boot, unless the last one came by its gates after all
            warm = self.live - {self.active, self.shadow[1] if self.shadow else None}
            assert self.state.standby == (self.state.last_known_good if warm else None)

    @invariant()
    def what_should_serve_does_or_is_worked_on_or_was_refused(self) -> None:
        wanted = goal(self.state)
        served = wanted is None or (self.active is not None and self.active.version == wanted.version)
        if served:
            assert self.state.candidate is None
        elif wanted and self.state.candidate:
            assert self.state.candidate.goal == wanted
        else:
            assert wanted is not None
            assert rejection_of(self.state, wanted)

    @invariant()
    def a_kill_at_any_moment_loses_nothing(self) -> None:
        assert json.loads(json.dumps(to_json(self.state))) == self.saved
        assert to_json(from_json("yolo", self.saved)) == self.saved

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.state.rejections) <= MAX_REJECTIONS


def _under_way(c: Candidate | None) -> int | None:
    return c.id if c and c.retry_at is None else None


def test_whatever_happens_the_promises_hold() -> None:
    """Random sequences of everything that can happen to a model."""
    run_state_machine_as_test(Node, settings=settings(max_examples=examples(50), stateful_step_count=40))
