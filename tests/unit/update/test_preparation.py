# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way of a candidate up to its gates, with workers on paper: what is asked of them, and what isn't."""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from edgeagent.core.directive import Directive
from edgeagent.core.form import FrameSizes
from edgeagent.core.gating import GateResult, PlugIn
from edgeagent.core.lifecycle import Stage
from edgeagent.core.model import Contract
from edgeagent.core.state import Goal, PrepareMode
from edgeagent.core.store_documents import Withdrawal
from edgeagent.core.tuning import Parity, Tolerance, Tuning
from edgeagent.errors import ConflictError, UsageError
from edgeagent.gates import plug_ins
from edgeagent.runtimes.variants import Variant
from edgeagent.serving.artifact import Artifact
from edgeagent.store.cache import Cache
from edgeagent.store.fetch import fetch_version
from edgeagent.store.publish import publish
from edgeagent.store.remote import RemoteStore
from edgeagent.store.withdrawals import find_withdrawal, let_in, withdraw
from edgeagent.update import preparation, trial_runner
from edgeagent.update.preparation import Preparation, PreparationContext, RefusedError
from edgeagent.update.trial_runner import PrepareSettings
from edgeagent.update.worker_task import TaskFailedError
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.process import WorkerProgram
from edgeagent.workers.tasks.prepare import (
    Benchmark,
    BenchmarkResult,
    Fetched,
    FetchVersion,
    FindWithdrawn,
    GateFinished,
    GatesRun,
    GateStarted,
    Prove,
    Proven,
    Report,
    RunGates,
    SimilarResult,
    StageEntered,
    StoreAccess,
    TrialSetup,
    TrialStarted,
    ValidateSimilar,
    Withdrawn,
)
from tests.support.published import METADATA, publish_bytes

TORCH = Variant("torch", "cpu", "fp32", "pt")
ONNX = Variant("onnxruntime", "cpu", "fp32", "onnx")
OPENVINO = Variant("openvino", "cpu", "fp32", "onnx")
SAME = Parity(frames=1, objects=3, missing=0, extra=0, least_iou=0.99, most_score=0.001)
INTENT = Goal(Directive("v1", "key@1", "etcd"))
CONTRACT_PASSED = GateResult("contract", True, {"classes": 2})
SMOKE_PASSED = GateResult("smoke", True, {"frames": 1, "boxes": 3}, {"most_score": 1})
NAMES: dict[type, str] = {
    FetchVersion: "fetch",
    FindWithdrawn: "withdrawn?",
    ValidateSimilar: "similar",
    RunGates: "gates",
}
CRASH = TaskFailedError("the preparing worker ended: killed by SIGSEGV")


