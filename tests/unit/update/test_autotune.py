# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which variant is chosen, what is remembered of it, and what a disk that fails or a kill leaves behind."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from edgeagent.core.model import Contract
from edgeagent.core.tuning import Parity, Tolerance, Trial
from edgeagent.runtimes.variants import Variant
from edgeagent.update import autotune as tuning
from edgeagent.update import tuning_cache as verdicts
from edgeagent.update.autotune import tune
from edgeagent.update.tuning_cache import Source, Verdict, forget_others, has_passed, mark_passed, recall
from edgeagent.update.worker_task import TaskFailedError

TORCH = Variant("torch", "cpu", "fp32", "pt")
ONNX = Variant("onnxruntime", "cpu", "fp32", "onnx")
OPENVINO = Variant("openvino", "cpu", "fp32", "onnx")
CONTRACT = Contract("detect", ("scratch",), (320, 320), 32)
SAME = Parity(frames=1, objects=3, missing=0, extra=0, least_iou=0.99, most_score=0.001)
BLIND = replace(SAME, missing=3)
CRASH = TaskFailedError("the preparing worker ended: killed by SIGSEGV")
FULL = TaskFailedError("disk: full", {"transient": True})


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is installed, as the test says."""
    versions = {"onnxruntime": "1.32.0"}
    monkeypatch.setattr(verdicts, "runtime_versions", lambda variant, fmt: versions)
    return versions


@dataclass
class Bench:
    """A workshop on paper. say: milliseconds of a variant, the error of its trial, or its bad parity too."""

    folder: Path
    say: dict[Variant, float | Exception | tuple[float, Parity]]
    tried: list[str] = field(default_factory=list)
    proved: list[str] = field(default_factory=list)
    gates: TaskFailedError | None = None
    source: Source = field(init=False)

    def __post_init__(self) -> None:
        weights = self.folder / "blob"
        weights.write_bytes(b"source")
        self.source = Source("sha256:1", weights, "pt", TORCH, list(self.say), 2, 1, Tolerance(), CONTRACT)

    @property
    def root(self) -> Path:
        return self.folder / "prepared"

    async def measure(self, source: Source, variant: Variant, folder: Path) -> dict[str, Any]:
        """What a preparing worker does: the product, what it leaves to the next, and the figures."""
        return self.made(variant, folder)

    async def prove(self, source: Source, variant: Variant, folder: Path) -> list[dict[str, Any]]:
        """Reference, variant and gates in one."""
        self.proved.append(variant.name)
        results = [self.made(v, folder) for v in dict.fromkeys((TORCH, variant))]
        if self.gates:
            raise self.gates
        return results

    def made(self, variant: Variant, folder: Path) -> dict[str, Any]:
        """The result of a trial."""
        self.tried.append(variant.name)
        said = self.say.get(variant, 50.0)
        weights = self.source.weights
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
        return {
            "weights": str(weights),
            "compiled": str(compiled or ""),
            "ms": ms,
            "parity": None if variant == TORCH else asdict(parity),
        }

    def tune(self, source: Source | None = None) -> Verdict:
        """The verdict; nothing half-made is left, whatever it is."""
        try:
            return asyncio.run(tune(source or self.source, self.root, self))
        finally:
            assert self.left(".") == []

    def left(self, prefix: str = "") -> list[str]:
        """Names under the folder of prepared versions that begin so."""
        return (
            [p.name for p in self.root.glob("*") if p.name.startswith(prefix)] if self.root.is_dir() else []
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Three variants, of which OpenVINO is the fastest."""
    return Bench(tmp_path, {TORCH: 40.0, ONNX: 20.0, OPENVINO: 10.0})


# -- the choice --------------------------------------------------------------------------------------


def test_the_fastest_wins(bench: Bench) -> None:
    """All were tried, the reference first; the file is what was made for it."""
    verdict = bench.tune()
    assert verdict.variant == OPENVINO
    assert verdict.weights.read_bytes() == b"converted"
    assert verdict.weights.is_relative_to(bench.root)
    assert bench.tried == ["torch-cpu", "onnxruntime-cpu", "openvino-cpu"]
    assert verdict.trials == (
        Trial("torch-cpu", 40.0),
        Trial("onnxruntime-cpu", 20.0, "", SAME),
        Trial("openvino-cpu", 10.0, "", SAME),
    )


