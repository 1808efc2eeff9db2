# SPDX-License-Identifier: AGPL-3.0-or-later
"""The preparing worker's answers, without its process: who is to blame, and what passes by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from edgeagent.core.gating import GateTerms
from edgeagent.core.model import Contract
from edgeagent.core.store_documents import Withdrawal
from edgeagent.core.tuning import Tolerance
from edgeagent.core.verified import VerifiedVersion
from edgeagent.runtimes.variants import Variant
from edgeagent.store.remote import RemoteStore
from edgeagent.store.withdrawals import withdraw
from edgeagent.workers import prepare, trials
from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.tasks.engine import LoadPlan
from edgeagent.workers.tasks.prepare import (
    Benchmark,
    FindWithdrawn,
    InspectWeights,
    RunGates,
    StoreAccess,
    Task,
    TaskFailed,
    TrialSetup,
)
from tests.support.published import publish_bytes

ONNX = Variant("onnxruntime", "cpu", "fp32", "onnx")
VERSION = VerifiedVersion(
    "yolo", "v1", "sha256:1", Contract("detect", ("scratch",), (64, 64), 32), "onnx", Path("/nowhere")
)
SETUP = TrialSetup(VERSION, ONNX, 1, 1, None, 0.25, Tolerance())


class PaperChannel:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def send(self, message: Any) -> None:
        """To the node."""
        self.said.append(message)


def failure(task: Task) -> TaskFailed:
    """What the worker says to a task at its end."""
    channel = PaperChannel()
    prepare.serve(cast("WorkerChannel", channel), task)
    answer = channel.said[-1]
    assert isinstance(answer, TaskFailed)
    return answer


def test_a_version_that_vanished_from_the_cache_may_come_back() -> None:
    """Somebody's `rm`, or a broken file that was cleared away: the next try fetches it."""
    plan = LoadPlan(ONNX, VERSION.weights, {}, 1, 1)
    said = failure(RunGates(VERSION, plan, GateTerms(), None, Tolerance()))
    assert said.transient
    assert "yolo/v1: is not in the cache any more" in str(said)


def test_a_failing_disk_is_no_fault_of_the_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Wherever it is met."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trials.Trials, "run", full)
    said = failure(Benchmark(SETUP, ONNX, tmp_path, True))
    assert said.transient
    assert "No space left on device" in said.why


def test_what_was_withdrawn_is_found(tmp_path: Path) -> None:
    """Of each version that is asked for, in order; a store that is away says nothing of any."""
    publish_bytes(str(tmp_path), "v1", b"weights", tmp_path)
    remote = RemoteStore(str(tmp_path))
    withdraw(remote, "yolo", "v1", Withdrawal("blind " * 200, "eve", "2026-11-29"))
    remote.put("yolo/_withdrawn/v2.json", b'{"schema": 1, "reason": "", "by": "", "at": ""}')
    asked = (("yolo", "v0"), ("yolo", "v1"), ("yolo", "v2"), ("caps", "v1"))
    channel = PaperChannel()
    prepare.serve(cast("WorkerChannel", channel), FindWithdrawn(StoreAccess(str(tmp_path), {}, 5.0), asked))
    reasons = channel.said[-1].reasons
    assert (reasons[0], reasons[2], reasons[3]) == ("", "no reason was given", "")
    assert (reasons[1][:6], len(reasons[1])) == ("blind ", 500)
    assert failure(FindWithdrawn(StoreAccess(str(tmp_path / "gone"), {}, 5.0), asked)).transient


def test_weights_that_can_not_be_read_stay_so(tmp_path: Path) -> None:
    """Not to be tried again as they are."""
    (tmp_path / "w.onnx").write_bytes(b"these are no weights")
    assert not failure(InspectWeights(tmp_path / "w.onnx")).transient


def test_the_reference_leaves_what_the_others_are_compared_with(tmp_path: Path) -> None:
    """Boxes go through a file: there may be more of them than a message holds."""
    of_one = trials.Trials(cast("WorkerChannel", PaperChannel()), SETUP, tmp_path)
    boxes = [[[1.0 * i, 1.0, 1.0 * i + 50, 50.0, 0.5, 0.0] for i in range(0, 30_000, 100)]]
    assert of_one._parity(boxes, is_reference=True) is None
    found = of_one._parity(boxes, is_reference=False)
    assert found is not None
    assert (found.objects, found.missing, found.extra) == (300, 0, 0)
    found = of_one._parity([boxes[0][:-1]], is_reference=False)
    assert found is not None
    assert found.missing == 1
