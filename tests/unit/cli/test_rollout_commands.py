# SPDX-License-Identifier: AGPL-3.0-or-later
"""`edgeagent rollout`: what is typed, printed and returned, on a config store in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgeagent.cli import watching
from edgeagent.cli.main import main
from edgeagent.core.fleet_report import Phase, Report
from edgeagent.core.rollout import COORDINATOR_KEY, Rollout, Status, archive_key, rollout_key
from edgeagent.core.rollout_document import encode_rollout
from edgeagent.core.rollout_progress import HOW_TO_LEAD
from edgeagent.core.store_documents import Withdrawal
from edgeagent.store.remote import RemoteStore
from edgeagent.store.tags import put_tag
from edgeagent.store.withdrawals import withdraw
from tests.support.fleet_keys import is_there, moves, rollout_now, says
from tests.support.fleets import LED
from tests.support.memory_store import MemoryStore
from tests.support.published import publish_bytes

URL = ["--config-store", "etcd://fleet"]
START = ["rollout", "start", "yolo", "v2", *URL, "--by", "anna"]
NODES = [f"n{i}" for i in range(10)]
AT = "2026-11-29T10:00:00Z"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """Ten nodes with v1, and a coordinator."""
    store = MemoryStore()
    monkeypatch.setattr("edgeagent.intent.url.open_store", lambda url, access: store)
    store.put("/models/yolo/current", b"v1")
    store.put(COORDINATOR_KEY, LED)
    is_there(store, *NODES)
    for node in NODES:
        says(store, node, Report(version="v1", state="STABLE", labels={"line": "a" if node < "n3" else "b"}))
    return store


class Scenario:
    """What happens while a command waits: a step each time that it sleeps."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps: Iterator[Callable[[], object]] = iter(steps)

    def sleep(self, seconds: float) -> None:
        """Instead of sleeping."""
        step = next(self._steps, None)
        assert step is not None, "it waits for something that never comes"
        step()


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have these things happen, one between two looks."""
    return lambda *steps: monkeypatch.setattr(watching.time, "sleep", Scenario(*steps).sleep)


def interrupt() -> None:
    """Somebody presses Ctrl-C."""
    raise KeyboardInterrupt


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    code = main(list(args))
    return code, *capsys.readouterr()


# -- start -------------------------------------------------------------------------------------------


def test_it_is_written_as_it_was_asked_for(store: MemoryStore, capsys: pytest.CaptureFixture[str]) -> None:
    """Every option has its place in the document."""
    code, out, err = run(
        capsys,
        *START,
        *("--waves", "2, 50%,100%", "--canary", "n1", "--canary", "n2", "--selector", "line=a"),
        *(
            "--bake",
            "30",
            "--deadline",
            "900",
            "--min-frames",
            "100",
            "--min-objects",
            "7",
            "--max-failures",
            "2",
        ),
        *("--max-refused", "0.5", "--on-failure", "pause", "--approval", "manual", "--preload"),
        *("--fetch-spread", "60", "--terms", '{"at": "window"}', "--reason", "ticket 7"),
    )
    assert code == 0
    plan, limits = rollout_now(store).plan, rollout_now(store).limits
    assert plan.waves == ("canaries", "2", "50%", "100%")
    assert (plan.canaries, plan.selector, plan.terms) == (("n1", "n2"), {"line": "a"}, {"at": "window"})
    assert (plan.approval, plan.preload, plan.fetch_spread_seconds) == ("manual", True, 60.0)
    assert (plan.by, plan.reason) == ("anna", "ticket 7")
    assert (limits.bake_seconds, limits.deadline_seconds) == (30.0, 900.0)
    assert (limits.min_frames, limits.min_objects, limits.max_failures) == (100, 7, 2)
    assert (limits.max_refused, limits.on_failure) == (0.5, "pause")
    assert out == (
        f"roll-out {rollout_now(store).id} of yolo: v1 → v2, waves canaries, 2, 50%, 100%; nodes that are there: 10\n"
    )
    assert err == "warning: without --store it isn't checked whether yolo/v2 is there\n"


def test_its_defaults_are_those_of_the_interface(
    store: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four waves; two shares fewer where it ends with a comparison."""
    assert run(capsys, *START)[0] == 0
    assert rollout_now(store).plan.waves == ("1", "5%", "25%", "100%")
    store.write({rollout_key("yolo"): None})
    assert run(capsys, *START, "--mode", "ab")[0] == 0
    assert rollout_now(store).plan.waves == ("1", "5%", "50%")


