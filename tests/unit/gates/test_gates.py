# SPDX-License-Identifier: AGPL-3.0-or-later
"""All gates: in which order they run, when they stop, and under which key "passed" is remembered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeagent import gates
from edgeagent.core.gating import GateResult, GateTerms, PlugIn
from edgeagent.core.model import Contract
from edgeagent.core.tuning import Parity, Tolerance
from edgeagent.core.verified import VerifiedVersion
from edgeagent.errors import MissingExtraError, UnavailableError, WeightsError
from edgeagent.gates import plug_ins, run_gates
from edgeagent.gates.port import Gate, GateContext
from edgeagent.runtimes import registry
from tests.support.weights import NAMES, detection_onnx

CONTRACT = Contract("detect", ("scratch",), (64, 64), 32)
VERSION = VerifiedVersion("yolo", "v1", "sha256:1", CONTRACT, "onnx", Path("w.onnx"))


def context(parity: Parity | None = None) -> GateContext:
    """Of a version that no test loads."""
    return GateContext(VERSION, GateTerms(), parity, Tolerance(), load=_never, see_frames=_never)


def _never() -> Any:
    raise AssertionError("not asked for")


def passing(name: str) -> Gate:
    """Has nothing against any version."""
    return Gate(name, lambda context: GateResult.judged(name, []))


def failing(name: str, error: BaseException) -> Gate:
    """Meets this error."""

    def run(context: GateContext) -> GateResult:
        raise error

    return Gate(name, run)


def ran(*rows: Gate) -> tuple[list[str], list[str], list[str]]:
    """Which gates were said to begin, which to end, and what was refused."""
    started: list[str] = []
    finished: list[GateResult] = []
    results = run_gates(rows, context(), started.append, finished.append)
    assert results == tuple(finished)
    return started, [r.name for r in finished], [r.failure for r in finished if not r.passed]


def test_they_run_in_order_up_to_the_first_that_refuses() -> None:
    """Each is said as it begins and as it ends; those after a refusal aren't asked."""
    bad = failing("second", WeightsError("weights w", "are no network"))
    assert ran(passing("first"), bad, passing("third")) == (
        ["first", "second"],
        ["first", "second"],
        ["gate second: weights w: are no network"],
    )


def test_a_gate_that_does_not_apply_is_left_out() -> None:
    """Parity, where the source itself serves."""
    assert [g.name for g in gates.GATES] == [
        "contract",
        "parity",
        "smoke",
        "memory",
        "golden",
        "latency",
        "replay",
    ]
    parity = gates.GATES[1]
    assert not parity.applies(context())
    assert parity.applies(context(Parity(1, 1, 0, 0, 1.0, 0.0)))
    assert ran(parity, passing("last")) == (["last"], ["last"], [])


def test_a_result_has_the_name_of_its_row() -> None:
    """Whatever its gate calls itself."""
    assert ran(Gate("mine", lambda context: GateResult.judged("other", []))) == (["mine"], ["mine"], [])


def test_a_disk_that_fails_says_nothing_of_the_weights() -> None:
    """It is for whoever runs the gates."""
    with pytest.raises(UnavailableError):
        ran(failing("first", UnavailableError("disk", "is full")))


@pytest.mark.parametrize("error", [ValueError("3 is not 4"), SystemExit("3 is not 4")])
def test_a_gate_that_fails_lets_nothing_through(error: BaseException) -> None:
    """And says what it met, not how the process ended that it took along."""
    assert ran(failing("mine", error), passing("third")) == (
        ["mine"],
        ["mine"],
        [f"gate mine: it failed: {error!r}"],
    )


@pytest.mark.parametrize("answer", [None, True, {"passed": True}, "passed" * 1000])
def test_a_gate_that_answers_nonsense_lets_nothing_through(answer: Any) -> None:
    """Also where that could be taken for a yes."""
    _, _, (failure,) = ran(Gate("mine", lambda context: answer))
    assert failure.startswith(f"gate mine: it answered {answer!r}"[:50])
    assert failure.endswith("no GateResult")
    assert len(failure) < 200


@pytest.mark.parametrize(
    "terms",
    [
        GateTerms(),
        GateTerms(CONTRACT, allow_new_contract=True),
        GateTerms(Contract("detect", ("dent",), (64, 64), 32)),
        GateTerms(CONTRACT, plug_ins=(PlugIn("mine", "a:B", "1.0"),)),
        GateTerms(CONTRACT, plug_ins=(PlugIn("mine", "a:B", "1.1"),)),
    ],
)
def test_what_they_judge_by_is_in_the_key(terms: GateTerms) -> None:
    """With other terms, "passed" is another question."""
    assert gates.key(terms) != gates.key(GateTerms(CONTRACT))
    assert gates.key(terms) == gates.key(terms)


def test_what_they_do_not_judge_by_is_not_in_the_key() -> None:
    """An active version with another input size changes no answer."""
    other_size = Contract("detect", ("scratch",), (640, 640), 32)
    assert gates.key(GateTerms(other_size)) == gates.key(GateTerms(CONTRACT))


def test_another_row_is_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was passed before there was this gate has yet to pass it."""
    before = gates.key(GateTerms())
    monkeypatch.setattr(gates, "GATES", (*gates.GATES, passing("new")))
    assert gates.key(GateTerms()) != before


@pytest.mark.parametrize(
    ("value", "why"),
    [("no_such_module:GATE", "can't be loaded"), ("json:loads", "is no edgeagent.gates.port.Gate")],
)
def test_a_gate_that_can_not_be_loaded_lets_nothing_through(value: str, why: str) -> None:
    """It was installed to be passed."""
    (gate,) = plug_ins.load([PlugIn("mine", value, "1.0")])
    _, _, (failure,) = ran(gate)
    assert failure.startswith("gate mine: ")
    assert why in failure


def test_a_gate_that_ends_its_process_when_it_is_imported_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Such as a script without a guard around its main part."""
    (tmp_path / "a_script_as_gate.py").write_text("raise SystemExit(2)")
    monkeypatch.syspath_prepend(tmp_path)
    (gate,) = plug_ins.load([PlugIn("mine", "a_script_as_gate:GATE", "1.0")])
    _, _, (failure,) = ran(gate)
    assert failure == "gate mine: a_script_as_gate:GATE can't be loaded: SystemExit(2)"


def test_what_can_not_be_read_here_is_told_by_an_alternate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lean install has no torch: a checkpoint is served from another file, or names what to install."""
    load_object = registry.load_object

    def without_torch(reference: str) -> Any:
        if "torch" in reference:
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return load_object(reference)

    monkeypatch.setattr("edgeagent.runtimes.inspect.load_object", without_torch)
    checkpoint = tmp_path / "w.pt"
    checkpoint.write_bytes(b"weights")
    alone = replace(VERSION, format="pt", weights=checkpoint)
    with pytest.raises(MissingExtraError, match="pip install torch"):
        replace(context(), version=alone).metadata  # noqa: B018  (a property that reads)
    onnx = detection_onnx(tmp_path / "w.onnx")
    metadata = replace(context(), version=replace(alone, alternates={"onnx": onnx})).metadata
    assert (metadata.format, metadata.contract.names) == ("pt", NAMES)
