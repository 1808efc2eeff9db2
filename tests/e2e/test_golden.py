# SPDX-License-Identifier: AGPL-3.0-or-later
"""Labelled pictures keep a version out that loads well and sees badly, while the line goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.core.model import Contract
from edgeagent.runtimes.port import ModelMetadata
from edgeagent.store.publish import publish
from edgeagent.testing import MODEL
from tests.support.golden import golden_set
from tests.support.line import NodeHarness, assert_seamless
from tests.support.weights import NAMES, ONE_BOX, SIZE, STRIDE, detection_onnx

METADATA = ModelMetadata(Contract("detect", NAMES, (SIZE, SIZE), STRIDE), "onnx")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeHarness]:
    """A node with pictures of its site; not started."""
    site = golden_set(tmp_path / "site", 20, 0)
    with NodeHarness(tmp_path / "node", golden={MODEL: str(site)}) as made:
        yield made


def test_what_sees_badly_is_refused_with_its_figures(node: NodeHarness, tmp_path: Path) -> None:
    """By the set of this site, by the one that came with the version, and where a directive asks for too much."""
    finds = {"boxes": ONE_BOX}
    node.publish("good", **finds)
    node.publish("blind", boxes=())
    node.publish("better", **finds, head="end2end")
    node.promote("good")
    node.start("good")
    active = node.model()["active"]["gates"]
    assert next(gate for gate in active if gate["name"] == "golden")["figures"]["site.recall.scratch"] == 1

    node.promote("blind")
    refused = node.wait_history("rejected", "blind")
    assert "gate golden: on this site's pictures: class 'scratch': 0 of 20 objects found" in refused["why"]
    assert refused["gates"][-1]["figures"]["site.lost"] == 20

    weights = detection_onnx(tmp_path / "own.onnx", **finds, metadata={"release": "own"})
    own = golden_set(tmp_path / "own", 20, 1)
    publish(weights, MODEL, "own", str(node.store), metadata=METADATA, golden=own)
    node.promote("own")
    refused = node.wait_history("rejected", "own")
    assert refused["why"].startswith("gate golden: class 'dent': 0 of 20 objects found")

    node.swap_to("better")
    assert_seamless(node.records())
