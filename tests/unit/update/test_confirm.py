# SPDX-License-Identifier: AGPL-3.0-or-later
"""A tuning result of a short look is confirmed: timed in turns, proved on many pictures; with workers on paper."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from edgeagent.core.gating import GateTerms
from edgeagent.core.model import Contract
from edgeagent.core.race import CALM, MAX_TURNS
from edgeagent.core.tuning import Parity, Tolerance, Trial, Tuning
from edgeagent.core.verified import VerifiedVersion
from edgeagent.runtimes.variants import Variant
from edgeagent.serving.artifact import Artifact
from edgeagent.update import tuning_cache
from edgeagent.update.autotune import tune
from edgeagent.update.confirm import PICTURES, confirm
from edgeagent.update.tuning_cache import TuningRequest, load_result
from edgeagent.update.worker_task import TaskFailedError
from edgeagent.workers.tasks.prepare import BenchmarkResult, Proven, SimilarResult, TrialSetup

TORCH = Variant("torch", "cpu", "fp32", "pt")
FP32 = Variant("openvino", "cpu", "fp32", "onnx")
BF16 = Variant("openvino", "cpu", "bf16", "onnx")
CONTRACT = Contract("detect", ("scratch",), (320, 320), 32)
SAME = Parity(1, 3, 0, 0, 0.99, 0.001, 0, 0.95)
ALIKE = replace(SAME, frames=PICTURES, differing_at_most=0.0295)
DIFFERS = replace(ALIKE, most_score=0.031, differing=3, differing_at_most=0.0757)
WHY = "gate parity: scores differ by up to 0.031 (at most 0.02)"
BUSY = CALM * 3
CRASH = TaskFailedError("the preparing worker ended: killed by SIGSEGV")
FULL = TaskFailedError("disk: full", transient=True)


@dataclass
class TrialsFake:
    """Workers on paper. ms: of the short look, then of each turn (the last for ever), by variant; waited: of each turn,
    likewise; found: on many pictures. said: what was asked of it."""

    folder: Path
    ms: dict[Variant, list[float]]
    waited: list[float] = field(default_factory=lambda: [0.0])
    found: dict[Variant, Parity | TaskFailedError] = field(default_factory=dict)
    fails: dict[Variant, TaskFailedError] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    waited_at_look: float = 0.0
    request: TuningRequest = field(init=False)

    def __post_init__(self) -> None:
        self.request = self.asks("sha256:1")

    def asks(self, digest: str) -> TuningRequest:
        """The question about a version of this content."""
        weights = self.folder / "blob"
        weights.write_bytes(b"source")
        version = VerifiedVersion("yolo", "v1", digest, CONTRACT, "pt", weights)
        return TuningRequest(TrialSetup(version, TORCH, 1, 1, None, 0.25, Tolerance()), list(self.ms))

    @property
    def root(self) -> Path:
        return self.folder / "prepared"

    async def benchmark(
        self, setup: TrialSetup, variant: Variant, folder: Path, compares: bool = True
    ) -> BenchmarkResult:
        """A trial of the short look, or a turn."""
        times = self.ms[variant]
        ms = times.pop(0) if len(times) > 1 else times[0]
        if not compares:
            self.said.append(variant.name)
            if variant in self.fails:
                raise self.fails[variant]
        turn = min(self.said.count(variant.name), len(self.waited)) - 1
        waited = self.waited_at_look if compares else self.waited[turn]
        return BenchmarkResult(*self._made(variant, folder), ms, SAME if variant != TORCH else None, waited)

    async def validate_similar(
        self, setup: TrialSetup, variant: Variant, folder: Path, terms: GateTerms
    ) -> SimilarResult:
        """The reference, and the variant of a similar model."""
        results = [await self.benchmark(setup, v, folder) for v in (TORCH, variant)]
        return SimilarResult(tuple(results), ())

    async def prove(self, setup: TrialSetup, variant: Variant, folder: Path, pictures: int) -> Proven:
        """On many pictures."""
        self.said.append(f"prove {variant.name}")
        found = self.found.get(variant, ALIKE)
        if isinstance(found, TaskFailedError):
            raise found
        assert pictures == PICTURES
        return Proven(*self._made(variant, folder), found)

    def _made(self, variant: Variant, folder: Path) -> tuple[Path, Path | None]:
        if variant == TORCH:
            return self.request.setup.version.weights, None
        for name in ("model.onnx", f"{variant.name}.compiled"):
            (folder / name).write_bytes(b"made")
        return folder / "model.onnx", folder / f"{variant.name}.compiled"

    def look(self, digest: str = "sha256:1") -> Artifact:
        """The short look."""
        self.request = self.asks(digest)
        return asyncio.run(tune(self.request, self.root, self, GateTerms()))

    def confirm(self, known: Artifact) -> Artifact:
        """And the long one; nothing half-made is left, whatever comes of it."""
        self.said.clear()
        try:
            return asyncio.run(confirm(self.request, known, self.root, self))
        finally:
            assert not list(self.root.glob(".*"))


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrialsFake]:
    """Makes workers on paper, whose times are these."""
    monkeypatch.setattr(tuning_cache, "runtime_versions", lambda variant, fmt: {"openvino": "2026.4"})

    def made(torch: float, fp32: list[float], bf16: list[float]) -> TrialsFake:
        return TrialsFake(tmp_path, {TORCH: [torch], FP32: list(fp32), BF16: list(bf16)})

    return made


def test_what_noise_decided_is_decided_anew_in_turns(trials: Callable[..., TrialsFake]) -> None:
    """8.34 against 8.43 under load; by turns it is 11.1 against 7.5. What a look leaves behind is found on the disk."""
    node = trials(40.0, [8.34, 11.1], [8.43, 7.5])
    known = node.look()
    assert (known.plan.variant, known.tuning) == (FP32, Tuning.PROVISIONAL)
    assert load_result(node.request, node.root) == known
    settled = node.confirm(known)
    assert (settled.plan.variant, settled.tuning) == (BF16, Tuning.SETTLED)
    turns = node.said.count("openvino-cpu")
    assert node.said == ["openvino-cpu", "openvino-cpu-bf16"] * turns + ["prove openvino-cpu-bf16"]
    assert 2 <= turns <= MAX_TURNS
    assert settled.trials == (
        Trial("torch-cpu", 40.0),
        Trial("openvino-cpu", 8.34, "", SAME, 1 + turns),
        Trial("openvino-cpu-bf16", 7.5, "", ALIKE, 1 + turns),
    )
    assert load_result(node.request, node.root) == settled
    assert settled.plan.compiled is not None
    assert settled.plan.compiled.read_bytes() == b"made"
    # What served until now may have to start again before the new engine has taken over.
    assert known.plan.compiled is not None
    assert known.plan.compiled.exists()


def test_a_clear_choice_is_only_proved(trials: Callable[..., TrialsFake]) -> None:
    """Three times as fast as any other."""
    node = trials(40.0, [30.0], [10.0])
    settled = node.confirm(node.look())
    assert node.said == ["prove openvino-cpu-bf16"]
    assert (settled.plan.variant, settled.tuning) == (BF16, Tuning.SETTLED)


def test_a_look_at_a_busy_machine_rules_nobody_out(trials: Callable[..., TrialsFake]) -> None:
    """However clear it seemed: what took seven times as long then is the faster."""
    node = trials(40.0, [662.7, 16.6], [96.8, 21.0])
    node.waited_at_look = BUSY
    known = node.look()
    assert known.plan.variant == TORCH
    settled = node.confirm(known)
    assert (settled.plan.variant, settled.tuning) == (FP32, Tuning.SETTLED)


def test_on_a_busy_machine_the_choice_stays_provisional(trials: Callable[..., TrialsFake]) -> None:
    """It is the better one, though, if that is clear; later the machine is looked at before anything is raced, and what
    was proved is not proved again. When it is calm it is settled."""
    node = trials(40.0, [8.34, 11.1], [8.43, 7.5])
    node.waited = [BUSY]
    found = node.confirm(node.look())
    assert (found.plan.variant, found.tuning) == (BF16, Tuning.PROVISIONAL)
    assert load_result(node.request, node.root) == found
    again = node.confirm(found)
    assert node.said == ["openvino-cpu", "openvino-cpu-bf16"]
    assert (again.plan, again.tuning) == (found.plan, Tuning.PROVISIONAL)
    node.waited = [0.0]
    settled = node.confirm(again)
    assert (settled.plan.variant, settled.tuning) == (BF16, Tuning.SETTLED)
    assert "prove openvino-cpu-bf16" not in node.said


def test_what_is_unclear_on_a_busy_machine_changes_nothing(trials: Callable[..., TrialsFake]) -> None:
    """Now this one is ahead and now that one: the engine isn't replaced for it."""
    node = trials(40.0, [12.0, 8.0, 20.0, 8.0, 20.0, 9.0, 18.0, 8.0, 20.0], [9.0, 16.0, 9.0, 16.0, 9.0])
    node.waited = [BUSY]
    known = node.look()
    found = node.confirm(known)
    assert (found.plan.variant, found.tuning) == (known.plan.variant, Tuning.PROVISIONAL)


