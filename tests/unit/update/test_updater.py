# SPDX-License-Identifier: AGPL-3.0-or-later
"""The updater with preparations and engines on paper: however a candidate ends, the way is free for the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import pytest

from edgeagent.core import interruption
from edgeagent.core.directive import Directive
from edgeagent.core.events import (
    AppendAudit,
    ApproveRequested,
    IntentChanged,
    PreloadWanted,
    RefuseRequested,
    Tick,
)
from edgeagent.core.gating import GateResult
from edgeagent.core.lifecycle import Stage
from edgeagent.core.memory import Fit, Room
from edgeagent.core.model import Contract
from edgeagent.core.policy import Policy
from edgeagent.core.preloaded import PreloadState
from edgeagent.core.state import Goal, PrepareMode, State, VersionRef
from edgeagent.core.verified import VerifiedVersion
from edgeagent.errors import WorkerKilledError
from edgeagent.observe.bus import Bus, PreloadChanged, StageEntered, Swapped
from edgeagent.runtimes.variants import Variant
from edgeagent.serving.artifact import Artifact
from edgeagent.serving.router import Route
from edgeagent.status.model_status import failing, model_status
from edgeagent.status.schema import PreloadStatus
from edgeagent.update import candidate_work, trial_runner, updater
from edgeagent.update.preparation import PreparationContext, PreparationProgress, RefusedError
from edgeagent.update.trial_runner import PrepareSettings
from edgeagent.update.update_queue import UpdateQueue
from edgeagent.update.updater import Updater, UpdaterSettings
from edgeagent.workers.tasks.engine import LoadPlan

POLICY = Policy()
VARIANT = Variant("onnxruntime", "cpu", "fp32", "onnx")
CONTRACT = Contract("detect", ("scratch",), (64, 64), 32)
SETTINGS = cast("PrepareSettings", SimpleNamespace(fetch_spread_s=0.0))


class Node:
    """Who is told; and what becomes of each version: None is good, "wait" for ever, or the error of its preparation."""

    def __init__(self, fates: dict[str, Exception | str | None]) -> None:
        self.fates = fates
        self.records: list[AppendAudit] = []
        self.events: list[StageEntered | Swapped] = []
        self.cancelled: list[str] = []
        self.retired: list[str] = []
        self.asked: list[Goal] = []
        self.contents: dict[str, str] = {}  # digests of versions that aren't as usual
        self.contract = CONTRACT
        self.spares: list[str] = []  # the backends of the workers that were told to wait for a version
        self.waits = False
        self.kills = 0  # of the workers that load
        self.frame_ms: dict[str, float] = {}  # of versions that aren't as fast as most
        self.may_stop = False  # what serves, before the next is loaded
        self.gone: dict[str, list[str]] = {}  # of each version that was loaded, which were retired by then
        self.floor = 0
        self.patience: float | None = None  # of the version that serves
        self.urgent: list[bool] = []  # of each engine that was loaded
        self.expected: list[
            tuple[str, bool]
        ] = []  # backends of engines that come soon, and whether a line waits

        self.queue, self.keep_spare = UpdateQueue(), True
        self.bus = Bus()

    def settings(self) -> UpdaterSettings:
        """Of each of its updaters."""
        return UpdaterSettings(self.keep_spare, queue=self.queue)

    def save(self, state: State) -> None:
        """Nothing to write."""

    async def saved(self, model: str) -> None:
        """All of it is."""

    def epoch_floor(self, state: State) -> int:
        """From where on the numbers of swaps are free."""
        return self.floor

    def record(self, model: str, record: AppendAudit) -> None:
        """Keep it."""
        self.records.append(record)

    def preparation(
        self, model: str, goal: Goal, mode: PrepareMode, settings: Any, context: PreparationContext
    ) -> Any:
        """Stands for Preparation."""
        node = self
        self.asked.append(goal)

        class PaperPreparation:
            report = PreparationProgress()

            def room(self) -> tuple[dict[str, float], bool]:
                """What serves may be stopped first."""
                return {}, node.may_stop

            def pauses(self, why: str) -> None:
                """A step is begun anew."""

            async def run(self) -> Artifact:
                content = node.contents.get(goal.version, f"sha256:{goal.version}")
                for stage in (Stage.VERIFYING, Stage.PREPARING, Stage.GATING):
                    context.on_stage(stage, content, ())
                context.on_backend(VARIANT.backend)
                fate = node.fates[goal.version]
                if fate == "wait":
                    try:
                        await asyncio.Event().wait()
                    finally:
                        node.cancelled.append(goal.version)
                if isinstance(fate, Exception):
                    raise fate
                contract, seen = node.contract, context.frame_sizes().seen
                version = VerifiedVersion(model, goal.version, content, contract, "onnx", Path("w"))
                imgsz = contract.fitted(seen) if contract is not CONTRACT else None
                plan = LoadPlan(VARIANT, version.weights, {}, 1, 1, imgsz)
                return Artifact(version, plan, gates=(GateResult("memory", True, {"needs_mb": 100}),))

        return PaperPreparation()

    def spare(self) -> Any:
        """Stands for SpareEngine."""
        node = self

        class PaperSpare:
            worker = None

            def wait(self, backend: str, soon: bool = False, urgent: bool = False) -> None:
                if soon:
                    node.expected.append((backend, urgent))
                elif not node.waits:
                    node.spares.append(backend)
                node.waits = True

            async def end(self) -> None:
                node.waits = False

        return PaperSpare()

    def engine(self, artifact: Artifact, *_: Any) -> Any:
        """Stands for Engine."""
        node = self

        class PaperEngine:
            def __init__(self) -> None:
                self.artifact, self.ref, self.name, self.ready = artifact, artifact.ref, "paper", False
                self.in_flight, self.max_batch, self.worker = 0, 1, None
                self.frame_ms = node.frame_ms.get(artifact.ref.version, 8.0)

            async def load(self, urgent: bool) -> None:
                node.waits = False
                node.urgent.append(urgent)
                node.gone[artifact.ref.version] = [*node.retired]
                if artifact.ref.version == "bad":
                    raise RuntimeError("nobody thought of that")
                if node.kills:
                    node.kills -= 1
                    raise WorkerKilledError("version", "killed by SIGKILL from outside")

            def answer_within(self, seconds: float | None) -> None:
                node.patience = seconds

            async def retire(self) -> None:
                node.retired.append(artifact.ref.version)

        return PaperEngine()


async def settle() -> None:
    """Let all that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


