# SPDX-License-Identifier: AGPL-3.0-or-later
"""A full disk under the state folder: what serves goes on, an update waits for room, a roll-back acts and says so."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from edgeagent.store.cache import RESERVE_BYTES
from edgeagent.testing import wait_for
from tests.support.line import NodeHarness, assert_seamless
from tests.support.read_only import read_only_prefix

SMALL_DISK = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


def fill(path: Path) -> None:
    """Take all the room that the disk has. Raises OSError then."""
    with path.open("wb", buffering=0) as stream:
        while stream.write(bytes(1 << 16)):
            pass


def test_active_serves_on_a_full_disk(harness: NodeHarness) -> None:
    """v1 serves while nothing can be written; v2 waits, with the reason, and comes when there is room."""
    state = harness.folder / "state"
    state.mkdir(parents=True)
    mount = f"mount -t tmpfs -o size={RESERVE_BYTES + (8 << 20)} disk {state}"
    if subprocess.run([*SMALL_DISK, mount], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk of its own")
    harness.prefix = [*SMALL_DISK, f'{mount} && exec "$@"', "sh"]
    harness.publish("v1")
    harness.publish("v2")
    harness.promote("v1")
    node = harness.start("v1")
    harness.wait_state("STABLE")
    filler = Path(f"/proc/{node.pid}/root{state}/filler")
    with pytest.raises(OSError, match="No space"):
        fill(filler)
    harness.promote("v2")
    wait_for(lambda: (node.model()["candidate"] or {}).get("error"), "v2 waits")
    assert "disk full" in node.model()["last_error"]
    found = harness.wait_more(30)
    assert {r["version"] for r in found} == {"v1"}
    filler.unlink()
    node.wait_active("v2")
    wait_for(lambda: node.status()["disk_error"] is None, "written again")
    harness.wait_state("STABLE")

    with pytest.raises(OSError, match="No space"):
        fill(filler)
    code, _ = node.post("/rollback", {"by": "anna"})
    # The older copy of the state makes room for the newer one; whoever else writes may be quicker.
    assert code == 507 or _held(node) == "v1"
    node.wait_active("v1")
    filler.unlink()
    wait_for(lambda: node.status()["disk_error"] is None, "all is written")
    assert _held(node) == "v1"  # without anybody asking again
    assert_seamless(harness.wait_more(5))


def test_a_read_only_disk(harness: NodeHarness) -> None:
    """It starts, swaps and rolls back to what is in the cache; what needs writing says so, as does the roll-back."""
    state = harness.folder / "state"
    harness.config["model_store"]["timeout_seconds"] = 1
    for version in ("v1", "v2", "v3"):
        harness.publish(version)
    harness.promote("v1")
    harness.start("v1")
    harness.wait_state("STABLE")
    harness.swap_to("v2")
    harness.stop()
    before = json.loads((state / "models" / "yolo.json").read_bytes())

    harness.prefix = read_only_prefix(state)
    node = harness.start("v2")
    wait_for(lambda: "Read-only" in (node.status()["disk_error"] or ""), "what the disk refuses said")
    first = harness.wait_more(3)
    code, answer = node.post("/rollback", {"by": "anna"})
    assert code == 507
    assert "it acts, but it isn't on disk" in answer["error"]["why"]
    harness.wait_served("v1")
    harness.promote("v2")
    harness.wait_served("v2")
    harness.promote("v3")
    wait_for(lambda: "Read-only" in (node.model()["last_error"] or ""), "v3 can't be fetched")
    found = harness.wait_more(3)
    assert [r["seq"] for r in found] == list(range(len(found)))
    assert len(dict.fromkeys(r["epoch"] for r in found)) == 3
    assert min(r["epoch"] for r in first) > before["epoch"]
    assert json.loads((state / "models" / "yolo.json").read_bytes()) == before
    assert node.stop() == 0


def _held(node: NodeHarness) -> str:
    """The version that the state on the node's own small disk says is held."""
    path = Path(f"/proc/{node.pid}/root{node.config['node']['state_dir']}/models/yolo.json")
    return str((json.loads(path.read_bytes())["override"] or {}).get("version"))
