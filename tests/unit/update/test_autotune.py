# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which variant is chosen, what is remembered of it, and what a disk that fails or a kill leaves behind."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from edgeagent.core.gating import GateResult, GateTerms
from edgeagent.core.model import Contract
from edgeagent.core.tuning import Parity, Tolerance, Trial
from edgeagent.core.verified import VerifiedVersion
from edgeagent.runtimes.variants import Variant
from edgeagent.serving.artifact import Artifact
from edgeagent.update import autotune as tuning
from edgeagent.update import tuning_cache as cache_module
from edgeagent.update.autotune import tune, unconverted
from edgeagent.update.tuning_cache import (
    TuningRequest,
    forget_others,
    last_passed,
    load_passed,
    load_result,
    store_passed,
)
from edgeagent.update.worker_task import TaskFailedError
from edgeagent.workers.tasks.prepare import BenchmarkResult, Proven, SimilarResult, TrialSetup

TORCH = Variant("torch", "cpu", "fp32", "pt")
ONNX = Variant("onnxruntime", "cpu", "fp32", "onnx")
OPENVINO = Variant("openvino", "cpu", "fp32", "onnx")
CONTRACT = Contract("detect", ("scratch",), (320, 320), 32)
SAME = Parity(frames=1, objects=3, missing=0, extra=0, least_iou=0.99, most_score=0.001)
BLIND = replace(SAME, missing=3)
CRASH = TaskFailedError("the preparing worker ended: killed by SIGSEGV")
FULL = TaskFailedError("disk: full", transient=True)
TERMS = GateTerms(allow_new_contract=True)
PASSED = GateResult("contract", True, {"classes": 1})


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is installed, as the test says."""
    versions = {"onnxruntime": "1.32.0"}
    monkeypatch.setattr(cache_module, "runtime_versions", lambda variant, fmt: versions)
    return versions


@dataclass
class TrialRunnerFake:
    """Runs trials on paper. say: milliseconds of a variant, the error of its trial, or its bad parity too."""

    folder: Path
    say: dict[Variant, float | Exception | tuple[float, Parity]]
    tried: list[str] = field(default_factory=list)
    validated: list[str] = field(default_factory=list)
    gates: tuple[GateResult, ...] | TaskFailedError = (PASSED,)
    request: TuningRequest = field(init=False)

    def __post_init__(self) -> None:
        weights = self.folder / "blob"
        weights.write_bytes(b"source")
        version = VerifiedVersion("yolo", "v1", "sha256:1", CONTRACT, "pt", weights)
        setup = TrialSetup(version, TORCH, 2, 1, None, 0.25, Tolerance())
        self.request = TuningRequest(setup, list(self.say))

    @property
    def root(self) -> Path:
        return self.folder / "prepared"

    async def benchmark(
        self, setup: TrialSetup, variant: Variant, folder: Path, compares: bool = True
    ) -> BenchmarkResult:
        """What a preparing worker does: the product, what it leaves to the next, and the figures."""
        assert compares
        return self.made(variant, folder)

    async def prove(self, setup: TrialSetup, variant: Variant, folder: Path, pictures: int) -> Proven:
        """Not while an update waits."""
        raise AssertionError(variant)

    async def validate_similar(
        self, setup: TrialSetup, variant: Variant, folder: Path, terms: GateTerms
    ) -> SimilarResult:
        """Reference, variant and gates in one."""
        assert terms == TERMS
        self.validated.append(variant.name)
        results = tuple(self.made(v, folder) for v in dict.fromkeys((TORCH, variant)))
        if isinstance(self.gates, TaskFailedError):
            raise self.gates
        return SimilarResult(results, self.gates)

    def made(self, variant: Variant, folder: Path) -> BenchmarkResult:
        """The result of a trial."""
        self.tried.append(variant.name)
        said = self.say.get(variant, 50.0)
        weights = self.request.setup.version.weights
        (folder / "picture-0.npy").write_bytes(b"seen")
        if variant.needs_conversion(("pt",)):
            weights = folder / "model.onnx"
            weights.write_bytes(b"converted")
        if isinstance(said, Exception):
            raise said
        compiled = folder / f"{variant.name}.compiled" if variant.backend == "openvino" else None
        if compiled:
            compiled.write_bytes(b"compiled")
        ms, parity = said if isinstance(said, tuple) else (said, SAME)
        return BenchmarkResult(weights, compiled, ms, None if variant == TORCH else parity, 0.0)

    def tune(self, request: TuningRequest | None = None) -> Artifact:
        """The answer; nothing half-made is left, whatever it is."""
        try:
            return asyncio.run(tune(request or self.request, self.root, self, TERMS))
        finally:
            assert self.left(".") == []

    def left(self, prefix: str = "") -> list[str]:
        """Names under the folder of prepared versions that begin so."""
        return (
            [p.name for p in self.root.glob("*") if p.name.startswith(prefix)] if self.root.is_dir() else []
        )


@pytest.fixture
def runner(tmp_path: Path) -> TrialRunnerFake:
    """Three variants, of which OpenVINO is the fastest."""
    return TrialRunnerFake(tmp_path, {TORCH: 40.0, ONNX: 20.0, OPENVINO: 10.0})


# -- the choice --------------------------------------------------------------------------------------


def test_the_fastest_wins(runner: TrialRunnerFake) -> None:
    """All were tried, the reference first; the file is what was made for it."""
    tuned = runner.tune()
    assert tuned.plan.variant == OPENVINO
    assert tuned.plan.weights.read_bytes() == b"converted"
    assert tuned.plan.weights.is_relative_to(runner.root)
    assert runner.tried == ["torch-cpu", "onnxruntime-cpu", "openvino-cpu"]
    assert tuned.trials == (
        Trial("torch-cpu", 40.0),
        Trial("onnxruntime-cpu", 20.0, "", SAME),
        Trial("openvino-cpu", 10.0, "", SAME),
    )


def test_the_source_itself_may_be_the_fastest(runner: TrialRunnerFake) -> None:
    """Then nothing that was made is kept."""
    runner.say[TORCH] = 5.0
    tuned = runner.tune()
    assert (tuned.plan.variant, tuned.plan.weights) == (TORCH, runner.request.setup.version.weights)
    assert os.listdir(runner.root / runner.request.key) == ["verdict.json"]


def test_what_sees_something_else_is_refused_and_the_next_fastest_taken(runner: TrialRunnerFake) -> None:
    """By gate and numbers."""
    runner.say[OPENVINO] = (10.0, BLIND)
    tuned = runner.tune()
    assert tuned.plan.variant == ONNX
    why = "gate parity: 3 of 3 objects of the source weights are not found"
    assert tuned.trials[2] == Trial("openvino-cpu", 10.0, why, BLIND)


def test_the_operators_tolerance_decides(runner: TrialRunnerFake) -> None:
    """A score that differs by 0.03."""
    runner.say[OPENVINO] = (10.0, replace(SAME, most_score=0.03))
    assert runner.tune().plan.variant == ONNX
    runner.request = changed(runner.request, tolerance=Tolerance(score=0.05))
    assert runner.tune().plan.variant == OPENVINO


def test_a_variant_that_fails_is_noted_and_the_next_is_tried(runner: TrialRunnerFake) -> None:
    """Crash, hang, memory, a conversion that can't be had: one reason each, and no more than that."""
    runner.say[ONNX] = CRASH
    tuned = runner.tune()
    assert tuned.plan.variant == OPENVINO
    assert tuned.trials[1] == Trial("onnxruntime-cpu", None, CRASH.why)


