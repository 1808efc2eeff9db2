# SPDX-License-Identifier: AGPL-3.0-or-later
"""kill -9 of a worker, and of the node at each stage of an update: frames flow again, nothing stays behind."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from edgeagent.testing import children, wait_for
from tests.support import films
from tests.support.etcd import free_port
from tests.support.http_store import http_store
from tests.support.line import NodeHarness, assert_seamless
from tests.support.weights import never_ending_onnx


def named_shared_memory(pid: int) -> list[str]:
    """Files in /dev/shm that this process maps: they would outlive it."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return []  # it has just ended
    return [line for line in lines if "/dev/shm/" in line]


def test_engine_worker_killed(harness: NodeHarness) -> None:
    """The same version serves again, in the same epoch; its frames in flight are inferred anew."""
    harness.publish("v1")
    harness.promote("v1")
    node = harness.start("v1")
    harness.wait_state("STABLE")
    before, pid = harness.wait_more(10), harness.engine_pid("v1")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    found = harness.wait_records(lambda r: len(r) > len(before) + 30, "frames flow again")
    assert_seamless(found)
    assert {(r["version"], r["epoch"]) for r in found} == {("v1", 1)}
    assert harness.engine_pid("v1") not in (pid, None)
    harness.wait_metric('edgeagent_worker_restarts_total{kind="engine"}', 1)
    assert node.model()["state"] == "STABLE"


def test_capture_worker_killed(harness: NodeHarness) -> None:
    """Every frame of a film is served exactly once, although its reader was killed twice."""
    film = films.video(harness.folder / "film.mkv", 80)
    harness.config["pipelines"][0]["source"] = {"url": str(film), "fps": 20}
    harness.publish("v1", brightness_moves=20.0)
    harness.promote("v1")
    node = harness.start("v1")
    killed = 0

    def another_reader() -> int:
        return next((int(w["pid"]) for w in node.workers("capture") if w["pid"] != killed), 0)

    for enough in (5, 25):  # long before the end is read
        harness.wait_records(lambda r, n=enough: len(r) >= n, "film under way")  # type: ignore[misc]
        # What the ring holds may be served before the first one's end is known.
        killed = wait_for(another_reader, "another capture worker")
        os.kill(killed, signal.SIGKILL)
    wait_for(lambda: node.status()["pipelines"]["line-1"]["state"] == "ended", "the film at its end")
    found = harness.wait_records(lambda r: len(r) >= 80, "all of it served")
    assert_seamless(found)
    assert len(found) == 80
    # The box moves with the brightness of the picture, and that with the digits of its number.
    left = [r["detections"][0]["xyxy"][0] for r in found]
    step = left[1] - left[0]
    assert [round((x - left[0]) / step) for x in left] == [i // 10 + i % 10 for i in range(80)]
    assert node.status()["pipelines"]["line-1"]["dropped"] == 0
    harness.wait_metric('edgeagent_worker_restarts_total{kind="capture"}', 2)


@pytest.mark.parametrize(
    "stage",
    [
        "FETCHING",
        pytest.param("GATING", marks=pytest.mark.soak),
        pytest.param("WARMING", marks=pytest.mark.soak),
        pytest.param("swap", marks=pytest.mark.soak),
        "PROBATION",
    ],
)
def test_node_killed(harness: NodeHarness, stage: str) -> None:
    """No process stays, and no shared memory has a name; without any store, the last known good serves again."""
    # The slow network below is silent for as long as the machine takes for it, and that is no fault here.
    harness.config["update"] |= {"probation": {"seconds": 2}, "gate_seconds": 600}
    harness.publish("v1")
    weights = None
    if stage in ("GATING", "WARMING"):
        weights = never_ending_onnx(harness.folder / "slow.onnx", 300_000)
    harness.publish("v2", weights)
    with http_store(harness.store) as store:
        harness.config["model_store"]["url"] = store.url
        harness.promote("v1")
        node = harness.start("v1")
        harness.wait_state("STABLE")
        harness.wait_more(5)
        if stage == "FETCHING":
            store.only, store.hang_after = "v2.onnx" if weights else "yolo-v2", 1000
        harness.promote("v2")
        if stage == "swap":
            node.wait_active("v2")
        else:
            harness.wait_state(stage)
        if stage == "PROBATION":
            harness.wait_records(lambda r: [x["version"] for x in r].count("v2") > 10, "v2 serving")
        least = 3 - (stage == "swap")
        workers = wait_for(lambda: len(found := children(node.pid)) >= least and found, "its workers")
        assert not [found for pid in (node.pid, *workers) for found in named_shared_memory(pid)]
        node.kill()
    assert_seamless(harness.records())
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers), "all workers gone")

    harness.config["config_store"]["url"] = f"etcd://127.0.0.1:{free_port()}"
    node = harness.start("v1")
    found = harness.wait_more(10)
    assert {r["version"] for r in found[:5]} == {"v1"}
    wait_for(lambda: harness.history("swapped")[-1]["event"] == "boot", "recorded as a boot")
    assert node.get("/api/history/check")["intact"]
    status = node.status()
    assert not status["config_store"]["connected"]
    assert status["config_store"]["why"]
    assert_seamless(found)


