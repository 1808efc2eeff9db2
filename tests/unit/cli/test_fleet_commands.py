# SPDX-License-Identifier: AGPL-3.0-or-later
"""`edgeagent nodes`, `snapshot` and `restore`, on a config store in memory and a model store in a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeagent.cli import watching
from edgeagent.cli.main import main
from edgeagent.core.fleet_report import Phase, Report
from edgeagent.core.rollout import COORDINATOR_KEY, Status, rollout_key
from edgeagent.core.rollout_document import encode_rollout
from edgeagent.core.store_documents import Withdrawal
from edgeagent.store.remote import RemoteStore
from edgeagent.store.withdrawals import withdraw
from tests.support.fleet_keys import is_there, rollout_now, says
from tests.support.fleets import LED, a_rollout
from tests.support.memory_store import MemoryStore
from tests.support.published import publish_bytes

URL = ["--config-store", "etcd://fleet"]


@pytest.fixture
def digests(tmp_path: Path) -> dict[str, str]:
    """Of the versions in the model store."""
    return {
        version: publish_bytes(models_url(tmp_path), version, version.encode(), tmp_path).digest
        for version in ("v1", "v2", "v3")
    }


def models_url(tmp_path: Path) -> str:
    """Of the model store."""
    return str(tmp_path / "models")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, digests: dict[str, str]) -> MemoryStore:
    """Four nodes: three with v1, of which one is silent; n4 with v2, pinned to it."""
    store = MemoryStore()
    monkeypatch.setattr("edgeagent.intent.url.open_store", lambda url, access: store)
    store.put("/models/yolo/current", b"v1")
    store.put("/models/yolo/pins/n4", b"v2")
    store.put(COORDINATOR_KEY, LED)
    is_there(store, "n1", "n2", "n4")
    for node in ("n1", "n2", "n3"):
        says(
            store,
            node,
            Report("v1", digests["v1"], state="STABLE", labels={"line": "a"}, frames=96, boxes=2.5),
        )
    says(store, "n4", Report("v2", digests["v2"], state="STABLE"))
    return store


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    code = main(list(args))
    return code, *capsys.readouterr()


def test_the_fleet_as_a_table(store: MemoryStore, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each model on each node, how many serve what, and who is silent."""
    is_there(store, "n5", seg={"state": "STABLE", "active": {"version": "s1"}})
    is_there(store, "n6")
    store.put("/edgeagent/nodes/n4", b'{"models": {}, "conflict": true}')
    says(store, "n4", Report("v2", state="STABLE", since=1796000000))
    held = {"state": "STABLE", "held": {"kind": "rollback", "version": "v1"}}
    is_there(store, "n2", yolo=held)
    says(store, "n2", Report("v1", phase=Phase.REFUSED, why="class names differ"))
    code, out, _ = run(capsys, "nodes", *URL)
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if re.match(r" *n\d ", line)}
    assert "line=a" in rows["n1"]
    assert "2026-11-30 00:53Z" in rows["n4"]
    assert "another process has this node id, too" in rows["n4"]
    assert "2.50" in rows["n1"]
    assert "held: rollback to v1; class names differ" in rows["n2"]
    assert "silent" in rows["n3"]
    assert "s1" in rows["n5"]
    assert "no report" in rows["n5"]
    assert "yolo: v1 on 2, v2 on 1; 1 silent" in out
    assert "nodes without a model: n6" in out
    only_seg = run(capsys, "nodes", *URL, "--model", "seg")[1]
    assert "s1" in only_seg
    assert "yolo" not in only_seg


def test_the_fleet_as_json(
    store: MemoryStore, capsys: pytest.CaptureFixture[str], digests: dict[str, str]
) -> None:
    """Each node's report by its names, and whether it is there."""
    said = json.loads(run(capsys, "nodes", *URL, "--json")[1])
    silent = said["nodes"][2]
    assert (silent["node"], silent["model"], silent["present"]) == ("n3", "yolo", False)
    assert (silent["version"], silent["digest"], silent["labels"]) == ("v1", digests["v1"], {"line": "a"})
    assert (silent["frames"], silent["boxes"], silent["reports"]) == (96, 2.5, True)
    assert said["idle"] == []