def test_when_all_others_fail_the_source_serves(runner: TrialRunnerFake) -> None:
    """That is known then, and not tried again."""
    runner.say.update({ONNX: CRASH, OPENVINO: (10.0, BLIND)})
    assert runner.tune().plan.variant == TORCH
    runner.tried.clear()
    assert runner.tune().plan.variant == TORCH
    assert runner.tried == []


def test_without_the_reference_nothing_is_proved_nor_remembered(runner: TrialRunnerFake) -> None:
    """It is left to the gates to say what is wrong with it; the others aren't tried."""
    runner.say[TORCH] = CRASH
    tuned = runner.tune()
    assert tuned == unconverted(runner.request, [Trial("torch-cpu", None, CRASH.why)])
    assert tuned.plan.weights == runner.request.setup.version.weights
    assert runner.tried == ["torch-cpu"]
    assert runner.left() == []


def test_a_reference_that_fails_is_no_choice_but_the_gates_are_to_see_it(tmp_path: Path) -> None:
    """The caller sees that it isn't among the variants."""
    runner = TrialRunnerFake(tmp_path, {ONNX: 20.0})
    runner.say[TORCH] = CRASH
    assert runner.tune().plan.variant == TORCH
    assert (runner.tried, runner.left()) == (["torch-cpu"], [])