def test_what_differs_on_many_pictures_gives_way_to_the_next(trials: Callable[..., TrialsFake]) -> None:
    """On eight it found the same. The next is the faster of those that are left, proved as well."""
    node = trials(40.0, [11.1], [7.5])
    known = node.look()
    assert known.plan.variant == BF16
    node.found[BF16] = DIFFERS
    settled = node.confirm(known)
    assert [what for what in node.said if what.startswith("prove")] == [
        "prove openvino-cpu-bf16",
        "prove openvino-cpu",
    ]
    assert (settled.plan.variant, settled.tuning) == (FP32, Tuning.SETTLED)
    assert [(t.why, t.parity) for t in settled.trials[1:]] == [("", ALIKE), (WHY, DIFFERS)]


def test_nothing_compared_with_nothing_settles_nothing(trials: Callable[..., TrialsFake]) -> None:
    """An empty line: it is looked at again later."""
    node = trials(40.0, [30.0], [10.0])
    node.found[BF16] = replace(ALIKE, objects=0)
    found = node.confirm(node.look())
    assert (found.plan.variant, found.tuning) == (BF16, Tuning.PROVISIONAL)
    node.found.clear()
    assert node.confirm(found).tuning is Tuning.SETTLED


def test_the_source_itself_needs_no_proof(trials: Callable[..., TrialsFake]) -> None:
    """When nothing else finds what it finds."""
    node = trials(40.0, [30.0], [10.0])
    known = node.look()
    node.found = {FP32: DIFFERS, BF16: DIFFERS}
    settled = node.confirm(known)
    assert (settled.plan.variant, settled.plan.weights) == (TORCH, node.request.setup.version.weights)
    assert settled.tuning is Tuning.SETTLED