def test_an_empty_fleet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Said, and no error."""
    monkeypatch.setattr("edgeagent.intent.url.open_store", lambda url, access: MemoryStore())
    assert run(capsys, "nodes", *URL) == (0, "no node\n", "")


def test_watching_the_fleet(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line of JSON for each change, until Ctrl-C."""
    steps: list[Callable[[], object]] = [
        lambda: None,
        lambda: says(store, "n1", Report("v3", state="STABLE")),
        lambda: None,
    ]

    def sleep(seconds: float) -> None:
        if not steps:
            raise KeyboardInterrupt
        steps.pop(0)()

    monkeypatch.setattr(watching.time, "sleep", sleep)
    code, out, _ = run(capsys, "nodes", *URL, "--watch", "--json")
    assert code == 0
    assert [json.loads(line)["nodes"][0]["version"] for line in out.splitlines()] == ["v1", "v3"]


def test_a_snapshot_has_what_every_node_serves(
    store: MemoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], digests: dict[str, str]
) -> None:
    """Silent nodes, too; it is written once under its name."""
    args = ["snapshot", *URL, "--store", models_url(tmp_path), "--name", "before", "--by", "anna"]
    code, out, _ = run(capsys, *args)
    assert code == 0
    assert out == "snapshot before: nodes 4, models yolo\n1 silent, with what they served last: n3\n"
    written = json.loads((tmp_path / "models/_snapshots/before.json").read_text())
    assert written["by"] == "anna"
    assert written["nodes"]["n4"] == {"yolo": {"version": "v2", "digest": digests["v2"]}}
    assert set(written["nodes"]) == {"n1", "n2", "n3", "n4"}
    code, _, err = run(capsys, *args)
    assert (code, "exists already" in err) == (1, True)
    said = json.loads(run(capsys, *args[:-4], "--json")[1])
    assert re.fullmatch(r"\d{8}-\d{6}", said["name"])
    assert (said["nodes"], said["models"], said["silent"]) == (4, ["yolo"], ["n3"])


def test_a_fleet_that_serves_nothing_has_no_snapshot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would bring back nothing."""
    monkeypatch.setattr("edgeagent.intent.url.open_store", lambda url, access: MemoryStore())
    assert run(capsys, "snapshot", *URL, "--store", models_url(tmp_path))[0] == 1
    assert not (tmp_path / "models").exists()


@pytest.fixture
def changed(store: MemoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MemoryStore:
    """A snapshot `before` was taken; since then v3 was promoted, n4's pin removed, and n2 was pinned to v3."""
    assert run(capsys, "snapshot", *URL, "--store", models_url(tmp_path), "--name", "before")[0] == 0
    store.write({"/models/yolo/current": b"v3", "/models/yolo/pins/n4": None, "/models/yolo/pins/n2": b"v3"})
    return store


def restore(tmp_path: Path, *more: str) -> list[str]:
    """The command."""
    return ["restore", "before", *URL, "--store", models_url(tmp_path), "--by", "anna", *more]


