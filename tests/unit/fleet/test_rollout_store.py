# SPDX-License-Identifier: AGPL-3.0-or-later
"""The roll-out in the config store: read, changed on somebody's word, found again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeagent.core.rollout import COORDINATOR_KEY, Rollout, Status, archive_key, rollout_key
from edgeagent.core.rollout_document import decode_rollout, encode_rollout
from edgeagent.core.rollout_steps import aborted, advanced, paused
from edgeagent.core.rollout_view import Fleet
from edgeagent.errors import ConflictError, NotFoundError, RolloutError, UnavailableError
from edgeagent.fleet.rollout_store import RolloutReader, all_rollouts, change_rollout, find_rollout
from edgeagent.intent.port import Entry, Outcome
from tests.support.fleets import LED, a_rollout
from tests.support.memory_store import MemoryStore

KEY = rollout_key("yolo")
ROLLING = a_rollout(Status.ROLLING)


@pytest.fixture
def store() -> MemoryStore:
    """With a roll-out under way."""
    store = MemoryStore()
    store.put(KEY, encode_rollout(ROLLING))
    return store


def test_it_is_written_as_it_was_changed(store: MemoryStore) -> None:
    """What comes back is what stands there, with a reason that is cut as whoever reads it cuts it."""
    written = change_rollout(store, "yolo", lambda rollout: paused(rollout, "x" * 5000))
    assert written.status is Status.PAUSED
    assert RolloutReader(store, "yolo").read().rollout == written
    assert len(written.why) < 2000


def test_who_writes_in_between_is_heeded(store: MemoryStore) -> None:
    """The change is made to what stands there by then."""
    opened = replace(ROLLING, wave=1, open_below=99)
    changed: list[Rollout] = []

    def change(rollout: Rollout) -> Rollout:
        if not changed:
            store.put(KEY, encode_rollout(opened))
        changed.append(rollout)
        return paused(rollout, "by anna")

    assert change_rollout(store, "yolo", change) == paused(opened, "by anna")
    assert changed == [ROLLING, opened]


@pytest.mark.parametrize("is_written", [True, False])
def test_an_answer_that_gets_lost(store: MemoryStore, is_written: bool) -> None:
    """It is looked whether it is there: what would be refused the second time was written the first."""
    answers = [Outcome.UNKNOWN]

    def transacting(writes: object) -> Outcome | None:
        if answers and not is_written:
            store.put(KEY, encode_rollout(ROLLING))  # another revision: nothing is written
        return answers.pop() if answers else None

    store.transacting = transacting
    assert change_rollout(store, "yolo", lambda r: aborted(r, "by anna")).status is Status.ABORTING
    assert RolloutReader(store, "yolo").read().rollout.why == "by anna"


@pytest.mark.parametrize("status", [Status.ROLLING, Status.DONE])
def test_a_wave_is_not_opened_twice_because_an_answer_gets_lost(
    store: MemoryStore, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the time that is noticed, a coordinator has opened it, or ended the roll-out after the last one."""
    opened = replace(ROLLING, wave=1, open_below=99)
    read = store.get

    def get(key: str) -> Entry:
        found = read(key)
        if key == KEY and found.value and decode_rollout(KEY, found.value).advance:
            store.write({KEY: None if status is Status.DONE else encode_rollout(opened)})
        return read(key)

    monkeypatch.setattr(store, "get", get)
    store.transacting = lambda writes: Outcome.UNKNOWN
    with pytest.raises(UnavailableError, match="the answer got lost, and since then it has gone further"):
        change_rollout(store, "yolo", lambda r: advanced(r, Fleet({}, "7")))
    found = read(KEY).value
    assert found is None if status is Status.DONE else found == encode_rollout(opened)


def test_what_cant_be_changed(store: MemoryStore) -> None:
    """One that has ended, one that isn't there, one that can't be read, one that never stands still."""
    store.put(KEY, encode_rollout(replace(ROLLING, status=Status.DONE)))
    with pytest.raises(ConflictError, match="it is done"):
        change_rollout(store, "yolo", lambda r: paused(r, ""))
    with pytest.raises(NotFoundError, match="roll-out of seg: there is none"):
        change_rollout(store, "seg", lambda r: paused(r, ""))
    store.put(KEY, b"{")
    with pytest.raises(RolloutError, match="broken JSON"):
        change_rollout(store, "yolo", lambda r: paused(r, ""))
    store.put(KEY, encode_rollout(ROLLING))
    store.transacting = lambda writes: store.put(KEY, encode_rollout(ROLLING))
    with pytest.raises(ConflictError, match="it was written 10 times"):
        change_rollout(store, "yolo", lambda r: paused(r, ""))


def test_an_earlier_one_is_found_where_it_went(store: MemoryStore) -> None:
    """Under its own key, also while the key of the roll-out holds something else or nothing that can be read."""
    earlier = replace(ROLLING, id="earlier", status=Status.DONE)
    store.put(archive_key("yolo", "earlier"), encode_rollout(earlier))
    assert find_rollout(store, "yolo", ROLLING.id) == ROLLING
    assert find_rollout(store, "yolo", "earlier") == earlier
    assert find_rollout(store, "yolo", "nope") is None
    store.put(KEY, b"{")
    assert find_rollout(store, "yolo", "earlier") == earlier


def test_all_of_them_the_oldest_first(store: MemoryStore) -> None:
    """One that stands under both keys is one; a broken one doesn't hide the others."""
    earlier = replace(ROLLING, id="20250101-000000-0000", status=Status.DONE)
    for rollout in (earlier, ROLLING):
        store.put(archive_key("yolo", rollout.id), encode_rollout(rollout))
    store.put(archive_key("yolo", "20250102-000000-0000"), b"{")
    found = all_rollouts(store, "yolo")
    assert (found[0], found[2]) == (earlier, ROLLING)
    assert isinstance(found[1], RolloutError)
    assert len(found) == 3


def test_what_is_seen_of_it(store: MemoryStore) -> None:
    """The roll-out, the revision of `current`, and whether somebody leads."""
    store.put("/models/yolo/current", b"v1")
    reader = RolloutReader(store, "yolo")
    seen = reader.read()
    assert seen.fleet.current_revision == store.get("/models/yolo/current").revision
    assert not seen.has_leader
    store.write({COORDINATOR_KEY: LED})
    assert reader.read().has_leader
    store.write({COORDINATOR_KEY: b"written by hand, which stops them all"})
    assert not reader.read().has_leader
    with pytest.raises(NotFoundError, match="roll-out nope of yolo: there is none"):
        RolloutReader(store, "yolo", "nope").read()


def test_one_that_cant_be_read_any_more_is_not_taken_for_none(store: MemoryStore) -> None:
    """Somebody wrote into its key; what has ended is found all the same."""
    store.put(KEY, b"{")
    with pytest.raises(RolloutError, match="broken JSON"):
        RolloutReader(store, "yolo", ROLLING.id).read()
    ended = replace(ROLLING, status=Status.DONE)
    store.put(archive_key("yolo", ended.id), encode_rollout(ended))
    assert RolloutReader(store, "yolo", ended.id).read().rollout == ended


def test_of_those_that_have_ended_the_last_is_seen(store: MemoryStore) -> None:
    """Once none is in force."""
    for id in ("20250102-000000-0000", "20250101-000000-ffff"):
        ended = replace(ROLLING, id=id, status=Status.DONE)
        store.put(archive_key("yolo", id), encode_rollout(ended))
    store.write({KEY: None})
    assert RolloutReader(store, "yolo").read().rollout.id == "20250102-000000-0000"
