# SPDX-License-Identifier: AGPL-3.0-or-later
"""What it takes to add a gate: one module, and one entry point that names it; nothing else is touched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.testing import wait_for
from tests.support.line import NodeHarness

MODULE = '''
"""A gate that lets nothing through at night, and takes its time while a file says so."""

import time
from pathlib import Path

from edgeagent.gates.port import Gate, GateContext, GateResult


def run(context: GateContext) -> GateResult:
    while Path("HOLD").exists():
        time.sleep(0.01)
    reasons = ["it is night"] if context.version.version.startswith("night") else []
    return GateResult.judged("daylight", reasons, {"frames": len(context.frames)}, {"hour": 22})


DAYLIGHT = Gate("daylight", run)
'''


@pytest.fixture
def hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package is installed. The gate waits while this file is there."""
    package = tmp_path / "site"
    info = package / "daylight_gate-1.0.dist-info"
    info.mkdir(parents=True)
    hold = tmp_path / "hold"
    (package / "daylight_gate.py").write_text(MODULE.replace("HOLD", str(hold)))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: daylight-gate\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edgeagent.gates]\ndaylight = daylight_gate:DAYLIGHT\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(package), os.getenv("PYTHONPATH")))))
    return hold


@pytest.fixture
def node(hold: Path, tmp_path: Path) -> Iterator[NodeHarness]:
    """A node that has it; not started."""
    with NodeHarness(tmp_path / "node") as made:
        yield made


def test_a_gate_of_another_package_judges_and_is_seen(node: NodeHarness, hold: Path) -> None:
    """While a version comes, of the one that serves, and in the history; what it refuses doesn't serve."""
    for version in ("day-1", "night-1"):
        node.publish(version)
    hold.touch()
    node.promote("day-1")
    node.start()

    def waits_at_the_gate() -> dict[str, object] | None:
        candidate = node.model()["candidate"]
        return candidate if candidate and candidate.get("gate") == "daylight" else None

    candidate = wait_for(waits_at_the_gate, "the candidate at the gate")
    assert [gate["name"] for gate in candidate["gates"]] == ["contract", "smoke", "memory"]  # type: ignore[attr-defined]
    hold.unlink()
    node.wait_active("day-1")
    gates = node.model()["active"]["gates"]
    assert [gate["name"] for gate in gates] == ["contract", "smoke", "memory", "daylight"]
    assert (gates[-1]["passed"], gates[-1]["limits"], gates[-1]["reasons"]) == (True, {"hour": 22}, [])
    assert node.wait_history("swapped", "day-1")["gates"] == gates

    node.promote("night-1")
    refused = node.wait_history("rejected", "night-1")
    assert refused["why"] == "gate daylight: it is night"
    assert (refused["gates"][-1]["name"], refused["gates"][-1]["passed"]) == ("daylight", False)
    assert node.model()["active"]["version"] == "day-1"
