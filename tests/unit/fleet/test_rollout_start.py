# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a roll-out may begin, and what is said before it does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from edgeagent.core.directive import current_key, pin_key
from edgeagent.core.fleet_report import Phase, Report, encode_report, report_key
from edgeagent.core.rollout import (
    CANARIES,
    COORDINATOR_KEY,
    Limits,
    Plan,
    Status,
    archive_key,
    rollout_key,
)
from edgeagent.core.rollout_document import decode_rollout, encode_rollout
from edgeagent.errors import ConflictError, DirectiveError, EdgeAgentError, UnavailableError, UsageError
from edgeagent.fleet.presence import presence_key
from edgeagent.fleet.rollout_start import Start, begin_rollout, new_id, prepare_rollout
from edgeagent.intent.port import Outcome
from tests.support.fleets import ID, LED, a_rollout
from tests.support.memory_store import MemoryStore

KEY, CURRENT = rollout_key("yolo"), current_key("yolo")


@pytest.fixture
def store() -> MemoryStore:
    """Three nodes with v1 and a coordinator; n3 is away."""
    store = MemoryStore()
    store.put(CURRENT, b"v1")
    store.put(COORDINATOR_KEY, LED)
    for node in ("n1", "n2", "n3"):
        say(store, node, Report(version="v1", labels={"line": node}))
    for node in ("n1", "n2"):
        store.put(presence_key(node), b'{"models": {}}')
    return store


def say(store: MemoryStore, node: str, report: Report) -> None:
    """A node reports."""
    store.put(report_key(node, "yolo"), encode_report(report))


def prepare(store: MemoryStore, replace_unreadable: bool = False, **plan: Any) -> Start:
    """A roll-out to v2, unless the plan says otherwise."""
    asked = replace(Plan("v2", "", "", "", by="anna"), **plan)
    return prepare_rollout(store, "yolo", asked, Limits(), replace_unreadable)


def test_it_begins_from_what_current_says(store: MemoryStore) -> None:
    """With a salt of its own, based on the revision of `current`; nothing is written before it is to be."""
    start, other = prepare(store), prepare(store)
    assert store.value(KEY) is None
    begin_rollout(store, start)
    written = decode_rollout(KEY, store.value(KEY) or b"")
    assert written == start.rollout
    assert (written.plan.came_from, written.plan.version, written.status) == ("v1", "v2", Status.PLANNED)
    assert written.plan.based_on == store.get(CURRENT).revision
    assert (written.id, written.plan.salt) != (other.rollout.id, other.rollout.plan.salt)
    assert start.warnings == ()


def test_its_id_says_when_it_began() -> None:
    """In UTC, and two of one second differ."""
    now = datetime(2026, 11, 29, 10, 15, tzinfo=UTC)
    ids = {new_id(now) for _ in range(20)}
    assert len(ids) > 15
    assert all(re.fullmatch(r"20261129-101500-[0-9a-f]{4}", id) for id in ids)


@pytest.mark.parametrize(
    ("writes", "plan", "error", "says"),
    [
        ({CURRENT: None}, {}, ConflictError, "there is no `current`"),
        ({CURRENT: b"v2"}, {}, ConflictError, "v2 is what `current` says already"),
        ({CURRENT: b'{"version": "v3", "preload": true}'}, {}, ConflictError, "only has v3 made ready"),
        ({CURRENT: b'{"version": 1'}, {}, DirectiveError, "broken JSON"),
        (
            {KEY: encode_rollout(a_rollout(Status.ROLLING))},
            {},
            ConflictError,
            f"{ID} to v2 is under way, it is r",
        ),
        ({KEY: b"{"}, {}, ConflictError, "--replace-unreadable"),
        ({}, {"waves": ("5%", "1%", "100%")}, UsageError, "they don't grow"),
        ({}, {"waves": ("5%",)}, UsageError, "the last is not 100%"),
        ({}, {"waves": ("many", "100%")}, UsageError, "neither a count, a share"),
        ({}, {"terms": {"nope": 1}}, UsageError, "the terms"),
        ({}, {"waves": (CANARIES, "100%"), "canaries": ("n9",)}, UsageError, "no node of this name"),
        ({}, {"waves": (CANARIES, "100%"), "canaries": ("n3",)}, UsageError, "no node that is there"),
        (
            {},
            {"waves": (CANARIES, "100%"), "selector": {"line": "z"}},
            UsageError,
            "canaries line=z: no node",
        ),
    ],
)
def test_it_may_not_begin(
    store: MemoryStore,
    writes: Mapping[str, bytes | None],
    plan: dict[str, Any],
    error: type[EdgeAgentError],
    says: str,
) -> None:
    """Nothing is written then, and it is said why."""
    store.write(writes)
    before = store.value(KEY)
    with pytest.raises(error, match=re.escape(says)):
        prepare(store, **plan)
    assert store.value(KEY) == before


def test_canaries_of_which_one_is_there(store: MemoryStore) -> None:
    """By name and by label; an absent one comes in when it comes."""
    plan = {"waves": (CANARIES, "100%"), "canaries": ("n3",), "selector": {"line": "n2"}}
    assert prepare(store, **plan).rollout.plan.canaries == ("n3",)