def test_as_json(store: MemoryStore, capsys: pytest.CaptureFixture[str]) -> None:
    """The document, and what was warned of."""
    store.write({COORDINATOR_KEY: None})
    code, out, _ = run(capsys, *START, "--json")
    said = json.loads(out)
    assert (code, said["model"]) == (0, "yolo")
    assert said["rollout"] == json.loads(encode_rollout(rollout_now(store)))
    assert said["warnings"] == [f"no coordinator leads: it begins when one does ({HOW_TO_LEAD})"]


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["--waves", "5%,1%,100%"], 2, "error: the roll-out: waves: they don't grow; see docs/fleet.md"),
        (["--waves", "1,5%"], 2, "error: the roll-out: waves: the last is not 100%"),
        (["--waves", ""], 0, ""),
        (["--waves", "many"], 2, "error: the roll-out: the field waves"),
        (["--max-refused", "2"], 2, "error: the roll-out: the field max_refused is not a number from 0 to 1"),
        (["--bake", "nan"], 2, "error: the roll-out: the field bake_seconds is nan"),
        (
            ["--on-failure", "explode"],
            2,
            "error: the roll-out: the field on_failure is none of rollback, pause",
        ),
        (["--mode", "x"], 2, "error: the roll-out: the field "),
        (["--selector", "line"], 2, "error: --selector line: is not NAME=VALUE"),
        (["--selector", "line=z"], 2, "error: canaries line=z: no node that is there"),
        (["--canary", "n77"], 2, "error: --canary n77: no node of this name"),
        (["--terms", "{"], 2, "error: --terms: is no JSON"),
        (["--terms", "[]"], 2, "error: --terms: is no JSON object"),
        (["--terms", '{"nope": 1}'], 2, "error: the roll-out: the terms"),
        (
            ["--config-store", "file:///x"],
            2,
            "error: config store file:///x: a fleet can't be led through a folder",
        ),
        (
            ["--config-store", "kafka://h/t"],
            2,
            "error: config store kafka://h/t: a fleet can't be led through",
        ),
    ],
)
def test_bad_input(
    store: MemoryStore, capsys: pytest.CaptureFixture[str], args: list[str], code: int, says: str
) -> None:
    """A clear error, and nothing is written."""
    found, _, err = run(capsys, *START, *args)
    assert found == code
    if code:
        assert says in err
        assert store.value(rollout_key("yolo")) is None


@pytest.mark.parametrize("model", ["../x", "a/b"])
def test_a_model_that_is_no_name(store: MemoryStore, capsys: pytest.CaptureFixture[str], model: str) -> None:
    """It would be another key."""
    for args in (
        ["start", model, "v2"],
        ["status", model],
        ["abort", model],
        ["compare", model],
        ["list", model],
    ):
        code, _, err = run(capsys, "rollout", *args, *URL)
        assert (code, err.startswith("error: model ")) == (2, True)