def test_one_way_only_is_not_measured(tmp_path: Path) -> None:
    """There is nothing to choose; it is remembered, for the gates' sake."""
    runner = TrialRunnerFake(tmp_path, {TORCH: 40.0})
    folder = runner.root / runner.request.key
    assert runner.tune() == replace(unconverted(runner.request), folder=folder)
    assert runner.tried == []
    assert runner.left() == [runner.request.key]


def test_a_converted_backend_that_was_asked_for_is_proved_against_the_source(tmp_path: Path) -> None:
    """The source is measured for that, and not chosen, though it is faster."""
    runner = TrialRunnerFake(tmp_path, {ONNX: 20.0})
    runner.say[TORCH] = 1.0
    tuned = runner.tune()
    assert tuned.plan.variant == ONNX
    assert [t.variant for t in tuned.trials] == ["torch-cpu", "onnxruntime-cpu"]


@pytest.mark.parametrize(
    ("say", "why"),
    [
        ({ONNX: (20.0, BLIND)}, "onnxruntime-cpu: gate parity: 3 of 3 objects"),
        ({ONNX: CRASH}, "onnxruntime-cpu: the preparing worker ended"),
    ],
)
def test_when_nothing_that_was_asked_for_is_left_the_version_is_refused(
    tmp_path: Path, say: dict[Variant, Any], why: str
) -> None:
    """What failed its gate doesn't serve for want of a better one; nothing is remembered."""
    runner = TrialRunnerFake(tmp_path, {ONNX: 20.0})
    runner.say.update(say)
    with pytest.raises(TaskFailedError, match=why) as failed:
        runner.tune()
    assert not failed.value.transient
    assert runner.left() == []


# -- similar models -------------------------------------------------------------------------------------------


def changed(request: TuningRequest, **changes: Any) -> TuningRequest:
    """Another question: other fields of the request, of what its trials share, or of its version."""
    ours, version = {}, {}
    for name, value in changes.items():
        known = {f.name for f in fields(VerifiedVersion)}
        (version if name in known else ours)[name] = value
    variants = ours.pop("variants", request.variants)
    setup = replace(request.setup, version=replace(request.setup.version, **version), **ours)
    return TuningRequest(setup, variants)


def retrained(request: TuningRequest, **changes: Any) -> TuningRequest:
    """The next version: other content of the same shape."""
    return changed(request, **{"digest": "sha256:2", **changes})


def test_retrained_weights_are_tried_in_what_was_fastest_before(runner: TrialRunnerFake) -> None:
    """In one worker, gates and all; the numbers are those of this version."""
    runner.tune()
    runner.tried.clear()
    tuned = runner.tune(retrained(runner.request))
    assert (runner.validated, runner.tried) == (["openvino-cpu"], ["torch-cpu", "openvino-cpu"])
    assert (tuned.plan.variant, tuned.gates) == (OPENVINO, (PASSED,))
    assert tuned.trials == (Trial("torch-cpu", 40.0), Trial("openvino-cpu", 10.0, "", SAME))
    assert tuned.plan.compiled is not None
    assert tuned.plan.compiled.read_bytes() == b"compiled"
    runner.tried.clear()
    assert runner.tune(retrained(runner.request)) == replace(tuned, gates=())
    assert runner.tried == []


