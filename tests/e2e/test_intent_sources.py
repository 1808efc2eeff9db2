# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real node that follows ZooKeeper, and one that follows several sources at once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing import wait_for
from tests.support.etcd import EtcdServer
from tests.support.line import NodeHarness, assert_seamless
from tests.support.zookeeper import ZooKeeperServer

CURRENT = "/models/yolo/current"
PRESENCE = "/edgeagent/nodes/node-under-test"


@pytest.mark.soak  # the contract suite has a real server, too
def test_zookeeper(harness: NodeHarness, tmp_path: Path) -> None:
    """Swap, roll back, write the same again; the node's sessions expire in between; the server dies and comes back."""
    for version in ("v1", "v2"):
        harness.publish(version)
    with ZooKeeperServer(tmp_path / "zookeeper", {"maxSessionTimeout": "1000"}) as server:
        server.write("/plant", b"")
        server.write(f"/plant{CURRENT}", b"v1")
        harness.config["config_store"]["url"] = f"{server.url}/plant"
        node = harness.start("v1")
        harness.wait_state("STABLE")
        value, about = wait_for(lambda: _read(server, f"/plant{PRESENCE}"), "presence")
        assert json.loads(value)["node"] == "node-under-test"
        assert about.ephemeralOwner

        def owner() -> int:
            read = _read(server, f"/plant{PRESENCE}")
            return int(read[1].ephemeralOwner) if read else 0

        def has_ended() -> bool:
            server.freeze()
            time.sleep(2.5)  # longer than the sessions that this server keeps
            server.thaw()  # a sign of life that lay ready may still come first
            return owner() != about.ephemeralOwner

        wait_for(has_ended, "the end of the session")
        wait_for(lambda: owner() not in (0, about.ephemeralOwner), "presence in another session")
        server.write(f"/plant{CURRENT}", b"v2")
        node.wait_active("v2")
        harness.wait_more(3)
        assert node.post("/rollback")[0] == 200
        node.wait_active("v1")
        harness.wait_more(3)
        server.write(f"/plant{CURRENT}", b"v2")
        node.wait_active("v2")
        harness.wait_state("STABLE")
        harness.wait_more(3)

        server.kill()
        wait_for(lambda: not node.status()["config_store"]["connected"], "ZooKeeper missed")
        harness.wait_more(20)
        server.start()
        server.write(f"/plant{CURRENT}", b"v1")
        node.wait_active("v1")
        wait_for(lambda: node.status()["config_store"]["connected"], "ZooKeeper back")
        assert_seamless(harness.wait_more(5))


def _read(server: ZooKeeperServer, path: str) -> tuple[bytes, Any] | None:
    client = server.operator()
    return client.retry(client.get, path) if client.retry(client.exists, path) else None


def test_two_sources(harness: NodeHarness, tmp_path: Path) -> None:
    """An etcd first, and a folder: the folder decides as long as etcd has no key. Away is not "no key"."""
    for version in ("v1", "v2"):
        harness.publish(version)
    folder = harness.config["config_store"]["url"]
    harness.config["intent_sources"] = [{"url": folder}]
    harness.promote("v1")
    with EtcdServer(tmp_path / "etcd") as etcd:
        harness.config["config_store"]["url"] = etcd.url
        node = harness.start("v1")
        assert _sources(node) == [("etcd", True, []), ("folder", True, ["yolo"])]
        etcd.etcdctl("put", CURRENT, "v2")
        harness.wait_served("v2")
        assert _sources(node) == [("etcd", True, ["yolo"]), ("folder", True, [])]
        harness.wait_state("STABLE")
        harness.promote("v1")  # comes second: nothing changes
        harness.wait_more(10)
        assert node.active() == "v2"
        etcd.kill()
        wait_for(lambda: not node.status()["config_store"]["connected"], "etcd missed")
        harness.wait_more(10)
        assert node.active() == "v2"
        etcd.start()
        etcd.etcdctl("del", CURRENT)
        node.wait_active("v1")
        assert _sources(node) == [("etcd", True, []), ("folder", True, ["yolo"])]
        assert_seamless(harness.wait_more(5))


def _sources(node: Any) -> list[tuple[str, bool, list[str]]]:
    return [(s["kind"], s["connected"], s["decides"]) for s in node.status()["intent_sources"]]
