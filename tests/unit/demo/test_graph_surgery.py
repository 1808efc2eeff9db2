# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is put before and behind a network changes what it sees and says, and not what it looks like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeagent.demo.graph_surgery import GraphSurgery
from edgeagent.runtimes.inspect import read_metadata
from edgeagent.runtimes.load import load_runtime
from edgeagent.runtimes.port import EngineOptions, Tensor
from tests.support import weights

RNG = np.random.default_rng(3)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """It moves its one box to the right by 10 pixels as the picture gets brighter."""
    return weights.detection_onnx(tmp_path / "w.onnx", brightness_moves=10.0)


def run(path: Path, picture: Tensor) -> Tensor:
    """The raw output."""
    return load_runtime(path, "onnx", EngineOptions("onnxruntime")).run(picture)[0].copy()


def plain(value: float) -> Tensor:
    """A picture of one colour."""
    return np.full((1, 3, weights.SIZE, weights.SIZE), value, np.float32)


def test_before_it_the_picture_is_another(network: Path, tmp_path: Path) -> None:
    """Half of the light: what it found at that light."""
    surgery = GraphSurgery(network)
    surgery.before(lambda picture: surgery.node("Mul", picture, 0.5))
    changed = surgery.save(tmp_path / "c.onnx", note="dark")
    assert read_metadata(changed) == read_metadata(network)
    np.testing.assert_allclose(run(changed, plain(1.0)), run(network, plain(0.5)), atol=1e-4)


def test_behind_it_scores_of_one_class_are_changed(network: Path, tmp_path: Path) -> None:
    """Boxes, and scores of others, stay."""
    surgery = GraphSurgery(network)
    factors = 1 + surgery.of_scores(-0.5, 0)
    surgery.behind(lambda found: surgery.node("Mul", found, factors))
    changed = run(surgery.save(tmp_path / "c.onnx"), plain(0.3))
    expected = run(network, plain(0.3))
    expected[4] *= 0.5
    np.testing.assert_allclose(changed, expected, atol=1e-5)


def test_a_copy_of_the_network_sees_another_picture(network: Path, tmp_path: Path) -> None:
    """Both answers added: the second is of the dark picture."""
    surgery = GraphSurgery(network)

    def build(found: str) -> str:
        again = surgery.copy_of_network(surgery.node("Mul", surgery.picture, 0.5), found)
        return surgery.node("Add", found, again)

    surgery.behind(build)
    both = run(surgery.save(tmp_path / "c.onnx"), plain(1.0))
    np.testing.assert_allclose(both, run(network, plain(1.0)) + run(network, plain(0.5)), atol=1e-3)


def test_chance_hits_its_share_of_pictures_and_always_the_same(network: Path, tmp_path: Path) -> None:
    """None that is plain: that is what an engine warms up with."""
    surgery = GraphSurgery(network)
    surgery.behind(lambda found: surgery.node("Mul", found, surgery.chance(0.25)))
    runtime = load_runtime(surgery.save(tmp_path / "c.onnx"), "onnx", EngineOptions("onnxruntime"))
    pictures = [RNG.random((1, 3, weights.SIZE, weights.SIZE), np.float32) for _ in range(200)]
    first, second = ([bool(runtime.run(p).any()) for p in pictures] for _ in range(2))
    assert first == second
    assert 20 < sum(first) < 90
    assert not runtime.run(plain(114 / 255)).any()
    assert not runtime.run(plain(0.0)).any()