@pytest.mark.parametrize(
    "changes",
    [
        {"threads": 4},
        {"contract": replace(CONTRACT, imgsz=(640, 640))},
        {"contract": replace(CONTRACT, names=("scratch", "dent"))},
        {"format": "onnx"},
        {"variants": [TORCH, ONNX]},
    ],
)
def test_another_shape_or_question_is_no_similar_model(
    runner: TrialRunnerFake, changes: dict[str, Any]
) -> None:
    """What is fastest for one network says nothing of another."""
    runner.tune()
    runner.tune(retrained(runner.request, **changes))
    assert runner.validated == []


def test_another_size_of_file_is_no_similar_model(runner: TrialRunnerFake) -> None:
    """YOLO n, s and m have the same input and classes."""
    runner.request.setup.version.weights.write_bytes(b"." * 1000)
    runner.tune()
    runner.request.setup.version.weights.write_bytes(b"." * 1010)
    runner.tune(retrained(runner.request))
    assert runner.validated == ["openvino-cpu"]
    runner.request.setup.version.weights.write_bytes(b"." * 1500)
    runner.tune(retrained(runner.request, digest="sha256:3"))
    assert runner.validated == ["openvino-cpu"]


def test_of_two_that_are_about_as_fast_the_nearer_to_the_source_wins(runner: TrialRunnerFake) -> None:
    """The difference is noise, and the other loads longer."""
    runner.say[ONNX], runner.say[OPENVINO] = 10.5, 10.0
    assert runner.tune().plan.variant == ONNX
    runner.say[OPENVINO] = 9.0
    assert runner.tune(retrained(runner.request, threads=4)).plan.variant == OPENVINO


def test_a_little_slower_than_the_reference_is_like_a_similar_model(runner: TrialRunnerFake) -> None:
    """Beside a line at work, two that are as fast change places from one look to the next."""
    runner.tune()
    runner.say[OPENVINO] = 49.0
    tuned = runner.tune(retrained(runner.request))
    assert (tuned.plan.variant, tuned.gates) == (OPENVINO, (PASSED,))


@pytest.mark.parametrize("why", ["parity", "speed", "crash", "gate"])
def test_what_turns_out_not_to_be_like_a_similar_model_is_tuned_from_the_start(
    runner: TrialRunnerFake, why: str
) -> None:
    """And its gates run by themselves, to say what is wrong."""
    runner.tune()
    match why:
        case "parity":
            runner.say[OPENVINO] = (10.0, BLIND)
        case "speed":
            runner.say[OPENVINO] = 51.0
        case "crash":
            runner.say[OPENVINO] = CRASH
        case "gate":
            runner.gates = (PASSED, GateResult.judged("smoke", ["scores are not within 0..1"]))
    runner.tried.clear()
    tuned = runner.tune(retrained(runner.request))
    assert runner.validated == ["openvino-cpu"]
    assert runner.tried[2:] == ["torch-cpu", "onnxruntime-cpu", "openvino-cpu"]
    assert tuned.plan.variant == (OPENVINO if why == "gate" else ONNX)
    assert tuned.gates == ()


def test_a_full_disk_while_it_is_proved(runner: TrialRunnerFake) -> None:
    """As at any other trial."""
    runner.tune()
    runner.gates = FULL
    tuned = runner.tune(retrained(runner.request))
    assert (tuned.plan.variant, tuned.trials[-1].why) == (TORCH, FULL.why)


def test_a_version_served_by_its_own_format_is_proved_at_once_too(runner: TrialRunnerFake) -> None:
    """The reference alone."""
    runner.say[TORCH] = 5.0
    runner.tune()
    runner.tried.clear()
    assert runner.tune(retrained(runner.request)).plan.variant == TORCH
    assert runner.tried == ["torch-cpu"]


# -- the shape of frames -----------------------------------------------------------------------------


