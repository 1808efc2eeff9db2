# SPDX-License-Identifier: AGPL-3.0-or-later
"""A model store over HTTP that is slow, breaks off, or is away: resumed, with progress to be seen."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.testing import wait_for
from tests.support.http_store import http_store
from tests.support.line import NodeHarness, assert_seamless

CUT = 700_000
SIZE = 2_000_000


@pytest.mark.soak
def test_slow_store_shows_progress(harness: NodeHarness) -> None:
    """Status says which file is fetched, how many bytes there are and will be; the line serves meanwhile."""
    harness.publish("v1")
    size = harness.publish("v2", metadata={"padding": "x" * SIZE}).weights.size
    harness.promote("v1")
    with http_store(harness.store) as store:
        harness.config["model_store"]["url"] = store.url
        node = harness.start("v1")
        store.only, store.chunk_pause_s = "yolo-v2", 0.05
        harness.promote("v2")
        seen: list[int] = []

        def watch() -> bool:
            candidate = node.model()["candidate"]
            fetch = candidate and candidate.get("fetch")
            if fetch:
                assert (candidate["version"], candidate["stage"], fetch["of"]) == ("v2", "FETCHING", size)
                assert fetch["file"].startswith("yolo-v2")
                seen.append(fetch["bytes"])
            return node.active() == "v2"

        wait_for(watch, "v2 serving")
    assert seen == sorted(seen)
    assert len({n for n in seen if 0 < n < size}) >= 2
    swap = harness.wait_history("swapped", "v2")
    assert swap["stages"]["fetching"] > SIZE / 65536 * 0.05
    assert_seamless(harness.wait_more(3))


def test_broken_off_download_is_resumed(harness: NodeHarness) -> None:
    """Cut off in the middle twice, then answered with an error for a while: each byte is fetched once."""
    harness.publish("v1")
    harness.publish("v2", metadata={"padding": "x" * SIZE})
    harness.promote("v1")
    with http_store(harness.store) as store:
        harness.config["model_store"]["url"] = store.url
        node = harness.start("v1")
        harness.wait_more(3)
        store.only, store.cut_after, store.cuts = "yolo-v2", CUT, 2
        harness.promote("v2")
        wait_for(lambda: store.cuts == 0, "cut twice")
        node.wait_active("v2")
        asked = [asked for path, asked in store.asked if "yolo-v2" in path]
    assert asked[:3] == ["", f"bytes={CUT}-", f"bytes={2 * CUT}-"]
    assert asked[3:] in ([], [""])  # its headers may be looked at once more, to know what was fetched
    found = harness.wait_more(3)
    assert_seamless(found)
    assert not harness.history("rejected")


def test_store_away_and_back(harness: NodeHarness) -> None:
    """While the store is away the candidate waits, with the reason in status; when it is back, it is fetched."""
    harness.publish("v1")
    harness.publish("v2")
    harness.promote("v1")
    with http_store(harness.store) as store:
        harness.config["model_store"]["url"] = store.url
        node = harness.start("v1")
        store.only, store.status = "/v2/", 503
        harness.promote("v2")

        def waiting() -> dict[str, Any] | None:
            model = node.model()
            candidate = model["candidate"]
            return model if candidate and candidate["retry_in_seconds"] is not None else None

        model = wait_for(waiting, "the candidate waits")
        assert "503" in model["last_error"]
        assert "503" in model["candidate"]["error"]
        wait_for(lambda: (node.model()["candidate"] or {}).get("attempt", 0) >= 2, "tried again")
        assert (node.active(), model["rejected"]) == ("v1", [])
        store.status = None
        node.wait_active("v2")
    assert_seamless(harness.wait_more(3))