def test_the_version_must_be_in_the_store(
    store: MemoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There, and not withdrawn; a tag is what it names now, and the record says both."""
    url = str(tmp_path / "models")
    publish_bytes(url, "v2", b"2", tmp_path)
    publish_bytes(url, "v3", b"3", tmp_path)
    models = RemoteStore(url)
    withdraw(models, "yolo", "v3", Withdrawal("misses dents", "eve", AT))
    put_tag(models, "yolo", "v2", "stable", "anna", AT)
    begin = ["rollout", "start", "yolo"]
    for version, why in (
        ("v9", "not in the store"),
        ("v3", "withdrawn: misses dents"),
        ("@nope", "tag @nope"),
    ):
        code, _, err = run(capsys, *begin, version, *URL, "--store", url)
        assert code == 1
        assert why in err
        assert store.value(rollout_key("yolo")) is None
    code, _, err = run(capsys, *begin, "@stable", *URL)
    assert (code, "a tag stands in the model store" in err) == (2, True)
    assert run(capsys, *begin, "@stable", *URL, "--store", url)[0] == 0
    plan = rollout_now(store).plan
    assert plan.version == "v2"
    assert plan.terms == {"tag": "stable"}


def test_two_at_once(store: MemoryStore, capsys: pytest.CaptureFixture[str]) -> None:
    """The second names the first, its state, and what can be done."""
    run(capsys, *START)
    first = moves(store, status=Status.PAUSED, wave=0, why="by eve")
    code, _, err = run(capsys, "rollout", "start", "yolo", "v3", *URL)
    assert code == 1
    assert (
        f"error: roll-out of yolo: {first.id} to v2 is under way, it is paused: by eve; resume, advance or abort it;"
        in err
    )
    assert rollout_now(store) == first


def test_a_dry_run_writes_nothing(store: MemoryStore, capsys: pytest.CaptureFixture[str]) -> None:
    """It says who would be in which wave, who is away, who refused it before, and who will not follow."""
    earlier = replace(a_begun(store, capsys), status=Status.ABORTED, wave=0)
    store.write({rollout_key("yolo"): None, archive_key("yolo", earlier.id): encode_rollout(earlier)})
    says(store, "n4", Report(version="v1", rollout=earlier.id, phase=Phase.REFUSED, why="too slow"))
    says(store, "n99", Report(version="v1"))
    store.put("/models/yolo/pins/n5", b"v0")
    before = store.keys()
    args = [*START, "--canary", "n1", "--waves", "50%,100%", "--dry-run"]
    code, out, _ = run(capsys, *args)
    assert code == 0
    for text in ("canaries", "1 away, and in when they come: n99", "1 refused it before: n4: too slow"):
        assert text in out
    assert "1 will not follow it: n5: pinned to v0" in out
    assert out.endswith("nothing was written\n")
    said = json.loads(run(capsys, *args, "--json")[1])
    assert [(w["wave"], w["nodes"]) for w in said["waves"]] == [("canaries", 1), ("50%", 5), ("100%", 9)]
    assert said["waves"][0]["brings"] == ["n1"]
    brought = [node for wave in said["waves"] for node in wave["brings"]]
    assert sorted(brought) == sorted(set(NODES) - {"n5"})
    assert (said["away"], said["excused"]) == (["n99"], {"n5": "pinned to v0"})
    assert said["refused_before"] == {"n4": "too slow"}
    assert store.keys() == before


# -- start --wait --------------------------------------------------------------------------------------


def a_begun(store: MemoryStore, capsys: pytest.CaptureFixture[str]) -> Rollout:
    """A roll-out, just begun."""
    assert run(capsys, *START)[0] == 0
    return rollout_now(store)


def archived(store: MemoryStore, status: Status, why: str = "") -> None:
    """It has ended, as a coordinator leaves it: among the earlier ones."""
    ended = replace(rollout_now(store), status=status, why=why, wave=3)
    store.write({rollout_key("yolo"): None, archive_key("yolo", ended.id): encode_rollout(ended)})


def test_waiting_for_the_end(
    store: MemoryStore, meanwhile: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 0 when it is done, also when another one has begun by then; a line on stderr for what changed."""

    def another() -> None:
        archived(store, Status.DONE)
        other = replace(rollout_of_archive(store), id="other", status=Status.PLANNED, wave=-1)
        store.put(rollout_key("yolo"), encode_rollout(other))

    meanwhile(
        lambda: moves(store, status=Status.ROLLING, wave=0),
        lambda: None,
        lambda: moves(store, status=Status.BAKING, wave=0),
        another,
    )
    code, out, err = run(capsys, *START, "--wait")
    assert code == 0
    assert out.endswith("done: yolo v2 is what `current` says now\n")
    lines = [line for line in err.splitlines() if " yolo: " in line]
    assert [any(word in line for word in ("planned", "rolling", "baking", "done")) for line in lines] == [
        True
    ] * 4


def rollout_of_archive(store: MemoryStore) -> Rollout:
    """The one that has ended."""
    from edgeagent.fleet.rollout_store import all_rollouts

    found = all_rollouts(store, "yolo")[0]
    assert isinstance(found, Rollout)
    return found


def test_on_a_terminal_a_line_is_written_over(
    store: MemoryStore,
    meanwhile: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """While a wave rolls; each wave and state leaves its last line."""

    def takes(node: str) -> None:
        says(store, node, Report(version="v2", rollout=rollout_now(store).id, phase=Phase.STABLE))

    monkeypatch.setattr("edgeagent.cli.rollout_wait._on_terminal", lambda: True)
    opened = {"status": Status.ROLLING, "wave": 3, "open_below": 2**52}
    meanwhile(
        lambda: moves(store, **opened),
        lambda: takes("n1"),
        lambda: takes("n2"),
        lambda: archived(store, Status.DONE),
    )
    code, _, err = run(capsys, *START, "--wait")
    assert code == 0
    lines = [
        [part for part in line.split("\r\x1b[K") if part] for line in err.split("\n") if "yolo: " in line
    ]
    assert [len(line) for line in lines] == [1, 3, 1]
    assert "2 of 10 nodes stable" in lines[1][-1]
    assert err.endswith("\n")


@pytest.mark.parametrize(
    ("status", "todo"),
    [
        (Status.PAUSED, "then resume, advance or abort yolo"),
        (Status.ABORTED, ""),
        (Status.SUPERSEDED, "see who wrote `current`"),
    ],
)
def test_it_halts_before_the_end(
    store: MemoryStore,
    meanwhile: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    status: Status,
    todo: str,
) -> None:
    """Exit 1 with the reason on stderr; while it aborts, it is waited for."""
    steps: list[Callable[[], object]] = [
        lambda: moves(store, status=Status.ABORTING, wave=0, why="n1 went back")
    ]
    if status is Status.PAUSED:
        meanwhile(lambda: moves(store, status=status, wave=0, why="n1 refused it"))
    else:
        meanwhile(*steps, lambda: archived(store, status, "n1 went back"))
    code, out, err = run(capsys, *START, "--wait")
    assert code == 1
    last = err.splitlines()[-1]
    assert last.startswith("error: roll-out 20")
    assert f"of yolo to v2: {status}: n1 " in last
    assert last.endswith(todo)
    assert "done" not in out


def test_a_store_that_is_away_is_awaited(
    store: MemoryStore, meanwhile: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Said once, and once when it is back."""
    meanwhile(
        lambda: setattr(store, "away", True),
        lambda: None,
        lambda: (setattr(store, "away", False), archived(store, Status.DONE)),
    )
    code, out, err = run(capsys, *START, "--wait", "--json")
    assert code == 0
    assert err.count("it is tried again") == 1
    assert err.count("the config store answers again") == 1
    assert json.loads(out)["rollout"]["status"] == "done"  # one object, how it ended


def test_ctrl_c_leaves_it_as_it_is(
    store: MemoryStore, meanwhile: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """And says so."""
    meanwhile(lambda: moves(store, status=Status.ROLLING, wave=0), interrupt)
    code, _, err = run(capsys, *START, "--wait")
    assert code == 1
    assert "it goes on, and nobody waits for it any more; edgeagent rollout status yolo --watch" in err
    assert rollout_now(store).status is Status.ROLLING


def test_a_document_that_vanishes(
    store: MemoryStore, meanwhile: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody deleted the key: there is nothing to wait for any more."""
    meanwhile(lambda: store.write({rollout_key("yolo"): None}))
    code, _, err = run(capsys, *START, "--wait")
    assert code == 1
    assert "there is none" in err


# -- status, list and the words of an operator ---------------------------------------------------------


def test_the_status_says_who_has_it_and_who_hasnt(
    store: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """As tables and lines, and as JSON with the document."""
    id = a_begun(store, capsys).id
    moves(
        store,
        status=Status.ROLLING,
        wave=0,
        plan=replace(rollout_now(store).plan, waves=("100%",)),
        open_below=2**52,
    )
    says(store, "n0", Report(version="v2", rollout=id, phase=Phase.STABLE))
    says(store, "n1", Report(version="v1", rollout=id, phase=Phase.REFUSED, why="class names differ"))
    store.write({"/edgeagent/nodes/n9": None, COORDINATOR_KEY: None})
    code, out, _ = run(capsys, "rollout", "status", "yolo", *URL)
    assert code == 0
    for text in (
        f"roll-out {id} of yolo: v1 → v2, by anna",
        "wave 1 of 1 (100%) is rolling",
        "no coordinator leads",
        "7 not through yet: n2, n3, n4, n5, n6, n7, n8",
        "1 refused it: n1: class names differ",
        "1 away: n9",
    ):
        assert text in out
    said = json.loads(run(capsys, "rollout", "status", "yolo", *URL, "--json")[1])
    assert said["rollout"] == json.loads(encode_rollout(rollout_now(store)))
    assert (said["stable"], said["refused"], said["away"]) == (1, {"n1": "class names differ"}, ["n9"])


def test_status_of_none_and_of_a_broken_one(store: MemoryStore, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1, and one line."""
    assert run(capsys, "rollout", "status", "yolo", *URL)[::2] == (
        1,
        "error: roll-out of yolo: there is none; see `edgeagent rollout list yolo`\n",
    )
    store.put(rollout_key("yolo"), b"{")
    code, _, err = run(capsys, "rollout", "status", "yolo", *URL)
    assert (code, "the value is broken JSON" in err) == (1, True)


def test_watching_it(
    store: MemoryStore, meanwhile: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Again when something has changed, until it has ended; JSON in a line each. Ctrl-C is no error."""
    begun = a_begun(store, capsys)
    watch = ["rollout", "status", "yolo", *URL, "--watch", "--json"]
    meanwhile(
        lambda: None,
        lambda: moves(store, status=Status.ROLLING, wave=0),
        lambda: moves(store, status=Status.ABORTED, wave=0),
    )
    code, out, _ = run(capsys, *watch)
    assert code == 0
    statuses = [json.loads(line)["rollout"]["status"] for line in out.splitlines()]
    assert statuses == ["planned", "rolling", "aborted"]
    store.put(rollout_key("yolo"), encode_rollout(begun))
    meanwhile(interrupt)
    assert run(capsys, *watch)[0] == 0


def test_earlier_ones(store: MemoryStore, capsys: pytest.CaptureFixture[str]) -> None:
    """Listed, and looked at by their id."""
    id = a_begun(store, capsys).id
    archived(store, Status.ABORTED, "n1 went back")
    store.put(archive_key("yolo", "broken"), b"{")
    code, out, err = run(capsys, "rollout", "list", "yolo", *URL)
    assert code == 0
    assert all(text in out for text in (id, "aborted", "n1 went back", "anna"))
    assert "warning: key /models/yolo/rollouts/broken: the value is broken JSON" in err
    said = json.loads(run(capsys, "rollout", "list", "yolo", *URL, "--json")[1])
    assert [(r["id"], r["status"]) for r in said["rollouts"]] == [(id, "aborted")]
    assert "aborted" in run(capsys, "rollout", "status", "yolo", "--id", id, *URL)[1]
    assert run(capsys, "rollout", "status", "yolo", "--id", "nope", *URL)[0] == 1
    assert "no roll-out" in run(capsys, "rollout", "list", "seg", *URL)[1]


@pytest.mark.parametrize(
    ("verb", "before", "status", "why"),
    [
        ("pause", Status.ROLLING, Status.PAUSED, "paused by anna: ticket 7"),
        ("resume", Status.PAUSED, Status.ROLLING, "resumed by anna: ticket 7"),
        ("advance", Status.BAKING, Status.BAKING, "advanced by anna: ticket 7"),
        ("abort", Status.PAUSED, Status.ABORTING, "aborted by anna: ticket 7"),
    ],
)
def test_on_somebodys_word(
    store: MemoryStore,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    before: Status,
    status: Status,
    why: str,
) -> None:
    """Written with who said it and why; in another state it is refused, and stays as it is."""
    id = a_begun(store, capsys).id
    moves(store, status=before, wave=0)
    args = ["rollout", verb, "yolo", *URL, "--by", "anna", "--reason", "ticket 7"]
    code, out, err = run(capsys, *args)
    assert (code, err) == (0, "")
    assert out == f"roll-out {id} of yolo to v2 is {status}, wave 1 of 4: {why}\n"
    written = rollout_now(store)
    assert (written.status, written.why, written.advance) == (status, why, verb == "advance")
    ended = moves(store, status=Status.DONE)
    code, _, err = run(capsys, *args)
    assert (code, f"error: {verb} of roll-out {id}: it is done" in err) == (1, True)
    assert rollout_now(store) == ended


def test_that_nobody_acts_on_it_is_said(store: MemoryStore, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a coordinator."""
    a_begun(store, capsys)
    store.write({COORDINATOR_KEY: None})
    code, _, err = run(capsys, "rollout", "pause", "yolo", *URL)
    assert code == 0
    assert err.startswith("warning: no coordinator leads")


def test_side_by_side(store: MemoryStore, capsys: pytest.CaptureFixture[str]) -> None:
    """Means with intervals; where there is no figure, that is said."""
    begun = a_begun(store, capsys)
    plan = replace(begun.plan, waves=("canaries", "100%"), canaries=("n0", "n1"))
    moves(store, status=Status.BAKING, wave=0, plan=plan)
    for node, boxes in zip(NODES, (2.0, 4.0, 3.0, 3.5, 2.5, 3.0, 3.0, 3.0, 3.0, 3.0), strict=True):
        version, phase = ("v2", Phase.STABLE) if node in ("n0", "n1") else ("v1", Phase.NONE)
        says(store, node, Report(version=version, rollout=begun.id, phase=phase, frames=96, boxes=boxes))
    code, out, _ = run(capsys, "rollout", "compare", "yolo", *URL)
    assert code == 0
    row = next(line for line in out.splitlines() if line.strip().startswith("boxes a frame"))
    assert "3 (-9.706 to 15.71)" in row  # two nodes: 12.7 standard errors
    latency = next(line for line in out.splitlines() if line.strip().startswith("latency"))
    assert latency.count("n/a") == 3
    assert "2 of the nodes that are in were chosen, not drawn" in out
    said = json.loads(run(capsys, "rollout", "compare", "yolo", *URL, "--json")[1])
    assert said["inside"]["figures"]["boxes"]["mean"] == 3.0
    assert said["inside"]["figures"]["golden"] == {"count": 0, "mean": None, "low": None, "high": None}
    assert said["confidence"] == 0.95