def test_when_nothing_that_was_asked_for_is_left_that_is_said(trials: Callable[..., TrialsFake]) -> None:
    """`engine.backend` names one: it serves on, and the status says what is wrong with it."""
    node = trials(40.0, [30.0], [10.0])
    del node.ms[TORCH]
    node.ms[TORCH] = [40.0]
    node.request = TuningRequest(node.request.setup, [BF16])
    known = asyncio.run(tune(node.request, node.root, node, GateTerms()))
    node.found[BF16] = DIFFERS
    with pytest.raises(TaskFailedError, match=r"openvino-cpu-bf16: gate parity: scores differ") as failed:
        node.confirm(known)
    assert not failed.value.transient
    assert load_result(node.request, node.root) == known


def test_a_choice_that_was_inherited_is_as_sure_as_that_of_the_similar_model(
    trials: Callable[..., TrialsFake],
) -> None:
    """From one that was settled it is only proved; from a short look, all are timed."""
    node = trials(40.0, [8.34, 8.34, 11.1], [8.43, 7.5])
    first = node.look("sha256:1")
    second = node.look("sha256:2")
    assert [t.variant for t in second.trials] == ["torch-cpu", "openvino-cpu"]
    assert node.confirm(second).plan.variant == BF16
    assert "openvino-cpu-bf16" in node.said
    node.request = node.asks("sha256:1")
    node.confirm(first)
    third = node.look("sha256:3")
    assert [t.variant for t in third.trials] == ["torch-cpu", "openvino-cpu-bf16"]
    assert node.confirm(third).tuning is Tuning.SETTLED
    assert node.said == ["prove openvino-cpu-bf16"]


def test_who_crashes_in_a_turn_is_out(trials: Callable[..., TrialsFake]) -> None:
    """The others go on."""
    node = trials(40.0, [11.1], [10.5])
    known = node.look()
    node.fails[BF16] = CRASH
    settled = node.confirm(known)
    assert (settled.plan.variant, settled.trials[2].why) == (FP32, CRASH.why)


@pytest.mark.parametrize("where", ["a turn", "the proof"])
def test_a_trouble_that_passes_changes_nothing(trials: Callable[..., TrialsFake], where: str) -> None:
    """A full disk, or a worker that is killed beside the source: it is looked at again later."""
    node = trials(40.0, [11.1], [10.5])
    known = node.look()
    if where == "a turn":
        node.fails[BF16] = FULL
    else:
        node.found = {FP32: CRASH, BF16: CRASH}
    with pytest.raises(TaskFailedError):
        node.confirm(known)
    assert load_result(node.request, node.root) == known


def test_a_result_of_an_earlier_release_is_taken_over_and_confirmed(
    trials: Callable[..., TrialsFake],
) -> None:
    """It says nothing of turns, of pictures that differ, nor whether it is settled."""
    node = trials(40.0, [30.0], [10.0])
    known = node.look()
    assert known.folder is not None
    file = known.folder / "verdict.json"
    text = file.read_text()
    for new in (
        '"turns": 1',
        '"differing": 0',
        '"differing_at_most": 0.95',
        '"waited": 0.0',
        '"settled": false',
    ):
        assert new in text
        text = text.replace(f",\n   {new}", "").replace(f",\n    {new}", "").replace(f",\n {new}", "")
    assert not any(word in text for word in ("turns", "differing", "waited", "settled"))
    file.write_text(text)
    old = load_result(node.request, node.root)
    assert old is not None
    assert (old.plan, old.tuning) == (known.plan, Tuning.PROVISIONAL)
    assert node.confirm(old).tuning is Tuning.SETTLED
