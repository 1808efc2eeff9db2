# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fixtures of the end-to-end tests: a real node each, whose log must hold no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.line import NodeHarness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[NodeHarness]:
    """A node on folders, not started; its log is shown when the test fails."""
    with NodeHarness(tmp_path / "node") as made:
        yield made
        made.look_at_log()


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeHarness]:
    """A node that serves v1, shared by the tests of a module; each leaves it serving v1."""
    with NodeHarness(tmp_path_factory.mktemp("line"), gate_seconds=30, candidate_memory_mb=400) as made:
        made.publish("v1")
        made.promote("v1")
        made.start("v1")
        made.wait_state("STABLE")
        yield made
        made.look_at_log()