def test_what_most_nodes_had_is_rolled_out(
    changed: MemoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are named, and not touched."""
    before = changed.keys()
    code, out, err = run(capsys, *restore(tmp_path, "--waves", "50%,100%", "--bake", "5"))
    assert code == 0
    rollout = rollout_now(changed)
    assert (rollout.plan.came_from, rollout.plan.version) == ("v3", "v1")
    assert (rollout.plan.waves, rollout.limits.bake_seconds) == (("50%", "100%"), 5.0)
    assert (rollout.plan.by, rollout.plan.reason) == ("anna", "back to the snapshot before")
    assert "not touched (--pins pins them), though they served v1: n2" in out
    assert "not touched (--pins pins them), though they served v2: n4" in out
    assert "n2 (pinned to v3)" in err
    assert changed.keys() == sorted([*before, rollout_key("yolo")])


def test_with_pins_the_others_come_back_too(
    changed: MemoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Written with who did it and why; --dry-run only says so."""
    before = changed.keys()
    code, out, _ = run(capsys, *restore(tmp_path, "--pins", "--dry-run"))
    assert (code, out.endswith("nothing was written\n")) == (0, True)
    assert changed.keys() == before
    code, out, _ = run(capsys, *restore(tmp_path, "--pins", "--json"))
    assert code == 0
    said = json.loads(out)
    assert said["written"]
    assert said["models"][0]["pins"] == {"n2": "v1", "n4": "v2"}
    pin = json.loads(changed.value("/models/yolo/pins/n4") or b"")
    assert pin == {"version": "v2", "by": "anna", "reason": "back to the snapshot before"}
    assert json.loads(changed.value("/models/yolo/pins/n2") or b"")["version"] == "v1"
    assert rollout_now(changed).plan.version == "v1"


def test_a_fleet_that_is_there_already(
    store: MemoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No roll-out is begun."""
    run(capsys, "snapshot", *URL, "--store", models_url(tmp_path), "--name", "before")
    code, out, _ = run(capsys, *restore(tmp_path, "--pins"))
    assert code == 0
    assert "yolo: `current` says v1 already, as most nodes did then" in out
    assert store.value(rollout_key("yolo")) is None


def test_nothing_is_restored_while_a_roll_out_is_under_way(
    store: MemoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though `current` still says what most nodes had: it would go on, and put something else on all of them."""
    assert run(capsys, "snapshot", *URL, "--store", models_url(tmp_path), "--name", "before")[0] == 0
    store.put(rollout_key("yolo"), encode_rollout(a_rollout(Status.ROLLING, version="v3")))
    code, _, err = run(capsys, *restore(tmp_path))
    assert code == 1
    assert (
        "to v3 is under way, it is rolling; resume, advance or abort it; see `edgeagent rollout status yolo`"
        in err
    )
    store.put(rollout_key("yolo"), encode_rollout(a_rollout(Status.ABORTED, version="v3")))
    assert run(capsys, *restore(tmp_path))[0] == 0


def test_what_cant_be_restored(
    changed: MemoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A version that was withdrawn, another content under its name, a roll-out under way, no such snapshot: nothing is
    written then."""
    models = RemoteStore(models_url(tmp_path))
    withdraw(models, "yolo", "v2", Withdrawal("misses dents", "eve", "2026-11-29T10:00:00Z"))
    before = changed.keys()
    code, _, err = run(capsys, *restore(tmp_path, "--pins"))
    assert (code, "yolo/v2: withdrawn" in err) == (1, True)
    path = tmp_path / "models/_snapshots/before.json"
    path.write_text(re.sub(r'("version": "v1",\s*"digest": "sha256:)....', r"\g<1>0000", path.read_text()))
    code, _, err = run(capsys, *restore(tmp_path))
    assert (code, "nodes served sha256:0000" in err) == (1, True)
    assert changed.keys() == before
    assert run(capsys, *restore(tmp_path)[:1], "nope", *restore(tmp_path)[2:])[0] == 1
    path.write_text("{")
    assert run(capsys, *restore(tmp_path))[0] == 1


def test_what_was_written_is_said_if_not_all_could_be(
    changed: MemoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody promotes the second model while the first is written."""
    changed.put("/models/caps/current", b"v1")
    path = tmp_path / "models/_snapshots/before.json"
    taken = json.loads(path.read_text())
    taken["nodes"]["n1"] = {"caps": {"version": "v2", "digest": ""}} | taken["nodes"]["n1"]
    path.write_text(json.dumps(taken))
    publish_bytes(models_url(tmp_path), "v2", b"2", tmp_path, model="caps")
    changed.transacting = lambda writes: changed.put("/models/yolo/current", b"v9")
    code, _, err = run(capsys, *restore(tmp_path))
    assert code == 1
    assert "warning: not all was written, but: roll-out " in err
    assert rollout_now(changed, "caps").plan.version == "v2"
    assert changed.value(rollout_key("yolo")) is None


def test_a_roll_out_under_way_is_not_disturbed(
    changed: MemoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor are pins written then."""
    run(capsys, "rollout", "start", "yolo", "v2", *URL)
    under_way, before = rollout_now(changed), changed.keys()
    code, _, err = run(capsys, *restore(tmp_path, "--pins"))
    assert (code, "is under way" in err) == (1, True)
    assert (rollout_now(changed), changed.keys()) == (under_way, before)