def run(
    monkeypatch: pytest.MonkeyPatch,
    node: Node,
    scenario: Callable[[Updater], Awaitable[None]],
    *versions: str,
    keep_spare: bool = True,
    policy: Policy = POLICY,
) -> None:
    """An updater on which each version is asked for in turn, when the one before has ended, then the scenario."""
    monkeypatch.setattr(updater, "Preparation", node.preparation)
    monkeypatch.setattr(updater, "Engine", node.engine)
    monkeypatch.setattr(updater, "SpareEngine", node.spare)

    async def live() -> None:
        node.bus = bus = Bus()
        bus.subscribe(StageEntered, node.events.append)
        bus.subscribe(Swapped, node.events.append)
        node.keep_spare = keep_spare
        u = Updater(State("yolo"), policy, SETTINGS, cast("Any", None), node, bus, node.settings())
        for number, version in enumerate(versions):
            u.handle(IntentChanged(Directive(version, f"key@{number}", "test")))
            await asyncio.sleep(0)
            while u.state.candidate and node.fates[version] != "wait" and u.state.candidate.retry_at is None:
                await asyncio.sleep(0)
        await scenario(u)
        await u.close()
        assert not node.waits

    asyncio.run(live())


def test_whoever_listens_hears_of_each_stage_and_of_the_swap(monkeypatch: pytest.MonkeyPatch) -> None:
    """In their order, each once, with the digest as soon as it is known."""
    node = Node({"v1": None})

    async def scenario(u: Updater) -> None:
        """Nothing more than the update."""

    run(monkeypatch, node, scenario, "v1")
    stages = [(e.stage, e.digest) for e in node.events if isinstance(e, StageEntered)]
    known = ("VERIFYING", "PREPARING", "GATING", "WARMING")
    assert stages == [("FETCHING", ""), *((stage, "sha256:v1") for stage in known)]
    assert node.events[-1] == Swapped("yolo", "v1", "sha256:v1", 1)