def test_one_that_has_ended_makes_room(store: MemoryStore) -> None:
    """It is kept among the earlier ones."""
    ended = encode_rollout(a_rollout(Status.ABORTED))
    store.put(KEY, ended)
    begin_rollout(store, prepare(store))
    assert store.value(archive_key("yolo", ID)) == ended
    assert decode_rollout(KEY, store.value(KEY) or b"").id != ID


def test_a_value_that_cant_be_read_is_written_over_if_that_is_asked_for(store: MemoryStore) -> None:
    """And it is said."""
    store.put(KEY, b"{")
    start = prepare(store, replace_unreadable=True)
    assert "it is written over" in start.warnings[0]
    begin_rollout(store, start)
    assert decode_rollout(KEY, store.value(KEY) or b"") == start.rollout


@pytest.mark.parametrize("key", [CURRENT, KEY])
def test_somebody_is_quicker(store: MemoryStore, key: str) -> None:
    """Who writes `current`, or begins another one, between looking and writing."""
    start = prepare(store)
    store.put(key, b"v7")
    with pytest.raises(ConflictError, match="just now"):
        begin_rollout(store, start)
    assert store.value(key) == b"v7"


def test_an_answer_that_gets_lost(store: MemoryStore) -> None:
    """It has begun if it is there."""
    start = prepare(store)
    store.transacting = lambda writes: Outcome.UNKNOWN
    begin_rollout(store, start)
    with pytest.raises(UnavailableError, match="the answer got lost"):
        begin_rollout(store, prepare_again(store))


def prepare_again(store: MemoryStore) -> Start:
    """One that can't be written any more."""
    store.write({KEY: None})
    start = prepare(store)
    store.put(CURRENT, b"v7")
    return start


def test_who_will_not_follow_is_named(store: MemoryStore) -> None:
    """Pinned or held, by the keys, the presence or the report; they belong to no wave."""
    store.put(pin_key("yolo", "n1"), b"v9")
    held = {"models": {"yolo": {"state": "STABLE", "held": {"kind": "rollback", "version": "v0"}}}}
    store.put(presence_key("n2"), json.dumps(held).encode())
    say(store, "n4", Report(version="v1", phase=Phase.EXCUSED, why="held on v1 by eve"))
    say(store, "n5", Report(version="v1", phase=Phase.STABLE, rollout="earlier"))
    for node in ("n4", "n5"):
        store.put(presence_key(node), b"{}")
    start = prepare(store)
    assert start.excused == {"n1": "pinned to v9", "n2": "rollback to v0", "n4": "held on v1 by eve"}
    assert start.warnings == (
        "3 of the nodes will not follow it: n1 (pinned to v9), n2 (rollback to v0), n4 (held on v1 by eve)",
    )
    assert {n for n, m in start.fleet.members.items() if m.report.phase is Phase.EXCUSED} == {
        "n1",
        "n2",
        "n4",
    }


def test_a_pin_that_cant_be_read_pins_even_so(store: MemoryStore) -> None:
    """The node serves what it served before."""
    store.put(pin_key("yolo", "n1"), b"{")
    assert prepare(store).excused == {"n1": "pinned to ?"}


def test_nobody_leads_and_nobody_is_there(store: MemoryStore) -> None:
    """That is said, and is no reason not to begin."""
    store.write({COORDINATOR_KEY: None, presence_key("n1"): None, presence_key("n2"): None})
    assert [warning.partition(":")[0] for warning in prepare(store).warnings] == [
        "no node that is there uses yolo and follows the fleet",
        "no coordinator leads",
    ]


def test_who_does_not_report_is_in_no_wave(store: MemoryStore) -> None:
    """Nobody sees what such nodes do, and all of them follow `current` when it becomes the version."""
    assert prepare(store).warnings == ()
    store.put(presence_key("old-1"), b'{"models": {"yolo": {"active": {"version": "v1"}}}}')
    store.put(presence_key("other"), b'{"models": {"seg": {}}}')
    (warning,) = prepare(store).warnings
    assert warning.startswith("in no wave (an earlier release")
    assert warning.endswith("when it is done: old-1")


def test_who_has_refused_the_version_before(store: MemoryStore) -> None:
    """Or went back from it, or could not prepare it: of a roll-out of this version, not of another one."""
    earlier = replace(a_rollout(Status.ABORTED), id="r1")
    store.put(archive_key("yolo", "r1"), encode_rollout(earlier))
    other = replace(earlier, id="r2", plan=replace(earlier.plan, version="v3"))
    store.put(archive_key("yolo", "r2"), encode_rollout(other))
    say(store, "n1", Report(version="v1", rollout="r1", phase=Phase.REFUSED, why="too slow"))
    say(store, "n2", Report(version="v1", rollout="r2", phase=Phase.REFUSED, why="too slow"))
    say(store, "n3", Report(version="v1", rollout="r1", preload_refused="no room"))
    assert prepare(store).refused_before == {"n1": "too slow", "n3": "no room"}