def test_the_source_itself_may_be_the_fastest(bench: Bench) -> None:
    """Then nothing that was made is kept."""
    bench.say[TORCH] = 5.0
    verdict = bench.tune()
    assert (verdict.variant, verdict.weights) == (TORCH, bench.source.weights)
    assert os.listdir(bench.root / bench.source.key) == ["verdict.json"]


def test_what_sees_something_else_is_refused_and_the_next_fastest_taken(bench: Bench) -> None:
    """By gate and numbers."""
    bench.say[OPENVINO] = (10.0, BLIND)
    verdict = bench.tune()
    assert verdict.variant == ONNX
    why = "gate parity: 3 of 3 objects of the source weights are not found"
    assert verdict.trials[2] == Trial("openvino-cpu", 10.0, why, BLIND)


def test_the_operators_tolerance_decides(bench: Bench) -> None:
    """A score that differs by 0.03."""
    bench.say[OPENVINO] = (10.0, replace(SAME, most_score=0.03))
    assert bench.tune().variant == ONNX
    bench.source = replace(bench.source, tolerance=Tolerance(score=0.05))
    assert bench.tune().variant == OPENVINO


def test_a_variant_that_fails_is_noted_and_the_next_is_tried(bench: Bench) -> None:
    """Crash, hang, memory, a conversion that can't be had: one reason each, and no more than that."""
    bench.say[ONNX] = CRASH
    verdict = bench.tune()
    assert verdict.variant == OPENVINO
    assert verdict.trials[1] == Trial("onnxruntime-cpu", None, CRASH.why)


def test_when_all_others_fail_the_source_serves(bench: Bench) -> None:
    """That is known then, and not tried again."""
    bench.say.update({ONNX: CRASH, OPENVINO: (10.0, BLIND)})
    assert bench.tune().variant == TORCH
    bench.tried.clear()
    assert bench.tune().variant == TORCH
    assert bench.tried == []


def test_without_the_reference_nothing_is_proved_nor_remembered(bench: Bench) -> None:
    """It is left to the gates to say what is wrong with it; the others aren't tried."""
    bench.say[TORCH] = CRASH
    verdict = bench.tune()
    assert verdict == Verdict(TORCH, bench.source.weights, (Trial("torch-cpu", None, CRASH.why),))
    assert bench.tried == ["torch-cpu"]
    assert bench.left() == []


def test_a_reference_that_fails_is_no_choice_but_the_gates_are_to_see_it(tmp_path: Path) -> None:
    """The caller sees that it isn't among the variants."""
    bench = Bench(tmp_path, {ONNX: 20.0})
    bench.say[TORCH] = CRASH
    assert bench.tune().variant == TORCH
    assert (bench.tried, bench.left()) == (["torch-cpu"], [])


def test_one_way_only_is_not_measured(tmp_path: Path) -> None:
    """There is nothing to choose; it is remembered, for the gates' sake."""
    bench = Bench(tmp_path, {TORCH: 40.0})
    folder = bench.root / bench.source.key
    assert bench.tune() == Verdict(TORCH, bench.source.weights, folder=folder)
    assert bench.tried == []
    assert bench.left() == [bench.source.key]


def test_a_converted_backend_that_was_asked_for_is_proved_against_the_source(tmp_path: Path) -> None:
    """The source is measured for that, and not chosen, though it is faster."""
    bench = Bench(tmp_path, {ONNX: 20.0})
    bench.say[TORCH] = 1.0
    verdict = bench.tune()
    assert verdict.variant == ONNX
    assert [t.variant for t in verdict.trials] == ["torch-cpu", "onnxruntime-cpu"]


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
    bench = Bench(tmp_path, {ONNX: 20.0})
    bench.say.update(say)
    with pytest.raises(TaskFailedError, match=why) as failed:
        bench.tune()
    assert not failed.value.transient
    assert bench.left() == []


# -- kin -------------------------------------------------------------------------------------------


def retrained(source: Source, **changes: Any) -> Source:
    """The next version: other content of the same shape."""
    return replace(source, **{"digest": "sha256:2", **changes})


def test_retrained_weights_are_tried_in_what_was_fastest_before(bench: Bench) -> None:
    """In one worker, gates and all; the numbers are those of this version."""
    bench.tune()
    bench.tried.clear()
    verdict = bench.tune(retrained(bench.source))
    assert (bench.proved, bench.tried) == (["openvino-cpu"], ["torch-cpu", "openvino-cpu"])
    assert (verdict.variant, verdict.gated) == (OPENVINO, True)
    assert verdict.trials == (Trial("torch-cpu", 40.0), Trial("openvino-cpu", 10.0, "", SAME))
    assert verdict.compiled is not None
    assert verdict.compiled.read_bytes() == b"compiled"
    bench.tried.clear()
    assert bench.tune(retrained(bench.source)) == verdict
    assert bench.tried == []


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
def test_another_shape_or_question_is_no_kin(bench: Bench, changes: dict[str, Any]) -> None:
    """What is fastest for one network says nothing of another."""
    bench.tune()
    bench.tune(retrained(bench.source, **changes))
    assert bench.proved == []


