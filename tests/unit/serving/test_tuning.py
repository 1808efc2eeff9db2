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

from edgeagent.engines.variants import Variant
from edgeagent.gates.parity import Parity, Tolerance
from edgeagent.serving import tuning
from edgeagent.serving.task import TaskFailedError
from edgeagent.serving.tuning import Source, Trial, Verdict, forget_others, has_passed, mark_passed, tune

TORCH = Variant("torch", "cpu", "fp32", "pt")
ONNX = Variant("onnxruntime", "cpu", "fp32", "onnx")
OPENVINO = Variant("openvino", "cpu", "fp32", "onnx")
SAME = Parity(frames=1, objects=3, missing=0, extra=0, least_iou=0.99, most_score=0.001)
BLIND = replace(SAME, missing=3)
CRASH = TaskFailedError("the preparing worker ended: killed by SIGSEGV")
FULL = TaskFailedError("disk: full", {"transient": True})


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is installed, as the test says."""
    versions = {"onnxruntime": "1.32.0"}
    monkeypatch.setattr(tuning, "runtime_versions", lambda variant, fmt: versions)
    return versions


@dataclass
class Bench:
    """Measures on paper. say: milliseconds of a variant, the error that its trial ends with, or its bad parity too."""

    folder: Path
    say: dict[Variant, float | Exception | tuple[float, Parity]]
    tried: list[str] = field(default_factory=list)
    source: Source = field(init=False)

    def __post_init__(self) -> None:
        weights = self.folder / "blob"
        weights.write_bytes(b"source")
        self.source = Source("sha256:1", weights, "pt", TORCH, list(self.say), 2, 1, Tolerance())

    @property
    def root(self) -> Path:
        return self.folder / "prepared"

    async def measure(self, variant: Variant, folder: Path, is_reference: bool) -> dict[str, Any]:
        """What a preparing worker does: the product, what it leaves to the next, and the figures."""
        said = self.say.get(variant, 50.0)
        weights = self.source.weights
        (folder / "picture-0.npy").write_bytes(b"seen")
        if variant.needs_conversion("pt"):
            weights = folder / "model.onnx"
            weights.write_bytes(b"converted")
        if isinstance(said, Exception):
            raise said
        ms, parity = said if isinstance(said, tuple) else (said, SAME)
        assert is_reference == (variant == TORCH)
        return {"weights": str(weights), "ms": ms, "parity": None if is_reference else asdict(parity)}

    def tune(self, source: Source | None = None) -> Verdict:
        """The verdict; nothing half-made is left, whatever it is."""
        try:
            return asyncio.run(tune(source or self.source, self.root, self.measure, self.tried.append))
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
    assert bench.tune() == Verdict(TORCH, bench.source.weights)
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
    monkeypatch.setattr(tuning, "_processors", lambda: ["model name : another"])
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
        lambda folder: (folder / "verdict.json").write_text("{"),
        lambda folder: (folder / "verdict.json").write_text("[]"),
        lambda folder: (folder / "verdict.json").write_text("{}"),
        lambda folder: (folder / "verdict.json").unlink(),
    ],
)
def test_what_broke_on_the_disk_is_prepared_anew(bench: Bench, damage: Callable[[Path], Any]) -> None:
    """It is hashed whenever it is asked for, and nothing of the broken folder is used."""
    first = bench.tune()
    folder = first.weights.parent
    mark_passed(bench.source, bench.root, "terms")
    damage(folder)
    bench.tried.clear()
    assert bench.tune() == first
    assert len(bench.tried) == 3
    assert first.weights.read_bytes() == b"converted"
    assert not has_passed(bench.source, bench.root, "terms")


def test_passed_gates_are_remembered_on_their_terms(bench: Bench) -> None:
    """What another version served beside it, or under other leave, was another question."""
    bench.tune()
    assert not has_passed(bench.source, bench.root, "a")
    mark_passed(bench.source, bench.root, "a")
    assert has_passed(bench.source, bench.root, "a")
    assert not has_passed(bench.source, bench.root, "b")
    assert not has_passed(replace(bench.source, threads=4), bench.root, "a")


def test_gates_passed_without_a_verdict_are_not_remembered(bench: Bench) -> None:
    """There is nothing that the mark could speak of."""
    bench.say[TORCH] = CRASH
    bench.tune()
    mark_passed(bench.source, bench.root, "a")
    assert not has_passed(bench.source, bench.root, "a")


def test_what_the_cache_has_no_more_is_forgotten(bench: Bench) -> None:
    """And what nobody can read; the rest stays."""
    bench.tune()
    other = replace(bench.source, digest="sha256:2")
    bench.tune(other)
    (bench.root / "odd").mkdir()
    (bench.root / "odd" / "verdict.json").write_text("[]")
    forget_others(bench.root, {"sha256:2"})
    assert bench.left() == [other.key]
    forget_others(bench.folder / "nothing prepared yet", set())


# -- kills and failing disks -------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["the next preparation", "house-keeping"])
def test_what_a_killed_node_was_making_is_cleared_away(bench: Bench, by: str) -> None:
    """What this node is making now stays."""
    leftover = bench.root / ".0123456789abcdef.0.tmp"
    leftover.mkdir(parents=True)
    (leftover / "model.onnx.part").write_bytes(b"half")
    ours: list[Path] = []

    async def measure(variant: Variant, folder: Path, is_reference: bool) -> dict[str, Any]:
        if by == "house-keeping":
            leftover.mkdir(exist_ok=True)
            forget_others(bench.root, set())
        assert not leftover.exists()
        ours.append(folder)
        assert folder.is_dir()
        return await bench.measure(variant, folder, is_reference)

    asyncio.run(tune(bench.source, bench.root, measure, bench.tried.append))
    assert len(ours) == 3
    assert bench.left() == [bench.source.key]


def test_two_preparations_of_one_content_do_not_disturb_each_other(bench: Bench) -> None:
    """Two models of the same weights: whoever is last, the verdict is whole."""

    async def both() -> list[Verdict]:
        return await asyncio.gather(
            *(tune(bench.source, bench.root, bench.measure, bench.tried.append) for _ in range(2))
        )

    first, second = asyncio.run(both())
    assert first == second
    assert first.weights.read_bytes() == b"converted"
    assert bench.left() == [bench.source.key]


@pytest.mark.parametrize("step", ["recall", "_begin", "measure", "_remember"])
def test_cancelled_at_any_step_it_leaves_nothing_half_made(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A thread that is at work ends first; then its folder goes, and what is there already is whole."""

    async def cancelled() -> None:
        loop = asyncio.get_running_loop()

        async def measure(*args: Any) -> dict[str, Any]:
            if step == "measure" and len(bench.tried) == 2:
                task.cancel()
                await asyncio.sleep(0)
            return await bench.measure(*args)

        if step != "measure":
            real = getattr(tuning, step)

            def at_work(*args: Any) -> Any:
                seen = threading.Event()
                loop.call_soon_threadsafe(task.cancel)
                loop.call_soon_threadsafe(loop.call_soon, seen.set)
                assert seen.wait(30)
                return real(*args)

            patched.setattr(tuning, step, at_work)
        task = asyncio.ensure_future(tune(bench.source, bench.root, measure, bench.tried.append))
        await asyncio.wait([task])
        assert task.cancelled()

    with monkeypatch.context() as patched:
        asyncio.run(cancelled())
    assert bench.left(".") == []
    if step == "_remember":
        (folder,) = bench.root.iterdir()
        assert (
            folder / json.loads((folder / "verdict.json").read_bytes())["file"]
        ).read_bytes() == b"converted"
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
                full.setattr(tuning, "_begin", no_space)
            case "write":
                full.setattr(tuning, "write_durably", no_space)
            case "rename":
                full.setattr(Path, "rename", no_space)
            case "hash":
                full.setattr(tuning, "_sha256", no_space)
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
