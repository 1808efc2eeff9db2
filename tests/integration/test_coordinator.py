# SPDX-License-Identifier: AGPL-3.0-or-later
"""Coordinators that are killed, suspended and started twice, beside an etcd that dies and comes back."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from edgeagent.core.directive import current_key
from edgeagent.core.fleet_report import Phase
from edgeagent.core.leader import decode_leader
from edgeagent.core.rollout import COORDINATOR_KEY, ENDED, Limits, Plan, Rollout, Status, rollout_key
from edgeagent.core.rollout_document import decode_rollout, encode_rollout
from edgeagent.core.rollout_steps import resumed
from edgeagent.errors import UnavailableError
from edgeagent.fleet.members import MemberReader
from edgeagent.intent.etcd import EtcdConfigStore
from edgeagent.testing import NodeRunner, wait_for
from tests.support.coordinators import ActingNodes, CoordinatorProcess, history
from tests.support.etcd import EtcdServer, etcd_cluster

MODEL = "yolo"
KEY, CURRENT = rollout_key(MODEL), current_key(MODEL)
NODES = [f"n{i}" for i in range(6)]
PATIENCE_S = 120.0
PATIENT = ("--orphaned-after", "600")
GOOD = [
    (Status.PLANNED, -1),
    (Status.ROLLING, 0),
    (Status.BAKING, 0),
    (Status.ROLLING, 1),
    (Status.BAKING, 1),
]
"""Of a roll-out in two waves; with DONE it is gone."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EtcdServer]:
    """A server of the test's own, started."""
    with EtcdServer(tmp_path / "server") as server:
        yield server


@pytest.fixture
def store(server: EtcdServer) -> Iterator[EtcdConfigStore]:
    """The operator's."""
    store = EtcdConfigStore([server.endpoint])
    store.put(CURRENT, b"v1")
    yield store
    store.close()