def test_another_size_of_file_is_no_kin(bench: Bench) -> None:
    """YOLO n, s and m have the same input and classes."""
    bench.source.weights.write_bytes(b"." * 1000)
    bench.tune()
    bench.source.weights.write_bytes(b"." * 1010)
    bench.tune(retrained(bench.source))
    assert bench.proved == ["openvino-cpu"]
    bench.source.weights.write_bytes(b"." * 1500)
    bench.tune(retrained(bench.source, digest="sha256:3"))
    assert bench.proved == ["openvino-cpu"]


def test_of_two_that_are_about_as_fast_the_nearer_to_the_source_wins(bench: Bench) -> None:
    """The difference is noise, and the other loads longer."""
    bench.say[ONNX], bench.say[OPENVINO] = 10.5, 10.0
    assert bench.tune().variant == ONNX
    bench.say[OPENVINO] = 9.0
    assert bench.tune(retrained(bench.source, threads=4)).variant == OPENVINO


def test_a_little_slower_than_the_reference_is_like_its_kin(bench: Bench) -> None:
    """Beside a line at work, two that are as fast change places from one look to the next."""
    bench.tune()
    bench.say[OPENVINO] = 49.0
    verdict = bench.tune(retrained(bench.source))
    assert (verdict.variant, verdict.gated) == (OPENVINO, True)


@pytest.mark.parametrize("why", ["parity", "speed", "crash", "gate"])
def test_what_turns_out_not_to_be_like_its_kin_is_tuned_from_the_start(bench: Bench, why: str) -> None:
    """And its gates run by themselves, to say what is wrong."""
    bench.tune()
    match why:
        case "parity":
            bench.say[OPENVINO] = (10.0, BLIND)
        case "speed":
            bench.say[OPENVINO] = 51.0
        case "crash":
            bench.say[OPENVINO] = CRASH
        case "gate":
            bench.gates = TaskFailedError("gate smoke: scores are not within 0..1", {"transient": False})
    bench.tried.clear()
    verdict = bench.tune(retrained(bench.source))
    assert bench.proved == ["openvino-cpu"]
    assert bench.tried[2:] == ["torch-cpu", "onnxruntime-cpu", "openvino-cpu"]
    assert verdict.variant == (OPENVINO if why == "gate" else ONNX)
    assert not verdict.gated


def test_a_full_disk_while_it_is_proved(bench: Bench) -> None:
    """As at any other trial."""
    bench.tune()
    bench.gates = FULL
    verdict = bench.tune(retrained(bench.source))
    assert (verdict.variant, verdict.trials[-1].why) == (TORCH, FULL.why)


def test_a_version_served_by_its_own_format_is_proved_at_once_too(bench: Bench) -> None:
    """The reference alone."""
    bench.say[TORCH] = 5.0
    bench.tune()
    bench.tried.clear()
    assert bench.tune(retrained(bench.source)).variant == TORCH
    assert bench.tried == ["torch-cpu"]


# -- the shape of frames -----------------------------------------------------------------------------


def test_each_input_size_has_a_verdict_of_its_own(bench: Bench) -> None:
    """And serves again when the frames do."""
    wide = bench.tune(replace(bench.source, imgsz=(192, 320)))
    assert wide.imgsz == (192, 320)
    high = bench.tune(replace(bench.source, imgsz=(320, 192)))
    bench.tried.clear()
    assert bench.tune(replace(bench.source, imgsz=(192, 320))) == wide
    assert bench.tune(replace(bench.source, imgsz=(320, 192))) == high
    assert bench.tried == []


def test_a_known_good_version_may_be_had_as_it_was_made_for_other_frames(bench: Bench) -> None:
    """The last one first; content is what must be the same."""
    bench.tune(replace(bench.source, imgsz=(320, 192)))
    bench.proved.clear()
    wide = bench.tune(replace(bench.source, imgsz=(192, 320)))
    assert bench.proved == ["openvino-cpu"]  # what was fastest for one shape
    os.utime(bench.root / f"{bench.source.key}-320x192", (1, 1))
    square = replace(bench.source, imgsz=(320, 320))
    assert recall(square, bench.root) is None
    assert recall(square, bench.root, any_size=True) == wide
    assert recall(retrained(square), bench.root, any_size=True) is None


