# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two models on one node: they are updated one after the other, and what was preloaded comes at once."""

from __future__ import annotations

import json

import pytest

from edgeagent.testing import wait_for
from tests.support.http_store import http_store
from tests.support.line import CONVEYOR, NodeHarness, assert_seamless

SLOW = {"padding": "x" * 3_000_000}
"""Makes a file large enough to be slow."""


@pytest.mark.soak
def test_updates_take_turns_and_what_was_preloaded_needs_no_work(harness: NodeHarness) -> None:
    """v2 of one model is preloaded while v1 serves on. Then both are promoted: it waits for the other's slow store,
    says so, and needs neither the store nor a worker when its turn comes. No frame notices."""
    harness.add_pipeline("line-2", "labels", {"url": CONVEYOR + "&seed=2", "live": False})
    for model in ("yolo", "labels"):
        harness.publish("v1", model=model)
        harness.promote("v1", model)
    harness.publish("v2")
    harness.publish("v2", model="labels", metadata=SLOW)
    with http_store(harness.store) as store:
        harness.config["model_store"]["url"] = store.url
        node = harness.start("v1")
        node.wait_active("v1", "labels")
        harness.promote(json.dumps({"version": "v2", "by": "Kim", "preload": True}))
        wait_for(lambda: (node.model()["preload"] or {}).get("ready"), "v2 ready")
        assert (node.active(), node.model()["aspired"], node.workers("prepare")) == ("v1", "v1", [])
        assert harness.wait_history("ready", "v2")["who"] == "Kim"

        store.only, store.chunk_pause_s = "labels/v2/labels", 1.0
        harness.promote("v2", "labels")
        wait_for(lambda: (node.model("labels")["candidate"] or {}).get("fetch"), "v2 of labels being fetched")
        asked = len(store.asked)
        harness.promote("v2")
        waits = wait_for(lambda: (node.model()["candidate"] or {}).get("waits"), "v2 waiting")
        assert waits == "for its turn: labels is being updated; place 1 of 1"
        assert (node.model()["state"], node.model()["preload"]) == ("ASPIRED", None)
        harness.wait_metric("edgeagent_updates_waiting", 1)
        store.chunk_pause_s = 0.0
        node.wait_active("v2", "labels")
        node.wait_active("v2")
        fetched = [path for path, _ in store.asked[asked:] if "/yolo/" in path]
        assert set(fetched) <= {"/yolo/_withdrawn/v2.json"}  # whether it was withdrawn meanwhile
    swaps = {r["model"]: r for r in node.history() if (r["result"], r["to_version"]) == ("swapped", "v2")}
    assert list(swaps) == ["labels", "yolo"]
    assert swaps["yolo"]["stages"]["aspired"] > 0
    assert swaps["yolo"]["gates"]
    for line in ("line-1", "line-2"):
        assert_seamless(harness.wait_more(5, line))
