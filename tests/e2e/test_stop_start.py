# SPDX-License-Identifier: AGPL-3.0-or-later
"""A machine without room for two versions: what serves is stopped first, and the gap is said, done and measured."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing import wait_for
from tests.support.line import NodeHarness, assert_seamless

SMALL_MACHINE = """
import edgeagent.util.memory as memory

memory.free_bytes = lambda *_: 50 << 20
memory.own_bytes = lambda process="self", *_: 0 if process == "self" else 100 << 20
"""


@pytest.fixture
def small_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of a node see 50 MB free, and 100 MB in each engine worker."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SMALL_MACHINE)
    path = os.pathsep.join(filter(None, (str(tmp_path / "site"), os.getenv("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)


def memory_gate(record: dict[str, Any]) -> dict[str, Any]:
    """What it found, by the audit log."""
    return next(gate for gate in record["gates"] if gate["name"] == "memory")


@pytest.mark.soak
@pytest.mark.usefixtures("small_machine")
def test_what_serves_makes_room_and_comes_back_if_the_next_fails(tmp_path: Path) -> None:
    """A lossless line waits, and loses no frame; without the operator's leave the version is refused."""
    with NodeHarness(tmp_path / "node") as node:
        for version in ("v1", "v2"):
            node.publish(version)
        node.promote("v1")
        node.start("v1")
        node.wait_more(3)
        node.promote("v2")
        refused = node.wait_history("rejected", "v2")
        assert "update.mode: stop-start would make room" in refused["why"]
        assert memory_gate(refused)["passed"] is False
        node.stop()

        node.config["update"]["mode"] = "stop-start"
        node.start("v1")
        node.wait_more(3)
        node.promote("v2")
        found = node.wait_served("v2")
        swapped = node.wait_history("swapped", "v2")
        assert_seamless(found)
        assert swapped["from_version"] == "v1"
        assert swapped["stages"]["gap"] > 0
        assert memory_gate(swapped)["figures"]["place"] == "instead"
        assert memory_gate(swapped)["figures"]["gap_s"] >= 0
        assert node.model()["standby"] is None
        wait_for(lambda: node.engine_pid("v1") is None, "v1 gone")
        node.wait_state("STABLE")

        # A roll-back comes in the same way: the version before has to be loaded.
        before = sum(r["to_version"] == "v1" for r in node.history("swapped"))
        node.post("/rollback", {"by": "Robin"})
        found = node.wait_served("v1")
        assert_seamless(found)
        assert node.wait_history("swapped", "v1", after=before)["stages"]["gap"] > 0