@dataclass
class TrialRunner:
    """A node's preparing side. asked: tasks, in order; stages: what it reports; fail: task → the error it ends with."""

    folder: Path
    settings: PrepareSettings
    asked: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    fail: dict[str, Exception] = field(default_factory=dict)
    active: Contract | None = METADATA.contract
    refused: set[str] = field(default_factory=set)
    sizes: list[tuple[int, int] | None] = field(default_factory=list)
    frame_sizes: list[FrameSizes] = field(default_factory=lambda: [FrameSizes()])
    gates: tuple[GateResult, ...] = (CONTRACT_PASSED, SMOKE_PASSED)
    found: tuple[GateResult, ...] = ()
    parity: list[Parity | None] = field(default_factory=list)
    spared: list[str] = field(default_factory=list)  # tasks for which a worker was waiting
    libraries: list[str] = field(default_factory=list)
    backends: list[str] = field(default_factory=list)  # that an engine is said to be loaded in soon
    unused: int = 0
    mode: PrepareMode = PrepareMode.UPDATE

    def prepare(self, goal: Goal = INTENT, mode: PrepareMode | None = None, backend: str = "") -> Artifact:
        """Run one preparation to its end."""
        self.asked.clear()
        self.stages.clear()
        self.mode = mode or goal.mode

        context = PreparationContext(
            self.active,
            lambda: (),
            self._frame_sizes,
            self._entered,
            frozenset(self.refused),
            backend,
            self.backends.append,
        )

        async def run() -> Artifact:
            return await Preparation("yolo", goal, self.mode, self.settings, context).run()

        return asyncio.run(run())

    def _frame_sizes(self) -> FrameSizes:
        return self.frame_sizes.pop(0) if len(self.frame_sizes) > 1 else self.frame_sizes[0]

    def _entered(self, stage: Stage, digest: str, gates: tuple[GateResult, ...]) -> None:
        if self.stages[-1:] != [stage.value]:
            self.stages.append(stage.value)
        self.found = gates

    def answer(self, task: Any, on_report: Callable[[Report], None]) -> Any:
        """What a worker does about its task."""
        name = task.variant.name if isinstance(task, Benchmark | Prove) else NAMES[type(task)]
        self.asked.append(name)
        if name in self.fail:
            if isinstance(task, RunGates):
                on_report(GateStarted("smoke"))
            raise self.fail[name]
        match task:
            case FetchVersion(store, cache, model, version):
                remote = RemoteStore(store.url, timeout_s=5, storage_options={})
                cached = fetch_version(remote, Cache(cache), model, version, lambda _: None)
                on_report(StageEntered(Stage.VERIFYING, cached.manifest.digest))
                return Fetched(cached.verified, "f")
            case FindWithdrawn(store, versions):
                remote = RemoteStore(store.url, timeout_s=store.timeout_s)
                return Withdrawn(tuple(str(find_withdrawal(remote, *v) or "") for v in versions))
            case Prove(setup, variant, folder, pictures):
                self.asked[-1] = f"prove {name} on {pictures}"
                result = self._result(setup, 10.0, False, folder)
                return Proven(result.weights, None, replace(SAME, frames=pictures))
            case Benchmark(setup, variant, folder):
                ms = 10.0 if name == "openvino-cpu" else 20.0
                return self._result(setup, ms, variant == setup.reference, folder)
            case ValidateSimilar(setup, variant, folder):
                on_report(TrialStarted(variant.name))
                trials = self._result(setup, 20.0, True, folder), self._result(setup, 10.0, False, folder)
                return SimilarResult(trials, self._gates(on_report))
            case RunGates():
                self.parity.append(task.parity)
                return GatesRun(self._gates(on_report))
        raise AssertionError(task)

    def _gates(self, on_report: Callable[[Report], None]) -> tuple[GateResult, ...]:
        for result in self.gates:
            on_report(GateStarted(result.name))
            on_report(GateFinished(result))
        return self.gates

    def _result(self, setup: TrialSetup, ms: float, is_reference: bool, folder: Path) -> BenchmarkResult:
        self.sizes.append(setup.imgsz)
        weights = setup.version.weights
        if setup.version.format == "pt" and not is_reference:
            weights = folder / "model.onnx"
            weights.write_bytes(b"converted")
        return BenchmarkResult(weights, None, ms, None if is_reference else SAME, 0.0)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialRunner:
    """v1 is published; ONNX Runtime and OpenVINO are installed."""
    store = tmp_path / "store"
    store.mkdir()
    publish_bytes(str(store), "v1", b"weights", tmp_path)
    settings = PrepareSettings(
        store=StoreAccess(str(store), {}, 5), cache=tmp_path / "cache", backend="auto",
        device="cpu", threads=1, max_batch=1, fetch_s=60, gate_s=60, convert_s=300, memory_limit=1 << 30,
        confidence=0.25, tolerance=Tolerance(),
    )  # fmt: skip
    made = TrialRunner(tmp_path, settings)

    class PaperTask:
        """Stands for a worker."""

        def __init__(
            self,
            task: Any,
            limits: WorkerLimits,
            on_report: Any,
            frames: Any,
            spare: Any,
            program: WorkerProgram,
        ) -> None:
            self._task, self._on_report = task, on_report
            beside_a_line = made.active is not None or made.mode is PrepareMode.PRELOAD
            assert program.low_priority is beside_a_line
            assert limits.memory_bytes == settings.memory_limit
            if spare:
                made.spared.append(type(task).__name__)

        async def run(self, expected: type) -> Any:
            answer = made.answer(self._task, self._on_report)
            assert isinstance(answer, expected)
            return answer

    def installed(
        fmt: str, backend: str = "auto", device: str = "auto", alternates: Collection[str] = ()
    ) -> list[Variant]:
        ways = (TORCH, ONNX, OPENVINO) if fmt == "pt" else (ONNX, OPENVINO)
        return [v for v in ways if backend in ("auto", v.backend)]

    class PaperSpare:
        """Stands for a worker that waits, and remembers what it imports."""

        def __init__(self) -> None:
            self.waits = False

        def start(self, program: WorkerProgram) -> None:
            assert program.low_priority
            self.waits, made.libraries = True, list(program.libraries)

        def take(self) -> bool:
            waits, self.waits = self.waits, False
            return waits

        async def end(self) -> None:
            made.unused += self.waits

    monkeypatch.setattr(trial_runner, "SpareWorker", PaperSpare)
    monkeypatch.setattr(trial_runner, "WorkerTask", PaperTask)
    monkeypatch.setattr(preparation, "variants", installed)
    return made