# -- files that are ready ----------------------------------------------------------------------------


def test_a_ready_file_is_served_from_where_it_lies(bench: Bench) -> None:
    """Only what is made is kept with the verdict."""
    ready = bench.folder / "ready.onnx"
    ready.write_bytes(b"ready")
    source = replace(bench.source, variants=[TORCH, ONNX], ready={"onnx": ready})
    assert source.weights_for(ONNX) == ready
    assert source.weights_for(TORCH) == source.weights
    bench.say = {TORCH: CRASH}
    source = replace(source, reference=ONNX, variants=[ONNX])
    verdict = bench.tune(source)
    assert (verdict.variant, verdict.weights) == (ONNX, ready)
    assert bench.tune(source) == verdict


# -- memory ------------------------------------------------------------------------------------------


def test_the_second_time_nothing_is_measured(bench: Bench) -> None:
    """The same verdict, with its trials."""
    first = bench.tune()
    bench.tried.clear()
    assert bench.tune() == first
    assert bench.tried == []


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
def test_whatever_else_was_measured_says_nothing_of_this(bench: Bench, changes: dict[str, Any]) -> None:
    """Another question is asked anew; the answer to the first stays."""
    bench.tune()
    bench.tried.clear()
    bench.tune(replace(bench.source, **changes))
    assert bench.tried[0] == "torch-cpu"
    bench.tried.clear()
    bench.tune()
    assert bench.tried == []


def test_another_version_of_a_runtime_is_measured_anew(bench: Bench, installed: dict[str, str]) -> None:
    """Whatever it can do better or worse now."""
    bench.tune()
    installed["onnxruntime"] = "1.33.0"
    bench.tried.clear()
    bench.tune(replace(bench.source))
    assert len(bench.tried) == 3


def test_another_processor_is_measured_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk was moved into another machine."""
    bench.tune()
    monkeypatch.setattr(verdicts, "_processors", lambda: ["model name : another"])
    bench.tried.clear()
    bench.tune(replace(bench.source))
    assert len(bench.tried) == 3


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
def test_what_broke_on_the_disk_is_prepared_anew(bench: Bench, damage: Callable[[Path], Any]) -> None:
    """It is hashed whenever it is asked for, and nothing of the broken folder is used."""
    first = bench.tune()
    folder = first.weights.parent
    mark_passed(first, "terms")
    damage(folder)
    bench.tried.clear()
    again = bench.tune()
    assert (again.variant, again.weights) == (first.variant, first.weights)
    assert bench.tried[-1] == "openvino-cpu"
    assert first.weights.read_bytes() == b"converted"
    assert not has_passed(first, "terms")


def test_passed_gates_are_remembered_on_their_terms(bench: Bench) -> None:
    """What another version served beside it, or under other leave, was another question."""
    verdict = bench.tune()
    assert not has_passed(verdict, "a")
    mark_passed(verdict, "a")
    assert has_passed(verdict, "a")
    assert has_passed(bench.tune(), "a")
    assert not has_passed(verdict, "b")
    assert not has_passed(bench.tune(replace(bench.source, threads=4)), "a")


def test_gates_passed_without_a_verdict_are_not_remembered(bench: Bench) -> None:
    """There is nothing that the mark could speak of."""
    bench.say[TORCH] = CRASH
    verdict = bench.tune()
    mark_passed(verdict, "a")
    assert not has_passed(verdict, "a")


def test_what_the_cache_has_no_more_is_forgotten(bench: Bench) -> None:
    """And what nobody can read; the rest stays."""
    bench.tune()
    other = replace(bench.source, digest="sha256:2")
    bench.tune(other)
    (bench.root / "odd").mkdir()
    (bench.root / "odd" / "verdict.json").write_text("[" * 100_000)
    forget_others(bench.root, {"sha256:2"})
    assert bench.left() == [other.key]
    forget_others(bench.folder / "nothing prepared yet", set())


# -- kills and failing disks -------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["the next preparation", "house-keeping"])
def test_what_a_killed_node_was_making_is_cleared_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """What this node is making now stays."""
    leftover = bench.root / ".0123456789abcdef.0.tmp"
    leftover.mkdir(parents=True)
    (leftover / "model.onnx.part").write_bytes(b"half")
    ours: list[Path] = []

    made = bench.made

    def look(variant: Variant, folder: Path) -> dict[str, Any]:
        if by == "house-keeping":
            leftover.mkdir(exist_ok=True)
            forget_others(bench.root, set())
        assert not leftover.exists()
        ours.append(folder)
        assert folder.is_dir()
        return made(variant, folder)

    monkeypatch.setattr(bench, "made", look)
    bench.tune()
    assert len(ours) == 3
    assert bench.left() == [bench.source.key]


def test_two_preparations_of_one_content_do_not_disturb_each_other(bench: Bench) -> None:
    """Two models of the same weights: whoever is last, the verdict is whole."""

    async def both() -> list[Verdict]:
        return await asyncio.gather(*(tune(bench.source, bench.root, bench) for _ in range(2)))

    first, second = asyncio.run(both())
    assert first == second
    assert first.weights.read_bytes() == b"converted"
    assert bench.left() == [bench.source.key]


@pytest.mark.parametrize("step", ["recall", "begin", "measure", "remember"])
def test_cancelled_at_any_step_it_leaves_nothing_half_made(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A thread that is at work ends first; then its folder goes, and what is there already is whole."""

    async def cancelled() -> None:
        loop = asyncio.get_running_loop()

        measure = bench.measure

        async def cancelled_on_the_way(*args: Any) -> dict[str, Any]:
            if len(bench.tried) == 1:
                task.cancel()
                await asyncio.sleep(0)
            return await measure(*args)

        if step == "measure":
            patched.setattr(bench, "measure", cancelled_on_the_way)
        else:
            real = getattr(tuning, step)

            def at_work(*args: Any) -> Any:
                seen = threading.Event()
                loop.call_soon_threadsafe(task.cancel)
                loop.call_soon_threadsafe(loop.call_soon, seen.set)
                assert seen.wait(30)
                return real(*args)

            patched.setattr(tuning, step, at_work)
        task = asyncio.ensure_future(tune(bench.source, bench.root, bench))
        await asyncio.wait([task])
        assert task.cancelled()

    with monkeypatch.context() as patched:
        asyncio.run(cancelled())
    assert bench.left(".") == []
    if step == "remember":
        (folder,) = bench.root.iterdir()
        made = json.loads((folder / "verdict.json").read_bytes())["made"]
        assert (folder / made["weights"][0]).read_bytes() == b"converted"
    else:
        assert bench.left() == []


