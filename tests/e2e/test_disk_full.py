# SPDX-License-Identifier: AGPL-3.0-or-later
"""A full disk under the state folder: what serves goes on, an update waits for room."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgeagent.store.cache import RESERVE_BYTES
from edgeagent.testing import wait_for
from tests.support.line import NodeHarness, assert_seamless

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
    # The state of the intent itself can't be written either: said, and no reason to stop.
    wait_for(lambda: node.status()["disk_error"], "said that nothing is written")
    found = harness.wait_more(30)
    assert {r["version"] for r in found} == {"v1"}
    filler.unlink()
    node.wait_active("v2")
    wait_for(lambda: node.status()["disk_error"] is None, "written again")
    assert_seamless(harness.wait_more(5))