def test_each_input_size_has_a_tuning_result_of_its_own(runner: TrialRunnerFake) -> None:
    """And serves again when the frames do."""
    wide = runner.tune(changed(runner.request, imgsz=(192, 320)))
    assert wide.imgsz == (192, 320)
    high = runner.tune(changed(runner.request, imgsz=(320, 192)))
    runner.tried.clear()
    assert runner.tune(changed(runner.request, imgsz=(192, 320))) == replace(wide, gates=())
    assert runner.tune(changed(runner.request, imgsz=(320, 192))) == replace(high, gates=())
    assert runner.tried == []


def test_a_known_good_version_may_be_had_as_it_was_made_for_other_frames(runner: TrialRunnerFake) -> None:
    """The last one first; content is what must be the same."""
    runner.tune(changed(runner.request, imgsz=(320, 192)))
    runner.validated.clear()
    wide = runner.tune(changed(runner.request, imgsz=(192, 320)))
    assert runner.validated == ["openvino-cpu"]  # what was fastest for one shape
    os.utime(runner.root / f"{runner.request.key}-320x192", (1, 1))
    square = changed(runner.request, imgsz=(320, 320))
    assert load_result(square, runner.root) is None
    assert load_result(square, runner.root, any_size=True) == replace(wide, gates=())
    assert load_result(retrained(square), runner.root, any_size=True) is None


# -- files that are ready ----------------------------------------------------------------------------


def test_a_ready_file_is_served_from_where_it_lies(runner: TrialRunnerFake) -> None:
    """Only what is made is kept with the result."""
    ready = runner.folder / "ready.onnx"
    ready.write_bytes(b"ready")
    runner.say = {TORCH: CRASH}
    request = changed(runner.request, alternates={"onnx": ready}, reference=ONNX, variants=[ONNX])
    tuned = runner.tune(request)
    assert (tuned.plan.variant, tuned.plan.weights) == (ONNX, ready)
    assert runner.tune(request) == tuned


# -- memory ------------------------------------------------------------------------------------------


def test_the_second_time_nothing_is_measured(runner: TrialRunnerFake) -> None:
    """The same result, with its trials."""
    first = runner.tune()
    runner.tried.clear()
    assert runner.tune() == first
    assert runner.tried == []


@pytest.mark.parametrize(
    "changes",
    [
        {"threads": 4},
        {"max_batch": 8},
        {"tolerance": Tolerance(iou=0.5)},
        {"digest": "sha256:2"},
        {"variants": [TORCH, ONNX]},
        {"variants": [TORCH, ONNX, replace(OPENVINO, device="cuda:1")]},
    ],
)
def test_whatever_else_was_measured_says_nothing_of_this(
    runner: TrialRunnerFake, changes: dict[str, Any]
) -> None:
    """Another question is asked anew; the answer to the first stays."""
    runner.tune()
    runner.tried.clear()
    runner.tune(changed(runner.request, **changes))
    assert runner.tried[0] == "torch-cpu"
    runner.tried.clear()
    runner.tune()
    assert runner.tried == []


def test_another_version_of_a_runtime_is_measured_anew(
    runner: TrialRunnerFake, installed: dict[str, str]
) -> None:
    """Whatever it can do better or worse now."""
    runner.tune()
    installed["onnxruntime"] = "1.33.0"
    runner.tried.clear()
    runner.tune(changed(runner.request))
    assert len(runner.tried) == 3