WHOLE_WAY = ["fetch", "onnxruntime-cpu", "openvino-cpu", "gates"]


def test_a_worker_imports_while_another_fetches(shop: TrialRunner) -> None:
    """What the version that serves needs, for the first task after that; one that nobody needs is ended."""
    shop.prepare(backend="openvino")
    assert shop.spared == ["Benchmark"]
    assert [name.removeprefix("edgeagent.runtimes.") for name in shop.libraries] == [
        "detection.detector",
        "onnx",
        "onnx.runtime",
        "openvino.runtime",
    ]
    assert shop.unused == 0
    shop.fail["fetch"] = TaskFailedError("store away", transient=True)
    with pytest.raises(RefusedError):
        shop.prepare(Goal(Directive("v9", "key@1", "etcd")), backend="onnxruntime")
    assert shop.unused == 1


def test_no_worker_imports_what_nobody_may_need(shop: TrialRunner) -> None:
    """While nothing serves, nobody knows what will be needed; and a known good version is tried in nothing."""
    digest = shop.prepare().ref.digest
    for folder in ("prepared", "yolo"):
        shutil.rmtree(shop.settings.cache / folder, ignore_errors=True)
    good = Goal(Directive("v1", "boot", "boot"), digest)
    shop.prepare(good, backend="openvino")
    assert (shop.spared, shop.libraries) == ([], [])


def test_the_whole_way(shop: TrialRunner) -> None:
    """Fetch, each variant, gates; what comes out is the fastest."""
    artifact = shop.prepare()
    assert shop.asked == WHOLE_WAY
    assert shop.stages == ["VERIFYING", "PREPARING", "GATING"]
    assert (artifact.plan.variant, artifact.ref.version) == (OPENVINO, "v1")
    assert artifact.contract == METADATA.contract
    assert [t.variant for t in artifact.trials] == ["onnxruntime-cpu", "openvino-cpu"]


def test_the_first_version_on_a_node_serves_as_soon_as_its_gates_have_passed(shop: TrialRunner) -> None:
    """A line waits, so nothing is tried; the engine's worker imports while the gates run. What is fastest is found out
    beside it, and passes the gates in its own form."""
    shop.active = None
    artifact = shop.prepare()
    assert (artifact.plan.variant, artifact.tuning, artifact.trials) == (ONNX, Tuning.UNCONVERTED, ())
    assert artifact.gates == (CONTRACT_PASSED, SMOKE_PASSED)
    assert (shop.asked, shop.stages) == (["fetch", "gates"], ["VERIFYING", "PREPARING", "GATING"])
    assert shop.backends == ["onnxruntime"]
    shop.active = METADATA.contract
    good = replace(INTENT, digest=artifact.ref.digest)
    artifact = shop.prepare(good, PrepareMode.REBUILD)
    assert (artifact.plan.variant, artifact.tuning) == (OPENVINO, Tuning.PROVISIONAL)
    assert artifact.gates == (CONTRACT_PASSED, SMOKE_PASSED)
    assert shop.asked == WHOLE_WAY
    # Once more, later: timed in turns, and compared on many pictures.
    artifact = shop.prepare(good, PrepareMode.REBUILD)
    assert (artifact.plan.variant, artifact.tuning) == (OPENVINO, Tuning.SETTLED)
    assert shop.asked[1:3] == ["onnxruntime-cpu", "openvino-cpu"]
    assert shop.asked[-2:] == ["prove openvino-cpu on 100", "gates"]
    assert shop.parity[-1] == replace(SAME, frames=100)
    assert shop.prepare(good, PrepareMode.REBUILD) == artifact
    assert shop.asked == []
    # Nothing serves once more, but what is fastest is known.
    shop.active = None
    assert shop.prepare().plan.variant == OPENVINO
    assert shop.asked == ["fetch", "gates"]