@pytest.mark.parametrize("version", ["odd", "bad"])
def test_an_error_that_nobody_thought_of_is_a_refusal(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """In a preparation or an engine; the candidate doesn't stand in the way for ever, and the next intent is served."""
    node = Node({"v1": None, "odd": KeyError("parity"), "bad": None, "v2": None})

    async def scenario(u: Updater) -> None:
        assert u.state.active == VersionRef("v2", "sha256:v2")

    run(monkeypatch, node, scenario, "v1", version, "v2")
    assert [(r.result, r.to_version) for r in node.records] == [
        ("swapped", "v1"), ("rejected", version), ("swapped", "v2"),
    ]  # fmt: skip
    assert "error in edgeagent" in node.records[1].why
    assert node.retired.count("bad") == (version == "bad")


@pytest.mark.parametrize("error", [OSError(11, "no process"), RefusedError("disk full", transient=True)])
def test_what_the_machine_lacks_is_waited_for(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The version is not refused."""
    node = Node({"v1": None, "v2": error})

    async def scenario(u: Updater) -> None:
        assert u.state.active == VersionRef("v1", "sha256:v1")
        assert u.state.candidate is not None
        assert u.state.candidate.retry_at is not None
        assert u.state.rejections == ()

    run(monkeypatch, node, scenario, "v1", "v2")


@pytest.mark.parametrize("kills", [1, interruption.MAX_ENDS])
def test_killed_while_it_loads_a_version_is_loaded_again(monkeypatch: pytest.MonkeyPatch, kills: int) -> None:
    """Somebody else's signal refuses nothing for good, unless it ends there time and again. No worker of it is left."""
    monkeypatch.setattr(interruption, "PAUSES_S", (0.0,) * len(interruption.PAUSES_S))
    node = Node({"v1": None})
    node.kills = kills

    async def scenario(u: Updater) -> None:
        assert (u.state.active is not None) == (kills < interruption.MAX_ENDS)
        assert bool(u.state.rejections) == (kills == interruption.MAX_ENDS)

    run(monkeypatch, node, scenario, "v1")
    assert node.retired.count("v1") == kills + (kills < interruption.MAX_ENDS)


def test_what_is_superseded_or_closed_down_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its work ends with it."""
    node = Node({"v1": "wait", "v2": "wait"})

    async def scenario(u: Updater) -> None:
        assert u.state.candidate is not None
        assert u.work_on(u.state.candidate) is not None

    run(monkeypatch, node, scenario, "v1", "v2")
    assert node.cancelled == ["v1", "v2"]
    assert [r.result for r in node.records] == ["superseded"]
    assert all(r.facts and r.facts.frames == 0 for r in node.records)


def test_two_models_are_updated_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second begins when the first is READY, or its candidate is gone; its shadow is nobody's business. The status
    says what it waits for."""
    node = Node({"v1": None, "v2": None, "odd": "wait"})

    async def scenario(u: Updater) -> None:
        other = Updater(State("labels"), POLICY, SETTINGS, cast("Any", None), node, Bus(), node.settings())
        other.handle(IntentChanged(Directive("v1", "key@7", "test")))
        while other.state.active is None:
            await asyncio.sleep(0)
        u.handle(IntentChanged(Directive("odd", "key@8", "test")))
        await settle()
        node.asked.clear()
        other.handle(IntentChanged(Directive("v2", "key@9", "test", approval="manual")))
        await settle()
        waiting = model_status(other).candidate
        assert waiting is not None
        assert (waiting.stage, node.asked) == ("ASPIRED", [])
        assert waiting.waits == "for its turn: yolo is being updated; place 1 of 1"
        u.handle(IntentChanged(Directive("v1", "key@10", "test")))  # back to what serves
        while (c := other.state.candidate) is None or c.stage is not Stage.SHADOW:
            await asyncio.sleep(0)
        seen = model_status(other).candidate
        assert seen is not None
        assert seen.waits is None
        u.handle(IntentChanged(Directive("v2", "key@11", "test")))
        while u.state.candidate:
            await asyncio.sleep(0)
        assert u.state.active == VersionRef("v2", "sha256:v2")
        await other.close()

    run(monkeypatch, node, scenario, "v1")


def asked_ahead(version: str, revision: int = 1) -> Directive:
    """This version is to be made ready."""
    return Directive(version, f"key@p{revision}", "Ada", preload=True)


async def ready_ahead(u: Updater) -> None:
    """Return when what is made ready is."""
    while not (u.preload_state and u.preload_state.ready):
        await asyncio.sleep(0)


def test_what_is_made_ready_ahead_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is prepared, and that is all; told once more, nothing happens, and the status and the bus have it."""
    node = Node({"v1": None, "v2": None})

    async def scenario(u: Updater) -> None:
        told: list[PreloadChanged] = []
        node.bus.subscribe(PreloadChanged, told.append)
        u.handle(PreloadWanted(asked_ahead("v2")))
        await ready_ahead(u)
        await settle()
        assert [e.ref.version for e in u.engines] == ["v1"]
        assert (u.state.active, u.preparations) == (VersionRef("v1", "sha256:v1"), [])
        u.handle(PreloadWanted(asked_ahead("v2")))
        await settle()
        assert [goal.version for goal in node.asked] == ["v1", "v2"]
        assert model_status(u).preload == PreloadStatus(version="v2", stage="READY", ready=True, why=None)
        assert [e.stage for e in told][:1] + [e.stage for e in told][-1:] == ["FETCHING", "READY"]
        u.handle(PreloadWanted(None))
        assert (u.preload_state, model_status(u).preload) == (None, None)

    run(monkeypatch, node, scenario, "v1")
    assert [(r.event, r.result) for r in node.records[-1:]] == [("preload", "ready")]
    assert node.gone.keys() == {"v1"}


def test_what_is_made_ready_gives_way_to_an_update_of_another_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once; it is begun anew when that is over, and says so meanwhile."""
    node = Node({"v1": None, "v2": "wait", "v3": "wait"})

    async def scenario(u: Updater) -> None:
        other = Updater(State("labels"), POLICY, SETTINGS, cast("Any", None), node, Bus(), node.settings())
        other.handle(IntentChanged(Directive("v1", "key@7", "test")))
        while other.state.active is None:
            await asyncio.sleep(0)
        u.handle(PreloadWanted(asked_ahead("v2")))
        await settle()
        assert len(u.preparations) == 1
        other.handle(IntentChanged(Directive("v3", "key@9", "test")))
        await settle()
        assert (node.cancelled, len(other.preparations)) == (["v2"], 1)
        assert u.preload_state == PreloadState(
            "v2", Stage.ASPIRED, False, "for its turn: labels is being updated; place 1 of 1"
        )
        node.fates["v2"] = None
        other.handle(IntentChanged(Directive("v1", "key@10", "test")))
        await ready_ahead(u)
        await other.close()

    run(monkeypatch, node, scenario, "v1")


def test_what_is_made_ready_gives_way_to_an_update_of_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same version, too: that is fetched and gated with what is there already. A failure is tried again, a
    refusal isn't."""
    node = Node({"v1": None, "v2": "wait", "v3": RefusedError("store away", transient=True)})

    async def scenario(u: Updater) -> None:
        u.handle(PreloadWanted(asked_ahead("v2")))
        await settle()
        node.fates["v2"] = None
        u.handle(IntentChanged(Directive("v2", "key@9", "test")))
        while u.state.active != VersionRef("v2", "sha256:v2"):
            await asyncio.sleep(0)
        assert node.cancelled == ["v2"]
        u.handle(PreloadWanted(asked_ahead("v3", 2)))
        while u.state.run.preload is None or u.state.run.preload.retry_at is None:
            await asyncio.sleep(0)
        node.fates["v3"] = RefusedError("gate smoke: NaN")
        u.clock = cast("Any", SimpleNamespace(now=lambda: 1e9))
        u.handle(Tick())
        while u.preload_state and u.preload_state.stage is not Stage.REJECTED:
            await asyncio.sleep(0)
        assert u.preload_state == PreloadState("v3", Stage.REJECTED, False, "gate smoke: NaN")
        assert u.state.rejections == ()

    run(monkeypatch, node, scenario, "v1")


def line() -> Route:
    """A pipeline whose camera has sent nothing yet."""
    return Route("line", True, 0.5, 0.5, cast("Any", None), lambda *_: None)


def film(u: Updater, line: Route, height: int, width: int) -> None:
    """A frame of this size comes."""
    frame = cast(
        "Any", SimpleNamespace(height=height, width=width, mono=0.0, release=lambda: None, ring=None)
    )
    u.router.captured(line, frame)


async def input_of(u: Updater, size: tuple[int, int]) -> None:
    """Return when the engine that serves has this input."""
    while u.slot.engine is None or u.slot.engine.artifact.imgsz != size:
        await asyncio.sleep(0)


@pytest.fixture
def shaped() -> Node:
    """A node whose versions are made for the frames."""
    node = Node({"v1": None})
    node.contract = Contract("detect", ("scratch",), (320, 320), 32)
    return node


def test_other_frames_have_the_version_rebuilt(monkeypatch: pytest.MonkeyPatch, shaped: Node) -> None:
    """Beside the engine that serves, which goes then; version and epoch stay as they are, the history tells of it."""

    async def scenario(u: Updater) -> None:
        epoch, first, second = u.slot.epoch, line(), line()
        await input_of(u, (320, 320))  # there was no camera yet
        u.router.add(first)
        u.router.add(second)
        film(u, first, 720, 1280)  # what the second will send is not known: one for both, then
        await asyncio.sleep(0)
        assert len(shaped.asked) == 1
        film(u, second, 720, 1280)
        await input_of(u, (192, 320))
        film(u, first, 360, 640)  # of the same shape
        u.router.add(line())  # a camera that never comes
        film(u, first, 1280, 720)  # seen too small, whatever the third would send
        await input_of(u, (320, 320))  # holds all that came until now
        film(u, second, 360, 640)
        film(u, second, 1280, 720)
        await asyncio.sleep(0)
        assert len(shaped.asked) == 3
        while shaped.retired != ["v1", "v1"]:
            await asyncio.sleep(0)
        assert (u.slot.epoch, u.state.active) == (epoch, VersionRef("v1", "sha256:v1"))
        assert (shaped.asked[-1].known_good, shaped.asked[-1].digest) == (True, "sha256:v1")

    run(monkeypatch, shaped, scenario, "v1")
    assert [r.result for r in shaped.records] == ["swapped", "rebuilt", "rebuilt"]


def test_a_version_that_can_not_be_rebuilt_goes_on_serving(
    monkeypatch: pytest.MonkeyPatch, shaped: Node
) -> None:
    """As it is; nothing of the attempt is left. The next frames of another size are another chance, and so is time."""

    async def scenario(u: Updater) -> None:
        camera = line()
        u.router.add(camera)
        shaped.fates["v1"] = RefusedError("disk full", transient=True)
        film(u, camera, 720, 1280)
        while len(shaped.asked) < 2:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert u.slot.engine is not None
        assert u.slot.engine.artifact.imgsz == (320, 320)
        shaped.fates["v1"] = None
        film(u, camera, 360, 640)
        await input_of(u, (192, 320))
        shaped.fates["v1"] = OSError(11, "no process")
        u.policy = replace(POLICY, rebuild_retry_s=0.0)
        film(u, camera, 1280, 720)
        while len(shaped.asked) < 5:  # by itself
            await asyncio.sleep(0)
        shaped.fates["v1"] = None
        await input_of(u, (320, 320))

    run(monkeypatch, shaped, scenario, "v1")
    assert shaped.records[0].result == "swapped"


def test_a_fingerprint_that_can_not_be_asked_for_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch over a refused version goes on."""

    class NoTask:
        def __init__(self, *_: object) -> None:
            raise OSError(11, "no process")

    monkeypatch.setattr(trial_runner, "WorkerTask", NoTask)
    settings = MagicMock()
    assert asyncio.run(trial_runner.store_fingerprint("yolo", "v1", settings)) == ""


@pytest.mark.parametrize("keep", [True, False])
def test_a_spare_worker_waits_for_the_next_version(monkeypatch: pytest.MonkeyPatch, keep: bool) -> None:
    """All the time, also after a refusal, or only while there is an update. It suits the version that serves."""
    node = Node({"v1": None, "odd": ValueError("no")})
    waiting: list[bool] = []

    async def scenario(u: Updater) -> None:
        waiting.append(node.waits)
        node.waits = False  # taken by the worker that was started again
        assert u.slot.engine is not None
        u.ready(u.slot.engine)
        waiting.append(node.waits)

    run(monkeypatch, node, scenario, "v1", "odd", keep_spare=keep)
    assert waiting == [keep, keep]
    assert node.spares == ["", *[VARIANT.backend] * 2] if keep else ["", VARIANT.backend]


def test_what_a_line_waits_for_has_no_low_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine it would get next to nothing. The next version has a line beside it."""
    node = Node({"v1": None, "v2": None})

    async def scenario(u: Updater) -> None:
        assert node.urgent == [True, False]
        assert node.expected == [(VARIANT.backend, True), (VARIANT.backend, False)]

    run(monkeypatch, node, scenario, "v1", "v2")


def test_a_refused_version_leaves_no_worker_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """When none is kept."""
    node = Node({"odd": ValueError("no")})

    async def scenario(u: Updater) -> None:
        assert node.spares == [""]
        assert not node.waits

    run(monkeypatch, node, scenario, "odd", keep_spare=False)


def test_what_is_swapped_out_drains_and_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state knows of it as long as it lasts."""
    node = Node({"v1": None, "v2": None, "v3": None})

    async def scenario(u: Updater) -> None:
        assert u.slot.engine is not None
        lease = u.slot.lease()
        u.handle(IntentChanged(Directive("v3", "key@9", "test")))
        while u.state.active != VersionRef("v3", "sha256:v3"):
            await asyncio.sleep(0)
        assert u.state.draining == (VersionRef("v2", "sha256:v2"),)
        assert len(u.engines) == 3  # with the standby
        lease.release()
        while u.state.draining:
            await asyncio.sleep(0)
        assert node.retired == ["v2"]
        assert len(u.engines) == 2

    run(monkeypatch, node, scenario, "v1", "v2")


def test_a_failure_on_probation_brings_the_standby_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the engine that serves; one that drains has no say."""
    node = Node({"v1": None, "v2": None})

    async def scenario(u: Updater) -> None:
        first, serving = u.standby, u.slot.engine
        assert first is not None
        assert serving is not None
        assert node.patience == 1.5
        for _ in range(3):
            u.failed(first, "crashed")
        u.failed(serving, "killed", from_outside=True)
        assert u.slot.engine is serving
        u.failed(serving, "crashed")
        assert u.slot.engine is first
        assert node.patience is None
        assert u.state.active == VersionRef("v1", "sha256:v1")

    run(monkeypatch, node, scenario, "v1", "v2")
    assert [r.result for r in node.records][-1] == "rolled_back"


@pytest.mark.parametrize("end", ["approved", "refused", "crashed", "killed", "superseded", "closed"])
def test_a_candidate_in_shadow_is_loaded_until_that_ends(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """It serves, or its worker is gone. What serves is the same all the time."""
    node = Node({"v1": None, "v2": None, "v3": "wait"})

    async def scenario(u: Updater) -> None:
        u.handle(IntentChanged(Directive("v2", "key@2", "test", approval="manual")))
        while u.state.candidate is None or u.state.candidate.stage is not Stage.SHADOW:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        (shadow,) = (e for e in u.engines if e.ref.version == "v2")
        assert u.state.active == VersionRef("v1", "sha256:v1")
        assert node.retired == []
        assert node.waits  # a spare worker, for a start after a crash
        match end:
            case "approved":
                u.handle(ApproveRequested("Ada"))
                assert u.slot.engine is not shadow
                while u.slot.engine is not shadow:  # first the disk has it that it is tried
                    await asyncio.sleep(0)
            case "refused":
                u.handle(RefuseRequested("Ada", "misses dents"))
            case "crashed" | "killed":
                u.failed(shadow, end, from_outside=end == "killed")
                assert bool(u.state.rejections) == (end == "crashed")
            case "superseded":
                u.handle(IntentChanged(Directive("v3", "key@3", "test")))
        if end not in ("approved", "closed"):
            assert u.state.active == VersionRef("v1", "sha256:v1")
            while shadow in u.engines:
                await asyncio.sleep(0)
            assert node.retired == ["v2"]

    run(monkeypatch, node, scenario, "v1")
    assert "v2" in node.retired  # at the latest when the updater is closed


def test_a_frame_that_a_version_on_probation_can_not_infer_goes_to_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And so does the line: one NaN is enough."""
    node = Node({"v1": None, "v2": None})

    async def scenario(u: Updater) -> None:
        first, serving = u.standby, u.slot.engine
        assert serving is not None
        u.fault(serving, 7, "NaN")
        assert u.slot.engine is first
        assert "a frame can't be inferred: NaN" in u.state.last_error

    run(monkeypatch, node, scenario, "v1", "v2")


def fails_on_all_frames(u: Updater, line: Route, seconds: int) -> None:
    """No frame of the line gets a result for so long, at ten a second."""
    engine = u.slot.engine
    assert engine is not None
    begin = u.clock.now()
    for frame in range(10 * seconds):
        at = begin + frame / 10
        u.clock = cast("Any", SimpleNamespace(now=lambda at=at: at))
        if line.faults.failed(engine):
            u.failed(engine, "frames of line keep failing: NaN")


def test_a_stable_version_without_results_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN on dark pictures: 600 frames without one, and the version before would have them."""
    node = Node({"v1": None, "v2": None})

    async def scenario(u: Updater) -> None:
        u.clock = cast("Any", SimpleNamespace(now=lambda: 1e9))
        u.handle(Tick())
        assert u.state.probation_until is None
        pipeline = line()
        u.router.add(pipeline)
        fails_on_all_frames(u, pipeline, 60)
        while u.state.active != VersionRef("v1", "sha256:v1"):
            await asyncio.sleep(0)
        assert model_status(u).held is not None
        assert [(r.version, r.why) for r in u.state.rejections] == [
            ("v2", "frames of line keep failing: NaN")
        ]

    run(monkeypatch, node, scenario, "v1", "v2")


def test_without_a_version_before_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it fails; it goes on, for want of another."""
    node = Node({"v1": None})

    async def scenario(u: Updater) -> None:
        pipeline = line()
        u.router.add(pipeline)
        assert failing(u) == ""
        fails_on_all_frames(u, pipeline, 60)
        assert failing(u).startswith(
            "v1 keeps failing: frames of line keep failing: NaN; there is no version"
        )
        at = u.clock.now() + POLICY.failure_window_s + 1
        u.clock = cast("Any", SimpleNamespace(now=lambda: at))
        assert failing(u) == ""

    run(monkeypatch, node, scenario, "v1")


@pytest.mark.parametrize("live", [True, False])
def test_a_version_of_four_seconds_a_frame_is_not_swapped_in(
    monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    """Beside one that holds the rate of its cameras. A film waits for its results, however long they take."""
    node = Node({"v1": None, "slow": None})
    node.frame_ms["slow"] = 4000.0

    async def scenario(u: Updater) -> None:
        u.router.add(Route("line", live, 0.5, 0.5, cast("Any", None), lambda *_: None, rate=lambda: 30.0))
        u.handle(IntentChanged(Directive("slow", "key@9", "test")))
        while u.state.candidate:
            await asyncio.sleep(0)
        assert u.state.active == VersionRef("v1" if live else "slow", "sha256:v1" if live else "sha256:slow")
        assert ("too slow here" in u.state.last_error) is live

    run(monkeypatch, node, scenario, "v1")
    assert "slow" in node.retired  # refused, or when the updater closes


def test_the_store_is_asked_about_what_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it holds something else; a look that fails is an answer too."""
    node = Node({"v1": None, "v2": RefusedError("gate smoke: NaN", fingerprint="old")})
    answers: list[str | Exception] = ["old", KeyError("value"), "new"]
    asked: list[str] = []

    async def fingerprint(model: str, version: str, settings: object) -> str:
        asked.append(version)
        answer = answers[len(asked) - 1]
        if isinstance(answer, Exception):
            raise answer
        node.fates["v2"] = None if answer == "new" else node.fates["v2"]
        return answer

    monkeypatch.setattr(updater, "store_fingerprint", fingerprint)

    async def scenario(u: Updater) -> None:
        while u.state.active != VersionRef("v2", "sha256:v2!"):
            await asyncio.sleep(0)
            node.contents["v2"] = "sha256:v2!" if len(asked) == 3 else "sha256:v2"

    run(monkeypatch, node, scenario, "v1", "v2", policy=replace(POLICY, store_check_min_s=0.0))
    assert asked == ["v2", "v2", "v2"]


def test_a_swap_takes_no_number_that_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run may have given those below to other weights."""
    node = Node({"v1": None, "v2": None})
    node.floor = 40

    async def scenario(u: Updater) -> None:
        assert (u.state.epoch, u.slot.epoch) == (42, 42)

    run(monkeypatch, node, scenario, "v1", "v2")
    assert [e.epoch for e in node.events if isinstance(e, Swapped)] == [41, 42]


def test_an_update_serves_when_what_was_decided_of_it_is_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that dies of it has counted it; where the disk takes nothing, it serves all the same."""
    node = Node({"v1": None, "v2": None})
    seen: list[str] = []

    async def saved(model: str) -> None:
        seen.append(model)
        assert node.events[-1] != Swapped("yolo", "v2", "sha256:v2", 2)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(node, "saved", saved)

    async def scenario(u: Updater) -> None:
        assert u.state.active == VersionRef("v2", "sha256:v2")

    run(monkeypatch, node, scenario, "v1", "v2")
    assert seen == ["yolo", "yolo"]


def no_room(monkeypatch: pytest.MonkeyPatch, frees: int) -> None:
    """The machine has no room for two, and stopping what serves gives back so many megabytes."""
    room = Room("memory", 100 << 20, 50 << 20, frees << 20)
    monkeypatch.setattr(candidate_work, "fit_now", lambda *_: Fit((room,), 0.0, 1.0, 1.5))


@pytest.mark.parametrize("fate", [None, "bad"])
def test_where_there_is_no_room_for_two_what_serves_goes_first(
    monkeypatch: pytest.MonkeyPatch, fate: str | None
) -> None:
    """Its worker is gone before the next one loads; one that fails has it loaded again at once."""
    version = fate or "v2"
    node = Node({"v1": None, version: None})
    node.may_stop = True
    no_room(monkeypatch, frees=60)

    async def scenario(u: Updater) -> None:
        while u.state.active is None:
            await asyncio.sleep(0)
        assert node.gone[version] == ["v1"]
        assert u.state.active.version == ("v1" if fate else version)
        assert "gap" in node.records[-1].stages
        assert u.slot.engine is not None
        assert u.slot.engine.ref == u.state.active

    run(monkeypatch, node, scenario, "v1", version)
    assert node.urgent == ([True, True, True] if fate else [True, True])  # no line beside them


@pytest.mark.parametrize(("may_stop", "frees"), [(False, 60), (True, 10)])
def test_where_that_is_not_allowed_or_no_help_it_is_tried_again_later(
    monkeypatch: pytest.MonkeyPatch, may_stop: bool, frees: int
) -> None:
    """What serves goes on: room may come."""
    node = Node({"v1": None, "v2": None})
    node.may_stop = may_stop

    async def scenario(u: Updater) -> None:
        no_room(monkeypatch, frees)
        u.handle(IntentChanged(Directive("v2", "key@9", "test")))
        while u.state.candidate is None or u.state.candidate.retry_at is None:
            await asyncio.sleep(0)
        assert "it needs 100 MB" in u.state.candidate.error
        assert u.state.active == VersionRef("v1", "sha256:v1")

    run(monkeypatch, node, scenario, "v1")
    assert "v2" not in node.gone