def test_another_processor_is_measured_anew(runner: TrialRunnerFake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk was moved into another machine."""
    runner.tune()
    monkeypatch.setattr(cache_module, "_processors", lambda: ["model name : another"])
    runner.tried.clear()
    runner.tune(changed(runner.request))
    assert len(runner.tried) == 3


def spoil(path: Path) -> None:
    """One bit of it flips."""
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: spoil(folder / "model.onnx"),
        lambda folder: (folder / "model.onnx").unlink(),
        lambda folder: spoil(folder / "openvino-cpu.compiled"),
        lambda folder: (folder / "verdict.json").write_text("{"),
        lambda folder: (folder / "verdict.json").write_text("[]"),
        lambda folder: (folder / "verdict.json").write_text("{}"),
        lambda folder: (folder / "verdict.json").write_text("[" * 100_000),
        lambda folder: (folder / "verdict.json").unlink(),
    ],
)
def test_what_broke_on_the_disk_is_prepared_anew(
    runner: TrialRunnerFake, damage: Callable[[Path], Any]
) -> None:
    """It is hashed whenever it is asked for, and nothing of the broken folder is used."""
    first = runner.tune()
    folder = first.plan.weights.parent
    store_passed(replace(first, gates=(PASSED,)), "terms")
    damage(folder)
    runner.tried.clear()
    again = runner.tune()
    assert (again.plan.variant, again.plan.weights) == (first.plan.variant, first.plan.weights)
    assert runner.tried[-1] == "openvino-cpu"
    assert first.plan.weights.read_bytes() == b"converted"
    assert load_passed(first, "terms") is None


def test_passed_gates_are_remembered_on_their_terms_with_what_they_found(runner: TrialRunnerFake) -> None:
    """What another version served beside it, or under other leave, was another question."""
    tuned = replace(runner.tune(), gates=(PASSED,))
    assert (load_passed(tuned, "a"), last_passed(tuned)) == (None, ())
    store_passed(tuned, "a")
    assert load_passed(tuned, "a") == (PASSED,)
    assert load_passed(runner.tune(), "a") == (PASSED,)
    assert load_passed(tuned, "b") is None
    assert load_passed(runner.tune(changed(runner.request, threads=4)), "a") is None
    assert last_passed(tuned) == (PASSED,)


def test_gates_passed_without_a_tuning_result_are_not_remembered(runner: TrialRunnerFake) -> None:
    """There is nothing that the results could speak of."""
    runner.say[TORCH] = CRASH
    tuned = replace(runner.tune(), gates=(PASSED,))
    store_passed(tuned, "a")
    assert (load_passed(tuned, "a"), last_passed(tuned)) == (None, ())


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 100_000, '[{"name": "smoke", "passed": false}]'])
def test_results_that_can_not_be_read_are_asked_again(runner: TrialRunnerFake, content: str) -> None:
    """Those of an earlier release are empty files; a refusal is never remembered as passed."""
    tuned = runner.tune()
    assert tuned.folder is not None
    (tuned.folder / "passed-a").write_text(content)
    assert (load_passed(tuned, "a"), last_passed(tuned)) == (None, ())


def test_what_the_cache_has_no_more_is_forgotten(runner: TrialRunnerFake) -> None:
    """And what nobody can read; the rest stays."""
    runner.tune()
    other = changed(runner.request, digest="sha256:2")
    runner.tune(other)
    (runner.root / "odd").mkdir()
    (runner.root / "odd" / "verdict.json").write_text("[" * 100_000)
    forget_others(runner.root, {"sha256:2"})
    assert runner.left() == [other.key]
    forget_others(runner.folder / "nothing prepared yet", set())


# -- kills and failing disks -------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["the next preparation", "house-keeping"])
def test_what_a_killed_node_was_making_is_cleared_away(
    runner: TrialRunnerFake, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """What this node is making now stays."""
    leftover = runner.root / ".0123456789abcdef.0.tmp"
    leftover.mkdir(parents=True)
    (leftover / "model.onnx.part").write_bytes(b"half")
    ours: list[Path] = []

    made = runner.made

    def look(variant: Variant, folder: Path) -> BenchmarkResult:
        if by == "house-keeping":
            leftover.mkdir(exist_ok=True)
            forget_others(runner.root, set())
        assert not leftover.exists()
        ours.append(folder)
        assert folder.is_dir()
        return made(variant, folder)

    monkeypatch.setattr(runner, "made", look)
    runner.tune()
    assert len(ours) == 3
    assert runner.left() == [runner.request.key]


def test_two_preparations_of_one_content_do_not_disturb_each_other(runner: TrialRunnerFake) -> None:
    """Two models of the same weights: whoever is last, the result is whole."""

    async def both() -> list[Artifact]:
        return await asyncio.gather(*(tune(runner.request, runner.root, runner, TERMS) for _ in range(2)))

    first, second = asyncio.run(both())
    assert first.plan == second.plan  # one may have found the result of the other
    assert first.plan.weights.read_bytes() == b"converted"
    assert runner.left() == [runner.request.key]


@pytest.mark.parametrize("step", ["load_result", "begin", "benchmark", "store_result"])
def test_cancelled_at_any_step_it_leaves_nothing_half_made(
    runner: TrialRunnerFake, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A thread that is at work ends first; then its folder goes, and what is there already is whole."""

    async def cancelled() -> None:
        loop = asyncio.get_running_loop()

        benchmark = runner.benchmark

        async def cancelled_on_the_way(*args: Any) -> BenchmarkResult:
            if len(runner.tried) == 1:
                task.cancel()
                await asyncio.sleep(0)
            return await benchmark(*args)

        if step == "benchmark":
            patched.setattr(runner, "benchmark", cancelled_on_the_way)
        else:
            real = getattr(tuning, step)

            def at_work(*args: Any) -> Any:
                seen = threading.Event()
                loop.call_soon_threadsafe(task.cancel)
                loop.call_soon_threadsafe(loop.call_soon, seen.set)
                assert seen.wait(30)
                return real(*args)

            patched.setattr(tuning, step, at_work)
        task = asyncio.ensure_future(tune(runner.request, runner.root, runner, TERMS))
        await asyncio.wait([task])
        assert task.cancelled()

    with monkeypatch.context() as patched:
        asyncio.run(cancelled())
    assert runner.left(".") == []
    if step == "store_result":
        (folder,) = runner.root.iterdir()
        made = json.loads((folder / "verdict.json").read_bytes())["made"]
        assert (folder / made["weights"][0]).read_bytes() == b"converted"
    else:
        assert runner.left() == []


def no_space(*_: object, **__: object) -> None:
    """ENOSPC."""
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("at", ["mkdir", "write", "rename", "hash"])
def test_a_full_disk_costs_speed_and_not_the_update(
    runner: TrialRunnerFake, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """The source serves as it is, status says why, nothing is remembered; with room again it is tuned."""
    with monkeypatch.context() as full:
        match at:
            case "mkdir":
                full.setattr(tuning, "begin", no_space)
            case "write":
                full.setattr(cache_module, "write_durably", no_space)
            case "rename":
                full.setattr(Path, "rename", no_space)
            case "hash":
                full.setattr(cache_module, "hash_file", no_space)
        tuned = runner.tune()
    assert (tuned.plan.variant, tuned.plan.weights) == (TORCH, runner.request.setup.version.weights)
    assert (tuned.trials[-1].variant, tuned.trials[-1].ms) == ("torch-cpu", None)
    assert "No space left" in tuned.trials[-1].why
    assert runner.left() == []
    assert runner.tune().plan.variant == OPENVINO


def test_a_worker_that_finds_the_disk_full_says_nothing_of_its_variant(runner: TrialRunnerFake) -> None:
    """It would be refused for good otherwise."""
    runner.say[OPENVINO] = FULL
    tuned = runner.tune()
    assert (tuned.plan.variant, tuned.trials[-1]) == (TORCH, Trial("torch-cpu", None, FULL.why))
    runner.say[OPENVINO] = 10.0
    assert runner.tune().plan.variant == OPENVINO


def test_no_process_to_be_had_is_no_end_either(runner: TrialRunnerFake) -> None:
    """fork: EAGAIN."""
    runner.say[ONNX] = OSError(errno.EAGAIN, "Resource temporarily unavailable")
    tuned = runner.tune()
    assert (tuned.plan.variant, runner.left()) == (TORCH, [])
    assert "Resource temporarily unavailable" in tuned.trials[-1].why


def test_on_a_full_disk_a_version_that_must_be_converted_waits(tmp_path: Path) -> None:
    """It can't be served otherwise: tried again later, and not refused."""
    runner = TrialRunnerFake(tmp_path, {ONNX: FULL})
    with pytest.raises(TaskFailedError) as failed:
        runner.tune()
    assert failed.value.transient