def test_a_better_form_that_the_gates_refuse_does_not_replace_what_serves(shop: TrialRunner) -> None:
    """It serves on as it was published."""
    shop.active = None
    digest = shop.prepare().ref.digest
    shop.active = METADATA.contract
    shop.gates = (GateResult.judged("smoke", ["on frame 0: NaN"]),)
    with pytest.raises(RefusedError, match="gate smoke: on frame 0: NaN"):
        shop.prepare(replace(INTENT, digest=digest), PrepareMode.REBUILD)


def test_the_first_version_is_converted_first_if_it_can_not_serve_otherwise(shop: TrialRunner) -> None:
    """The backend that was asked for doesn't load what was published."""
    shop.active = None
    shop.settings = replace(shop.settings, backend="openvino")
    assert shop.prepare().plan.variant == OPENVINO
    assert shop.asked == WHOLE_WAY


def test_the_second_time_there_is_nothing_to_prepare(shop: TrialRunner) -> None:
    """All is known: the store is only asked whether it may be. The stages are the same."""
    first = shop.prepare()
    assert shop.prepare() == first
    assert shop.asked == ["withdrawn?"]
    assert shop.stages == ["VERIFYING", "PREPARING", "GATING"]


@pytest.mark.parametrize("serves", [METADATA.contract, None])
def test_what_was_preloaded_is_found_ready(shop: TrialRunner, serves: Contract | None) -> None:
    """Everything is done ahead, also when nothing serves yet: fetched, tried, gated. The update has nothing to do."""
    shop.active = serves
    ahead = Goal(Directive("v1", "key@0", "Ada", preload=True))
    artifact = shop.prepare(ahead, PrepareMode.PRELOAD)
    assert shop.asked == WHOLE_WAY
    assert shop.prepare() == artifact
    assert (shop.asked, shop.stages) == (["withdrawn?"], ["VERIFYING", "PREPARING", "GATING"])
    assert artifact.gates == (CONTRACT_PASSED, SMOKE_PASSED)


def test_what_was_withdrawn_since_is_refused_with_the_reason(shop: TrialRunner) -> None:
    """Although all is known of it; what has served well here comes back without a question."""
    digest = shop.prepare().ref.digest
    remote = RemoteStore(shop.settings.store.url)
    withdraw(remote, "yolo", "v1", Withdrawal("finds no dents", "eve", "2026-11-29"))
    with pytest.raises(
        ConflictError, match="withdrawn: finds no dents"
    ):  # a worker would answer with TaskFailed
        shop.prepare()
    assert (shop.asked, shop.stages) == (["withdrawn?", "fetch"], [])
    good = Goal(Directive("v1", "rollback@3", "eve"), digest)
    assert shop.prepare(good).ref.digest == digest
    assert shop.asked == []
    let_in(remote, "yolo", "v1")
    shop.prepare()
    assert shop.asked == ["withdrawn?"]


@pytest.mark.parametrize("trouble", [TaskFailedError("no answer", transient=True), OSError(11, "no process")])
def test_a_store_that_cannot_be_asked_keeps_nobody_from_what_is_here(
    shop: TrialRunner, trouble: Exception
) -> None:
    """As without that question."""
    first = shop.prepare()
    shop.fail["withdrawn?"] = trouble
    assert shop.prepare() == first


def test_a_known_good_version_skips_the_gates(shop: TrialRunner) -> None:
    """It is fetched and tuned, if need be."""
    digest = shop.prepare().ref.digest
    good = Goal(Directive("v1", "boot", "boot"), digest)
    shop.prepare(good)
    assert (shop.asked, shop.stages) == ([], ["VERIFYING", "PREPARING"])


