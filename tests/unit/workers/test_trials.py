# SPDX-License-Identifier: AGPL-3.0-or-later
"""Trials with a real network in ONNX Runtime: timed, and compared with the source on pictures of the test's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest

from edgeagent.core.model import Contract
from edgeagent.core.tuning import Tolerance
from edgeagent.core.verified import VerifiedVersion
from edgeagent.runtimes.variants import Variant
from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.tasks.prepare import TrialSetup, TrialStarted
from edgeagent.workers.trials import Trials
from tests.support.weights import NAMES, SIZE, STRIDE, detection_onnx

SOURCE = Variant("onnxruntime", "cpu", "fp32", "onnx")
OTHER = Variant("openvino", "cpu", "fp32", "onnx")


class PaperChannel:
    """Keeps what is said; nothing is to be asked, for there are golden pictures enough."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def send(self, message: Any) -> None:
        """To the node."""
        self.said.append(message)


@pytest.fixture
def setup(tmp_path: Path) -> TrialSetup:
    """A network whose boxes move with the brightness, and sixty pictures, each brighter than the one before."""
    detection_onnx(tmp_path / "w.onnx", brightness_moves=20.0)
    golden = []
    for i in range(60):
        golden.append(tmp_path / f"{i:02}.png")
        cv2.imwrite(str(golden[-1]), np.full((SIZE, SIZE, 3), 4 * i, np.uint8))
    contract = Contract("detect", tuple(NAMES), (SIZE, SIZE), STRIDE)
    version = VerifiedVersion(
        "yolo", "v1", "sha256:1", contract, "onnx", tmp_path / "w.onnx", golden=tuple(golden)
    )
    return TrialSetup(version, SOURCE, 1, 1, None, 0.25, Tolerance())


def test_a_form_is_proved_on_many_pictures(setup: TrialSetup, tmp_path: Path) -> None:
    """As many as were asked for, with a sign of life at each."""
    pytest.importorskip("openvino")
    channel = PaperChannel()
    proven = Trials(cast("WorkerChannel", channel), setup, tmp_path).prove(OTHER, 60)
    assert (proven.parity.frames, proven.parity.missing, proven.parity.extra) == (60, 0, 0)
    assert proven.parity.objects >= 60
    assert proven.parity.differing_at_most == pytest.approx(0.0487, abs=1e-3)
    assert proven.compiled is not None
    assert proven.compiled.exists()
    assert channel.said.count(TrialStarted(OTHER.name)) >= 60


def test_a_turn_is_timed_and_compared_with_nothing(setup: TrialSetup, tmp_path: Path) -> None:
    """The reference need not have had one."""
    channel = cast("WorkerChannel", PaperChannel())
    result, _ = Trials(channel, setup, tmp_path).run(SOURCE, compares=False)
    assert result.ms > 0
    assert result.parity is None
    assert 0.0 <= result.waited <= 1.0
    assert not (tmp_path / "reference.json").exists()