def kill_engine(harness: NodeHarness, version: str) -> None:
    """kill -9 of the worker that serves this version."""
    pid = wait_for(lambda: harness.engine_pid(version), f"worker of {version}")
    os.kill(pid, signal.SIGKILL)


@pytest.mark.soak
def test_killed_time_and_again_on_probation_is_rolled_back(harness: NodeHarness) -> None:
    """Twice is the machine's doing, three times are the version's: the standby serves at once, and it isn't tried again
    unasked."""
    node = harness.serve_with_standby()
    harness.wait_more(5)
    standby = harness.engine_pid("v1")

    for _ in range(2):
        kill_engine(harness, "v2")
        harness.wait_more(20)
        assert (node.active(), node.model()["state"]) == ("v2", "PROBATION")

    kill_engine(harness, "v2")
    node.wait_active("v1")
    assert harness.engine_pid("v1") == standby
    found = harness.wait_more(20)
    assert_seamless(found)
    model = node.model()
    assert (model["state"], model["aspired"]) == ("REJECTED", "v2")
    assert "v2 refused on probation" in model["last_error"]
    assert "SIGKILL" in model["last_error"]
    (rolled_back,) = wait_for(lambda: harness.history("rolled_back"), "recorded")
    assert (rolled_back["from_version"], rolled_back["to_version"]) == ("v2", "v1")
    wait_for(lambda: harness.engine_pid("v2") is None, "v2's worker gone")
    node.stop()

    node = harness.start("v1")
    wait_for(lambda: node.status()["config_store"]["connected"], "the key read")
    harness.wait_more(40)
    # The store is looked at once after a start: the same content is refused once more, by its digest.
    model = harness.wait_state("REJECTED")
    assert (model["active"]["version"], model["aspired"]) == ("v1", "v2")
    assert {r["version"] for r in harness.records()} == {"v1"}
    harness.promote("v2")
    node.wait_active("v2")


@pytest.mark.soak
def test_killed_while_it_is_prepared_and_loaded_a_version_comes_all_the_same(harness: NodeHarness) -> None:
    """By the kernel that lacks memory, or by an operator: it is not to blame, and the node says why it waits."""
    harness.config["update"] |= {"gate_seconds": 600, "load_seconds": 600}
    harness.publish("v1")
    # So slow that its workers can be found, and killed, on the way.
    harness.publish("v2", never_ending_onnx(harness.folder / "slow.onnx", 300_000))
    harness.promote("v1")
    node = harness.start("v1")
    harness.promote("v2")

    def killed(kind: str) -> bool:
        for worker in harness.workers(kind):
            if worker["version"] == "v2":
                with suppress(ProcessLookupError):
                    os.kill(worker["pid"], signal.SIGKILL)
        return "tried again in" in ((node.model()["candidate"] or {}).get("error") or "")

    for stage, kind in (("GATING", "prepare"), ("WARMING", "engine")):
        harness.wait_state(stage)
        wait_for(partial(killed, kind), f"killed while {stage}")
        assert "from outside" in node.model()["candidate"]["error"]
    node.wait_active("v2")
    assert node.model()["rejected"] == []