def test_a_known_good_version_without_a_tuning_result_serves_as_it_was_published(shop: TrialRunner) -> None:
    """A line waits; what is fastest (with other options, another version of a runtime) is found out beside it."""
    good = Goal(Directive("v1", "boot", "boot"), shop.prepare().ref.digest)
    shop.settings = replace(shop.settings, threads=2)
    artifact = shop.prepare(good)
    assert (artifact.plan.variant, artifact.tuning) == (ONNX, Tuning.UNCONVERTED)
    assert shop.asked == ["fetch"]
    artifact = shop.prepare(good, PrepareMode.REBUILD)
    assert (artifact.plan.variant, artifact.tuning) == (OPENVINO, Tuning.PROVISIONAL)
    assert shop.asked == WHOLE_WAY
    assert shop.prepare(good) == artifact
    # What was asked for can't serve it as it is: then the line waits for the conversion.
    shop.settings = replace(shop.settings, threads=3, backend="openvino")
    assert shop.prepare(good).tuning is Tuning.PROVISIONAL


@pytest.mark.parametrize("lacks", [CRASH, TaskFailedError("no room", transient=True), OSError(28, "no room")])
def test_what_serves_is_not_rebuilt_as_a_fallback(shop: TrialRunner, lacks: Exception) -> None:
    """A worker that is killed, or a full disk: the source would serve at its own, slow pace."""
    good = Goal(Directive("v1", "boot", "boot"), shop.prepare().ref.digest)
    shop.settings = replace(shop.settings, threads=2)
    shop.fail = {"onnxruntime-cpu": lacks}
    with pytest.raises(RefusedError, match=r"SIGSEGV|no room"):
        shop.prepare(good, PrepareMode.REBUILD)


@pytest.mark.parametrize(
    "change",
    ["other active version", "leave for a new contract"],
)
def test_gates_are_passed_on_their_terms(shop: TrialRunner, change: str) -> None:
    """They compare with what serves: beside another version, they are asked again; what was measured still holds."""
    shop.prepare()
    goal = INTENT
    if change == "other active version":
        shop.active = None
    else:
        goal = Goal(replace(INTENT.directive, allow_new_contract=True))
    shop.prepare(goal)
    assert shop.asked == ["fetch", "gates"]
    shop.prepare(goal)
    assert shop.asked == ["withdrawn?"]


def test_what_the_gates_found_is_told_as_it_comes_and_remembered(shop: TrialRunner) -> None:
    """With the parity of the form that was chosen; the second time, and at a start, from memory."""
    first = shop.prepare()
    assert first.gates == shop.found == (CONTRACT_PASSED, SMOKE_PASSED)
    assert shop.parity == [SAME]
    shop.found = ()
    assert shop.prepare().gates == shop.found == (CONTRACT_PASSED, SMOKE_PASSED)
    good = Goal(Directive("v1", "boot", "boot"), first.ref.digest)
    assert shop.prepare(good).gates == (CONTRACT_PASSED, SMOKE_PASSED)
    assert shop.asked == []


def test_a_gate_that_refuses_is_told_with_the_reason(shop: TrialRunner) -> None:
    """And nothing is remembered as passed."""
    refusal = GateResult.judged("smoke", ["on frame 0: NaN"], {"frames": 1})
    shop.gates = (CONTRACT_PASSED, refusal)
    for _ in range(2):
        with pytest.raises(RefusedError, match="gate smoke: on frame 0: NaN") as refused:
            shop.prepare()
        assert (shop.found, refused.value.fingerprint) == ((CONTRACT_PASSED, refusal), "f")
        assert not refused.value.transient
    assert shop.asked == ["fetch", "gates"]


