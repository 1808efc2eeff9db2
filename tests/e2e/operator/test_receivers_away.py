# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real node whose broker and webhook receiver are killed and come back: nothing is missing, repeats can be told."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing import PIPELINE, wait_for
from tests.support.line import NodeHarness
from tests.support.mosquitto import Listener, Mosquitto, listening
from tests.support.receiver import SECRET, ReceiverProcess


def _told_apart(records: list[dict[str, Any]], last: int) -> None:
    """Each frame up to the last is there, in order but for repeats, and its id is its own."""
    by_id = {record["id"]: record["seq"] for record in records}
    assert sorted(seq for seq in by_id.values() if seq <= last) == list(range(last + 1))
    first_seen = list(dict.fromkeys(record["id"] for record in records))
    assert [by_id[i] for i in first_seen] == sorted(by_id.values())


def _retained(listener: Listener, what: str) -> list[dict[str, Any]]:
    """What is retained of alarms or of models, by what the listener has heard."""
    last = {topic: payload for topic, payload, _ in list(listener.messages) if f"/{what}s/" in topic}
    return [json.loads(payload)[what] for payload in last.values() if payload]


@pytest.mark.parametrize("away_s", [0, pytest.param(60, marks=pytest.mark.soak)])
def test_receivers_that_go_away_and_come_back_miss_nothing(
    harness: NodeHarness, tmp_path: Path, away_s: float
) -> None:
    """Meanwhile the line goes on, its file has each frame, and the status says what waits and why."""
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text(SECRET)
    with (
        Mosquitto(tmp_path / "broker") as broker,
        ReceiverProcess(tmp_path / "receiver") as receiver,
        listening(broker.port) as listener,
    ):
        harness.config["pipelines"][0]["sinks"] += [
            {"type": "mqtt", "url": broker.url},
            {"type": "webhook", "url": receiver.url, "secret_file": str(secret), "every_seconds": 0.2},
        ]
        harness.config["pipelines"][0]["sinks"] += [
            {"type": "csv", "path": str(tmp_path / "rows.csv")},
            {"type": "snapshot", "path": str(tmp_path / "pictures"), "min_free_bytes": 0},
        ]
        harness.config["notify"] = [{"type": "mqtt", "url": broker.url}]
        harness.config["pipelines"][0]["alarms"] = [{"name": "anything", "when": "present"}]
        harness.publish("v1")
        harness.promote("v1")
        harness.start("v1")

        def published() -> list[dict[str, Any]]:
            return [json.loads(payload) for payload in listener.payloads(f"/{PIPELINE}/detections")]

        def sinks() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = harness.status()["pipelines"][PIPELINE]["sinks"]["each"]
            return found[1:3]

        wait_for(lambda: published() and receiver.records(), "records at both")
        broker.kill()
        receiver.kill()
        since = time.monotonic()
        wait_for(lambda: all(s["error"] and s["queued"] > 20 for s in sinks()), "both are missed")
        if away_s:
            wait_for(lambda: time.monotonic() - since > away_s, "a long outage", timeout_s=away_s + 60)
        last = harness.wait_more(30)[-1]["seq"]
        # The broker has forgotten the listener: what came before it is there again, it would miss.
        os.kill(harness.pid, signal.SIGSTOP)
        try:
            broker.start()
            listener.wait_until_it_hears("probe")
        finally:
            os.kill(harness.pid, signal.SIGCONT)
        receiver.start()
        for name, came in (("broker", published), ("receiver", receiver.records)):
            wait_for(lambda: came() and came()[-1]["seq"] > last, f"the {name} has all")  # noqa: B023
            _told_apart(came(), last)
        wait_for(lambda: all(not s["error"] and s["queued"] < 60 for s in sinks()), "both keep up again")
        assert [s["lost"] for s in sinks()] == [0, 0]
        assert [r["seq"] for r in harness.records()[: last + 1]] == list(range(last + 1))

        def is_told() -> bool:
            events = [json.loads(payload) for payload in listener.payloads("/events")]
            return (
                ("anything", "raised") in [(a["rule"], a["state"]) for a in _retained(listener, "alarm")]
                and [(m["version"], m["state"]) for m in _retained(listener, "model")] == [("v1", "STABLE")]
                and {e["kind"]: e[e["kind"]].get("result") for e in events}
                == {"alarm": None, "update": "swapped"}
            )

        wait_for(is_told, "the alarm, the model and what happened, from a connection of their own")

        def pictures() -> set[str]:
            return {path.parent.name for path in (tmp_path / "pictures").rglob("*.jpg")}

        wait_for(lambda: pictures() == {"images", "drawn"}, "pictures, from a worker of the lowest priority")
        harness.stop()
        (rows,) = tmp_path.glob("rows-*.csv")
        assert len(rows.read_text().splitlines()) == 1 + len(harness.records())
        wait_for(lambda: listener.payloads(f"/{PIPELINE}/status")[-1:] == [b"offline"], "that it is off")