def test_a_roll_back_that_was_answered_holds(harness: NodeHarness) -> None:
    """kill -9 right after the answer: the next start serves and holds what it said, in an epoch of its own.

    With the state damaged and both stores away it still serves that, from the cache, and in no epoch that was one.
    """
    node = harness.serve_with_standby()
    assert node.post("/rollback", {"by": "anna"})[0] == 200
    node.kill()
    epochs = {r["epoch"]: r["digest"] for r in harness.records()}
    node = harness.start("v1")
    assert node.model()["held"]["by"].startswith("anna")
    for record in harness.wait_more(5):
        assert epochs.setdefault(record["epoch"], record["digest"]) == record["digest"]
    assert node.model()["active"]["epoch"] > max(list(epochs)[:-1])
    node.kill()

    models = harness.folder / "state" / "models"
    for damaged in ("yolo.json", "yolo.json.before"):
        (models / damaged).write_bytes(b"\0" * 512)
    harness.config["config_store"]["url"] = f"etcd://127.0.0.1:{free_port()}"
    harness.store.rename(harness.folder / "away")
    node = harness.start("v1")
    assert not {r["epoch"] for r in harness.wait_more(3)} & set(epochs)


PAUSE_S = 14.0


@pytest.mark.soak
def test_a_pause_of_the_whole_node_rolls_nothing_back(harness: NodeHarness) -> None:
    """A freezer, twice, for longer than a worker may be silent: by the node's own time nobody was."""
    node = harness.serve_with_standby()
    harness.wait_more(5)
    pids = {w["pid"] for w in node.status()["workers"]}
    for _ in range(2):
        everyone = [node.pid, *children(node.pid)]
        for pid in everyone:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(PAUSE_S)
        for pid in everyone:
            os.kill(pid, signal.SIGCONT)
        found = harness.wait_more(60)
    assert {w["pid"] for w in node.status()["workers"]} == pids
    assert (node.active(), node.model()["state"], node.model()["rejected"]) == ("v2", "PROBATION", [])
    assert harness.history("rolled_back") == []
    assert_seamless(found)


def test_killed_standby_is_warm_again(harness: NodeHarness) -> None:
    """The version to go back to is worth a worker of its own: it is started again, and a roll-back still is a swap."""
    node = harness.serve_with_standby()
    first = harness.engine_pid("v1")
    kill_engine(harness, "v1")
    wait_for(lambda: harness.engine_pid("v1") not in (first, None), "another worker")
    wait_for(lambda: node.model()["standby"]["ready"], "it is warm")
    assert node.post("/rollback")[1]["active"] == "v1"
    assert_seamless(harness.wait_more(10))


@pytest.mark.soak
def test_candidate_killed_in_fetch_goes_on_where_it_was(harness: NodeHarness, tmp_path: Path) -> None:
    """The node killed in the middle of a download: the next one fetches the rest only."""
    harness.publish("v1")
    harness.publish("v2", metadata={"padding": "x" * 2_000_000})
    harness.promote("v1")
    with http_store(harness.store) as store:
        harness.config["model_store"]["url"] = store.url
        node = harness.start("v1")
        harness.wait_state("STABLE")
        store.only, store.hang_after = "yolo-v2", 1_000_000
        harness.promote("v2")
        partial = Path(harness.config["node"]["state_dir"]) / "cache" / "partial"
        wait_for(lambda: sum(f.stat().st_size for f in partial.iterdir()) >= 1_000_000, "half of it here")
        node.kill()
        store.hang_after = None
        store.asked.clear()
        node = harness.start()
        node.wait_active("v2")
        asked = [asked for path, asked in store.asked if "yolo-v2" in path]
        assert asked[0] == "bytes=1000000-"
        assert asked[1:] in ([], [""])  # its headers may be looked at once more, to know what was fetched