def no_space(*_: object, **__: object) -> None:
    """ENOSPC."""
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("at", ["mkdir", "write", "rename", "hash"])
def test_a_full_disk_costs_speed_and_not_the_update(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """The source serves as it is, status says why, nothing is remembered; with room again it is tuned."""
    with monkeypatch.context() as full:
        match at:
            case "mkdir":
                full.setattr(tuning, "begin", no_space)
            case "write":
                full.setattr(verdicts, "write_durably", no_space)
            case "rename":
                full.setattr(Path, "rename", no_space)
            case "hash":
                full.setattr(verdicts, "_sha256", no_space)
        verdict = bench.tune()
    assert (verdict.variant, verdict.weights) == (TORCH, bench.source.weights)
    assert (verdict.trials[-1].variant, verdict.trials[-1].ms) == ("torch-cpu", None)
    assert "No space left" in verdict.trials[-1].why
    assert bench.left() == []
    assert bench.tune().variant == OPENVINO


def test_a_worker_that_finds_the_disk_full_says_nothing_of_its_variant(bench: Bench) -> None:
    """It would be refused for good otherwise."""
    bench.say[OPENVINO] = FULL
    verdict = bench.tune()
    assert (verdict.variant, verdict.trials[-1]) == (TORCH, Trial("torch-cpu", None, FULL.why))
    bench.say[OPENVINO] = 10.0
    assert bench.tune().variant == OPENVINO


def test_no_process_to_be_had_is_no_end_either(bench: Bench) -> None:
    """fork: EAGAIN."""
    bench.say[ONNX] = OSError(errno.EAGAIN, "Resource temporarily unavailable")
    verdict = bench.tune()
    assert (verdict.variant, bench.left()) == (TORCH, [])
    assert "Resource temporarily unavailable" in verdict.trials[-1].why


def test_on_a_full_disk_a_version_that_must_be_converted_waits(tmp_path: Path) -> None:
    """It can't be served otherwise: tried again later, and not refused."""
    bench = Bench(tmp_path, {ONNX: FULL})
    with pytest.raises(TaskFailedError) as failed:
        bench.tune()
    assert failed.value.transient