@pytest.mark.parametrize("change", ["another gate", "another version of it"])
def test_gates_of_other_packages_are_asked_when_they_change(
    shop: TrialRunner, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """What was passed without them is to be passed again."""
    mine = PlugIn("mine", "my.gates:MINE", "1.0")
    monkeypatch.setattr(plug_ins, "installed", lambda: () if change == "another gate" else (mine,))
    shop.prepare()
    monkeypatch.setattr(plug_ins, "installed", lambda: (replace(mine, version="1.1"),))
    shop.prepare()
    assert shop.asked == ["fetch", "gates"]
    shop.prepare()
    assert shop.asked == ["withdrawn?"]


def test_a_version_like_the_one_before_is_validated_in_one_worker(shop: TrialRunner) -> None:
    """Fetched, then tried and gated in what served the similar model best; remembered like any other."""
    shop.prepare()
    publish_bytes(str(shop.folder / "store"), "v2", b"weights".upper(), shop.folder)
    artifact = shop.prepare(Goal(Directive("v2", "key@1", "etcd")))
    assert shop.asked == ["fetch", "similar"]
    assert shop.stages == ["VERIFYING", "PREPARING", "GATING"]
    assert artifact.plan.variant == OPENVINO
    assert shop.prepare(Goal(Directive("v2", "key@1", "etcd"))) == artifact
    assert shop.asked == ["withdrawn?"]


def test_classes_that_are_not_welcome_are_refused_before_anything_is_tried(shop: TrialRunner) -> None:
    """By what the manifest says; that it is true the gates would see."""
    shop.active = replace(METADATA.contract, names=("dent", "scratch"))
    with pytest.raises(RefusedError, match=r"gate contract: class names .*another order") as refused:
        shop.prepare()
    assert (shop.asked, shop.stages) == (["fetch"], ["VERIFYING", "PREPARING", "GATING"])
    assert (refused.value.transient, refused.value.fingerprint) == (False, "f")
    assert shop.prepare(Goal(replace(INTENT.directive, allow_new_contract=True))).plan.variant == OPENVINO


WIDE, HIGH = FrameSizes(frozenset({(720, 1280)})), FrameSizes(frozenset({(1280, 720)}))
UNKNOWN = FrameSizes(frozenset(), complete=False)


@pytest.fixture
def checkpoint(shop: TrialRunner) -> TrialRunner:
    """v1 is a checkpoint, which takes pictures of any size."""
    path = shop.folder / "best.pt"
    path.write_bytes(b"weights")
    metadata = replace(METADATA, format="pt")
    (shop.folder / "pt").mkdir()
    publish(path, "yolo", "v1", str(shop.folder / "pt"), metadata=metadata)
    shop.settings = replace(shop.settings, store=StoreAccess(str(shop.folder / "pt"), {}, 5))
    return shop


def test_a_checkpoint_is_made_for_the_frames(checkpoint: TrialRunner) -> None:
    """As soon as the cameras have sent some; an ONNX file has the size that it has."""
    checkpoint.frame_sizes = [UNKNOWN, UNKNOWN, WIDE]
    assert checkpoint.prepare().imgsz == (192, 320)
    assert {*checkpoint.sizes} == {(192, 320)}


def test_the_first_checkpoint_waits_for_no_camera(checkpoint: TrialRunner) -> None:
    """It serves the square that it was trained for, and is made for the frames afterwards."""
    checkpoint.active = None
    checkpoint.frame_sizes = [UNKNOWN]
    artifact = checkpoint.prepare()
    assert (artifact.plan.variant, artifact.imgsz, artifact.tuning) == (
        TORCH,
        (320, 320),
        Tuning.UNCONVERTED,
    )


def test_frames_that_never_come_are_not_waited_for(
    checkpoint: TrialRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The square then; or what was made for those that the camera sent before."""
    monkeypatch.setattr(preparation, "_FIRST_FRAMES_S", 0.0)
    checkpoint.frame_sizes = [UNKNOWN]
    assert checkpoint.prepare().imgsz == (320, 320)
    checkpoint.frame_sizes = [WIDE]
    assert checkpoint.prepare().imgsz == (192, 320)
    checkpoint.frame_sizes = [UNKNOWN]
    assert checkpoint.prepare().imgsz in {(192, 320), (320, 320)}
    assert checkpoint.asked == ["withdrawn?"]


def test_a_known_good_version_serves_at_once_unconverted(checkpoint: TrialRunner) -> None:
    """Also for other frames: a line that waits sees nothing. Rebuilt, it fits them."""
    checkpoint.frame_sizes = [WIDE]
    first = checkpoint.prepare()
    checkpoint.frame_sizes = [HIGH]
    good = replace(INTENT, digest=first.ref.digest)
    assert checkpoint.prepare(good) == first
    assert checkpoint.asked == []
    assert checkpoint.prepare(good, PrepareMode.REBUILD).imgsz == (320, 192)
    assert checkpoint.prepare(INTENT).imgsz == (320, 192)


def test_refused_content_is_asked_of_the_store(shop: TrialRunner) -> None:
    """What the cache holds under the name is not the last word."""
    shop.refused = {shop.prepare().ref.digest}
    shop.prepare()
    assert shop.asked == ["fetch", "gates"]


def test_a_flipped_bit_in_the_cache_is_fetched_anew(shop: TrialRunner) -> None:
    """Known is only what is whole."""
    blob = shop.prepare().plan.weights
    blob.write_bytes(b"Weights")
    artifact = shop.prepare()
    assert shop.asked == ["fetch", "gates"]
    assert artifact.plan.weights.read_bytes() == b"weights"


@pytest.mark.parametrize("trouble", ["mark_used", "verify", "lookup"])
def test_a_cache_that_fails_is_no_tuning_result_on_the_version(
    shop: TrialRunner, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """The long way says what is wrong, and whether it may pass."""

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    shop.prepare()
    monkeypatch.setattr(Cache, trouble, fails)
    shop.fail["fetch"] = TaskFailedError("cache: Input/output error", transient=True)
    with pytest.raises(RefusedError) as refused:
        shop.prepare()
    assert (shop.asked, refused.value.transient) == (["fetch"], True)


def test_a_refusal_says_whose_fault_it_is(shop: TrialRunner) -> None:
    """The store's, for now; the weights', for good; and the fingerprint tells when they change."""
    shop.fail["fetch"] = CRASH
    with pytest.raises(RefusedError) as refused:
        shop.prepare()
    assert (refused.value.transient, refused.value.why) == (True, f"fetching: {CRASH.why}")
    shop.fail = {"gates": CRASH}
    with pytest.raises(RefusedError) as refused:
        shop.prepare()
    assert (refused.value.transient, refused.value.fingerprint) == (False, "f")
    assert refused.value.why == f"gate smoke: {CRASH.why}"
    assert shop.found == (GateResult.judged("smoke", [CRASH.why]),)


def test_a_version_that_vanished_from_the_cache_before_its_gates_is_tried_again(shop: TrialRunner) -> None:
    """No fault of its own."""
    shop.fail["gates"] = TaskFailedError("not in the cache any more", transient=True, answered=True)
    with pytest.raises(RefusedError) as refused:
        shop.prepare()
    assert refused.value.transient
    shop.fail.clear()
    shop.prepare()
    assert shop.asked == ["fetch", "gates"]


def test_passed_gates_that_cannot_be_remembered_are_passed(
    shop: TrialRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk; they are asked again the next time."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(preparation, "store_passed", full)
        assert shop.prepare().plan.variant == OPENVINO
    shop.prepare()
    assert shop.asked == ["fetch", "gates"]


def test_a_backend_that_can_not_be_proved_is_refused(shop: TrialRunner) -> None:
    """The gates say what is wrong with the weights; if nothing is, the reference's failure is the reason."""
    shop.settings = replace(shop.settings, backend="openvino")
    assert shop.prepare().plan.variant == OPENVINO
    shop.settings = replace(shop.settings, backend="openvino", threads=2)
    shop.fail["onnxruntime-cpu"] = CRASH
    with pytest.raises(RefusedError, match="SIGSEGV"):
        shop.prepare()
    assert shop.asked == ["fetch", "onnxruntime-cpu", "gates"]
    shop.fail["gates"] = TaskFailedError("gate contract: unsafe", answered=True)
    with pytest.raises(RefusedError, match="gate contract: unsafe"):
        shop.prepare()
    shop.fail = {"openvino-cpu": CRASH}
    with pytest.raises(RefusedError, match="openvino-cpu: the preparing worker ended"):
        shop.prepare()


def test_thresholds_for_a_gate_that_is_not_configured_are_an_error(shop: TrialRunner) -> None:
    """Before anything is fetched. With recent frames there is the gate; and what served well before is brought back at
    a start, whatever the configuration says by now."""
    goal = Goal(replace(INTENT.directive, gates={"replay": {"lost": 0.1}}), INTENT.digest)
    with pytest.raises(UsageError, match=r"keeps no recent frames; set update\.recent_frames\.keep"):
        shop.prepare(goal)
    assert shop.asked == []
    digest = shop.prepare().version.digest
    shop.prepare(replace(goal, digest=digest), PrepareMode.BOOT)
    shop.settings = replace(shop.settings, replay=(Path("/replay/line-1"),))
    shop.prepare(goal)
    assert "gates" in shop.asked
