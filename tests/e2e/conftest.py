# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fixtures of the end-to-end tests: a real node each, seen to be gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.line import Factory


@pytest.fixture
def factory(tmp_path: Path) -> Iterator[Factory]:
    """A node on folders, not started; its log is shown when the test fails."""
    with Factory(tmp_path / "factory") as made:
        yield made
        if made.node.log.exists():
            print(made.node.log.read_text()[-20_000:])


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """A node that serves v1, shared by the tests of a module; each leaves it serving v1."""
    with Factory(tmp_path_factory.mktemp("line"), gate_seconds=6, candidate_memory_mb=400) as made:
        made.publish("v1")
        made.promote("v1")
        made.start("v1")
        made.wait_state("STABLE")
        yield made
        print(made.node.log.read_text()[-20_000:])