def eventually(fulfilled: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Wait for a condition; a store that is away hasn't fulfilled it."""
    give_up = time.monotonic() + patience_s
    while True:
        try:
            if fulfilled():
                return
        except UnavailableError:
            pass
        assert time.monotonic() < give_up, "it did not come true"
        time.sleep(0.05)


def begin(store: EtcdConfigStore, *waves: str, id: str = "r1", **limits: float) -> None:
    """As `rollout start` does it."""
    plan = Plan("v2", "v1", store.get(CURRENT).revision, "salt", waves=waves or ("2", "100%"))
    store.put(KEY, encode_rollout(Rollout(id, plan, Limits(**{"bake_seconds": 0.5, **limits}))))  # type: ignore[arg-type]


def stands(store: EtcdConfigStore) -> Rollout | None:
    """The roll-out under its key."""
    value = store.get(KEY).value
    return decode_rollout(KEY, value) if value else None


def is_at(store: EtcdConfigStore, status: Status, wave: int) -> bool:
    """Whether it has come so far."""
    rollout = stands(store)
    return bool(rollout and (rollout.status, rollout.wave) == (status, wave))


def leader(store: EtcdConfigStore) -> str:
    """Who leads."""
    value = store.get(COORDINATOR_KEY).value
    found = decode_leader(value) if value else None
    return found.host if found else ""


@contextmanager
def coordinators(
    folder: Path, url: str, *deaths: tuple[str, int] | None, name: str = "c", options: tuple[str, ...] = ()
) -> Iterator[list[CoordinatorProcess]]:
    """So many at once, each of which dies as it is said; all are up. name: how theirs begin."""
    with ExitStack() as stack:
        processes = [
            CoordinatorProcess(f"{name}{n}", folder, url, *options, dies=dies)
            for n, dies in enumerate(deaths)
        ]
        for process in processes:
            stack.callback(process.kill)
            process.launch()
        for process in processes:
            process.wait_until_it_serves()
        yield processes


def test_killed_at_every_step(tmp_path: Path, server: EtcdServer, store: EtcdConfigStore) -> None:
    """Each coordinator makes one step at most and dies: with the lead just taken, with its step just written, with its
    second one to be written. The roll-out takes the same steps as ever, and each of them once."""
    deaths = [("after", 0), *[("after", 1), ("before", 2)] * 2, ("after", 1)]
    with (
        ActingNodes(server.url, MODEL, NODES) as nodes,
        coordinators(tmp_path, server.url, *deaths) as processes,
    ):
        begin(store)
        eventually(lambda: stands(store) is None)
        assert sum(process.is_dead for process in processes) >= 4
        assert history(server, MODEL) == GOOD
        assert store.get(CURRENT).value == b"v2"
        eventually(lambda: set(nodes.serving().values()) == {"v2"})


def test_suspended_for_longer_than_its_lease(
    tmp_path: Path, server: EtcdServer, store: EtcdConfigStore
) -> None:
    """Two are started at once, and one leads. Once it is suspended the other goes on; when it wakes it has nothing to
    say, and takes over when the other one is gone. Nothing is done twice."""
    with (
        ActingNodes(server.url, MODEL, NODES),
        coordinators(tmp_path, server.url, None, None) as processes,
    ):
        eventually(lambda: leader(store))
        first, second = sorted(processes, key=lambda process: process.name != leader(store))
        begin(store, bake_seconds=3600)
        eventually(lambda: is_at(store, Status.BAKING, 0))
        first.freeze()
        eventually(lambda: leader(store) == second.name)
        rollout = stands(store)
        assert rollout
        store.put(KEY, encode_rollout(replace(rollout, advance=True)))
        eventually(lambda: is_at(store, Status.BAKING, 1))
        first.thaw()
        eventually(lambda: "lead.lost" in first.log)
        second.kill()
        eventually(lambda: leader(store) == first.name)
        rollout = stands(store)
        assert rollout
        store.put(KEY, encode_rollout(replace(rollout, advance=True)))
        eventually(lambda: stands(store) is None)
        assert [step for step, _ in groupby(history(server, MODEL))] == GOOD
        assert "rollout.stepped" in first.log
        assert "rollout.stepped" in second.log
        assert first.end() == 0


def test_etcd_is_killed_and_comes_back(tmp_path: Path, server: EtcdServer, store: EtcdConfigStore) -> None:
    """In the middle of a wave: the roll-out goes on where it was, with the same coordinator."""
    with (
        ActingNodes(server.url, MODEL, NODES),
        coordinators(tmp_path, server.url, None) as (process,),
    ):
        begin(store, bake_seconds=2)
        eventually(lambda: is_at(store, Status.BAKING, 0))
        server.kill()
        eventually(lambda: "failed" in process.log)
        server.start()
        eventually(lambda: stands(store) is None)
        assert history(server, MODEL) == GOOD
        assert process.end() == 0


def test_a_node_coordinates(tmp_path: Path, server: EtcdServer, store: EtcdConfigStore) -> None:
    """On a small site; its status and its metrics say so."""
    settings = {"config_store": {"url": server.url}, "fleet": {"coordinate": True}}
    with ActingNodes(server.url, MODEL, NODES), NodeRunner(tmp_path / "node", settings) as node:
        node.start()
        begin(store, bake_seconds=3600)
        eventually(lambda: is_at(store, Status.BAKING, 0))
        (rollout,) = wait_for(lambda: node.status()["fleet"]["rollouts"], "seen")
        assert (rollout["model"], rollout["id"]) == (MODEL, "r1")
        assert node.status()["fleet"]["leader"] == "node-under-test"
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def metrics() -> bytes:
            with direct.open(f"{node.url}/metrics", timeout=60) as answer:
                return bytes(answer.read())

        wait_for(lambda: b"edgeagent_coordinator_leads 1.0" in metrics(), "a metric of it")
        assert node.stop() == 0


@pytest.mark.soak
def test_an_orphan_waits_to_be_resumed(tmp_path: Path, server: EtcdServer, store: EtcdConfigStore) -> None:
    """Nobody led it for longer than it may be, and its nodes serve on meanwhile; resumed by hand it ends as ever."""
    with ActingNodes(server.url, MODEL, NODES) as nodes:
        with coordinators(tmp_path, server.url, None):
            begin(store)
            eventually(lambda: is_at(store, Status.BAKING, 0))
        eventually(lambda: not leader(store))
        with coordinators(tmp_path, server.url, None):
            eventually(lambda: (rollout := stands(store)) and rollout.status is Status.PAUSED)
            rollout = stands(store)
            assert rollout
            assert "no coordinator led it" in rollout.why
            assert sorted(nodes.serving().values()) == ["v1"] * 4 + ["v2"] * 2
            fleet = MemberReader(store).read().fleet(MODEL, store.get(CURRENT).revision)
            store.put(KEY, encode_rollout(resumed(rollout, fleet)))
            eventually(lambda: stands(store) is None)
            paused = [(Status.PAUSED, 0), (Status.ROLLING, 0), (Status.BAKING, 0)]
            assert history(server, MODEL) == [*GOOD[:3], *paused, *GOOD[3:]]


@pytest.mark.soak
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("version", ["good", "bad"])
def test_killed_at_any_writing(
    tmp_path: Path, server: EtcdServer, store: EtcdConfigStore, version: str, side: str
) -> None:
    """Each of them, before it is done and after it; another one, which has seen it lead, ends the roll-out."""
    steps = GOOD if version == "good" else [*GOOD[:2], (Status.ABORTING, 0), (Status.ABORTED, 0)]
    # 0 is the lead; what is PLANNED is no step, and DONE leaves no document.
    last = len(steps) - (version == "bad")
    with ActingNodes(server.url, MODEL, NODES) as nodes:
        if version == "bad":
            nodes.becomes = lambda node, version: Phase.ROLLED_BACK
        for cut in range(last + 1):
            store.put(CURRENT, b"v1")
            eventually(lambda: not leader(store))
            with coordinators(tmp_path / str(cut), server.url, (side, cut)) as (dying,), ExitStack() as stack:
                if cut:
                    eventually(lambda dying=dying: leader(store) == dying.name)
                (survivor,) = stack.enter_context(
                    coordinators(tmp_path / str(cut), server.url, None, name="survivor", options=PATIENT)
                )
                if cut:
                    eventually(lambda survivor=survivor: "lead.followed" in survivor.log)
                survivor.freeze()
                begin(store, id=f"r{cut}")
                eventually(lambda dying=dying: dying.is_dead)
                survivor.thaw()
                eventually(lambda: (rollout := stands(store)) is None or rollout.status in ENDED)
                assert history(server, MODEL, f"r{cut}") == steps, cut
                assert store.get(CURRENT).value == (b"v2" if version == "good" else b"v1")


@pytest.mark.soak
def test_a_cluster_loses_its_leader_and_its_quorum(tmp_path: Path) -> None:
    """Without its leader, and for more than a minute with one member of three: no wave opens twice or early. The key of
    who leads outlives that, so it goes on and ends by itself."""
    with etcd_cluster(tmp_path, 3) as members:
        url = "etcd://" + ",".join(member.endpoint for member in members)
        store = EtcdConfigStore([member.endpoint for member in members], deadline_s=1.0)
        store.put(CURRENT, b"v1")
        with ActingNodes(url, MODEL, NODES), coordinators(tmp_path, url, None, None):
            begin(store, "1", "50%", "100%", bake_seconds=5)
            eventually(lambda: is_at(store, Status.BAKING, 0))
            lost = next(member for member in members if _leads(member))
            lost.kill()
            eventually(lambda: is_at(store, Status.BAKING, 1))
            other = next(member for member in members if member is not lost)
            other.kill()
            time.sleep(75)
            lost.start()
            other.start()
            eventually(lambda: stands(store) is None)
            seen = history(other, MODEL)
            assert Status.PAUSED not in [status for status, _ in seen]
            waves = [wave for status, wave in seen if status is Status.ROLLING]
            assert [wave for wave, _ in groupby(waves)] == [0, 1, 2]
        store.close()


def _leads(member: EtcdServer) -> bool:
    status = json.loads(member.etcdctl("endpoint", "status", "--write-out=json"))[0]["Status"]
    return bool(status["leader"] == status["header"]["member_id"])
