# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who leads, and for how long, on a store whose leases, answers and clock the test steers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from edgeagent.core.leader import Leader, encode_leader
from edgeagent.core.rollout import COORDINATOR_KEY as KEY
from edgeagent.errors import UnavailableError, UsageError
from edgeagent.fleet import lead as lead_module
from edgeagent.fleet.lead import Lead
from edgeagent.intent.port import ABSENT, Entry, Expected, Outcome

TTL_S = 15.0
AWAY = UnavailableError("config store", "away", "wait")


class PaperLease:
    """Lives for its time by the store's clock."""

    def __init__(self, store: PaperStore) -> None:
        self._store = store
        self.ends = store.now + TTL_S

    @property
    def lives(self) -> bool:
        return self._store.now < self.ends

    def keep_alive(self) -> bool:
        self._store.ask()
        lives = self.lives
        if lives:
            self.ends = self._store.now + TTL_S
        self._store.now += self._store.takes_s
        return lives

    def revoke(self) -> None:
        self._store.ask()
        self.ends = self._store.now


class PaperStore:
    """One key. away: nothing is answered. refused: nobody may read it. takes_s: an answer, after what was asked is done
    (seconds).

    loses: the answer of the next transaction gets lost; it does what becomes of it, and is given how to write it.
    """

    def __init__(self) -> None:
        self.now = 100.0
        self.away = self.refused = False
        self.takes_s = 0.0
        self.loses: Callable[[Callable[[], None]], None] | None = None
        self.leases: list[PaperLease] = []
        self._revision = 7
        self._entry: tuple[Entry, PaperLease | None] | None = None

    def clock(self) -> float:
        return self.now

    def ask(self) -> None:
        if self.away:
            raise AWAY

    def lease(self, ttl_s: float) -> PaperLease:
        self.ask()
        assert ttl_s == TTL_S
        self.leases.append(PaperLease(self))
        return self.leases[-1]

    def get(self, key: str) -> Entry:
        self.ask()
        if self.refused:
            raise UsageError("config store", "permission denied")
        if self._entry and (self._entry[1] is None or self._entry[1].lives):
            return self._entry[0]
        return Entry(key, None, ABSENT)

    def compare_and_set(
        self, expected: Sequence[Expected], writes: Mapping[str, bytes], lease: PaperLease
    ) -> Outcome:
        self.ask()
        assert list(expected) == [Expected(KEY, ABSENT)]
        loses, self.loses = self.loses, None
        if loses:
            loses(lambda: self.write(writes[KEY], lease))
            return Outcome.UNKNOWN
        if self.get(KEY).value is not None:
            return Outcome.REFUSED
        self.write(writes[KEY], lease)
        return Outcome.WRITTEN

    def write(self, value: bytes, lease: PaperLease | None = None) -> None:
        """By anybody."""
        self._revision += 1
        self._entry = (Entry(KEY, value, str(self._revision), str(self._revision)), lease)

    def delete(self) -> None:
        """By hand."""
        self._entry = None


@pytest.fixture
def store() -> PaperStore:
    """Empty."""
    return PaperStore()


@pytest.fixture
def lead(store: PaperStore) -> Lead:
    """One that may take the lead."""
    return candidate(store)


def candidate(store: PaperStore) -> Lead:
    """A further one."""
    return Lead(cast("Any", store), ttl_s=TTL_S, clock=store.clock)


OTHER = encode_leader(Leader("other", "press-07", 4711, 1.0))


def test_who_finds_no_leader_leads(store: PaperStore, lead: Lead) -> None:
    """And demands its own key of each writing. How long nobody led, one that has just begun can't know."""
    assert lead.expected is None
    lead.look()
    assert lead.expected == Expected(KEY, created=store.get(KEY).created)
    assert lead.leaderless_s is None
    assert lead.leader is not None
    assert lead.leader.pid > 0
    store.now += 5
    lead.look()
    assert lead.expected == Expected(KEY, created=store.get(KEY).created)
    assert lead.leaderless_s is None


def test_there_is_one_leader(store: PaperStore, lead: Lead) -> None:
    """A second one waits, however long, and holds no lease meanwhile; it knows who leads."""
    second = candidate(store)
    lead.look()
    for _ in range(20):
        store.now += 5
        lead.look()
        second.look()
        assert lead.expected
        assert not second.expected
        assert second.leaderless_s == 0
    assert second.leader == lead.leader
    assert len(store.leases) == 1


def test_who_saw_the_leader_vanish_takes_over_and_knows_since_when(store: PaperStore, lead: Lead) -> None:
    """The seconds since it was last seen: until it took the lead, and then no more."""
    second = candidate(store)
    lead.look()
    second.look()
    store.now += TTL_S - 1
    second.look()
    assert not second.expected
    store.now += 2
    assert second.leaderless_s == 2
    second.look()
    assert second.expected == Expected(KEY, created=store.get(KEY).created)
    assert second.leaderless_s == 2
    store.now += 10
    assert second.leaderless_s == 2


def test_one_that_was_suspended_leads_no_more(store: PaperStore, lead: Lead) -> None:
    """By its own clock, before it hears anything; then it sees its successor, and takes nothing from it."""
    second = candidate(store)
    lead.look()
    store.now += TTL_S
    assert lead.expected is None
    second.look()
    assert second.expected
    with capture_logs() as logs:
        lead.look()
    assert lead.expected is None
    assert lead.leader == second.leader
    assert [line["event"] for line in logs] == ["lead.lost", "lead.followed"]


def test_a_lease_that_ended_ends_the_lead(store: PaperStore, lead: Lead) -> None:
    """Whatever the clock says here; the next lead has another key, and knows how long nobody had it."""
    lead.look()
    before = lead.expected
    store.now += 4
    store.leases[0].ends = store.now
    lead.look()
    assert lead.expected not in (None, before)
    assert lead.leaderless_s == 4


def test_a_store_that_is_silent_ends_the_lead_in_time(store: PaperStore, lead: Lead) -> None:
    """Not before the lease may have ended; once it answers again and the key is still there, the lead goes on."""
    lead.look()
    before = lead.expected
    store.away = True
    store.now += TTL_S - 1
    for _ in range(2):
        with pytest.raises(UnavailableError):
            lead.look()
    assert lead.expected == before
    store.now += 1
    assert lead.expected is None
    assert lead.leaderless_s is None or lead.leaderless_s >= TTL_S
    store.away = False
    store.leases[0].ends = store.now + 3  # a server that was away begins leases anew
    lead.look()
    assert lead.expected == before
    assert lead.leaderless_s == 0


def test_an_answer_that_came_late_says_nothing_of_now(store: PaperStore, lead: Lead) -> None:
    """The lease was kept alive; that was longer ago than it lasts, for the process was suspended meanwhile."""
    lead.look()
    store.takes_s = TTL_S
    lead.look()
    assert lead.expected is None


def test_a_lost_answer_is_looked_for(store: PaperStore, lead: Lead) -> None:
    """The key may have been written all the same: it is known by the id in it."""
    store.loses = lambda write: write()
    lead.look()
    assert lead.expected == Expected(KEY, created=store.get(KEY).created)


def test_a_lost_answer_of_what_was_not_written(store: PaperStore, lead: Lead) -> None:
    """Nobody leads; the next look takes it, under the same lease."""
    store.loses = lambda write: None
    lead.look()
    assert lead.expected is None
    lead.look()
    assert lead.expected
    assert len(store.leases) == 1


def test_a_lost_answer_and_another_that_was_quicker(store: PaperStore, lead: Lead) -> None:
    """Its lease is given back, for what may still be on the way under it must not come."""
    store.loses = lambda write: store.write(OTHER)
    lead.look()
    assert lead.expected is None
    assert not store.leases[0].lives


def test_a_store_that_fails_after_the_key_was_written(store: PaperStore, lead: Lead) -> None:
    """The next look finds the key to be its own."""

    def then_away(write: Callable[[], None]) -> None:
        write()
        store.away = True

    store.loses = then_away
    with pytest.raises(UnavailableError):
        lead.look()
    store.away = False
    lead.look()
    assert lead.expected == Expected(KEY, created=store.get(KEY).created)


def test_a_key_that_is_deleted_by_hand_ends_the_lead(store: PaperStore, lead: Lead) -> None:
    """With what was demanded until then nothing can be written any more; a new key is a new lead."""
    lead.look()
    before = lead.expected
    store.delete()
    lead.look()
    assert lead.expected not in (None, before)


def test_a_key_that_is_written_by_hand_ends_the_lead(store: PaperStore, lead: Lead) -> None:
    """Somebody has it, whoever that is: nobody leads until it is gone."""
    lead.look()
    store.write(b"me!")
    for _ in range(3):
        store.now += 20
        lead.look()
        assert (lead.expected, lead.leader) == (None, None)
    store.delete()
    lead.look()
    assert lead.expected


def test_who_resigns_leaves_at_once_and_does_not_return(store: PaperStore, lead: Lead) -> None:
    """The next one needn't wait for a lease to end."""
    second = candidate(store)
    lead.look()
    second.look()
    lead.resign()
    assert lead.expected is None
    second.look()
    assert second.expected
    assert second.leaderless_s == 0
    second.resign()
    second.resign()
    lead.look()
    assert lead.expected is None
    assert store.get(KEY).value is None


def test_who_resigns_while_the_store_is_away_leads_no_more(store: PaperStore, lead: Lead) -> None:
    """The key goes with its lease."""
    lead.look()
    store.away = True
    with capture_logs() as logs:
        lead.resign()
    assert lead.expected is None
    assert [line["event"] for line in logs] == ["lead.lingers"]


def test_it_goes_on_looking(store: PaperStore, lead: Lead, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is said once, and tried again."""
    monkeypatch.setattr(lead_module, "_FAILED_S", (0.001, 0.001))
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks < 5:
            raise AWAY

    monkeypatch.setattr(lead, "look", look)
    monkeypatch.setattr(lead_module, "LOOK_S", (0.001, 0.001))

    async def until_it_has_looked() -> None:
        task = asyncio.create_task(lead.run())
        while looks < 10:
            await asyncio.sleep(0)
        task.cancel()

    with capture_logs() as logs:
        asyncio.run(asyncio.wait_for(until_it_has_looked(), 30))
    assert [line["event"] for line in logs] == ["lead.failed"]


def test_a_key_that_says_nobody_is_told_once(store: PaperStore, lead: Lead) -> None:
    """As long as it stands there nobody leads; who sees to it has to know that, and what to do."""
    with capture_logs() as logs:
        for value in (b"x", b"{}"):
            store.write(value)
            lead.look()
            lead.look()
    said = [line["todo"] for line in logs if line["event"] == "lead.unreadable"]
    assert said == [f"if no newer release wrote it, delete it: etcdctl del {KEY}"] * 2


def test_who_may_not_read_the_key_any_more_leaves_it_to_others(store: PaperStore, lead: Lead) -> None:
    """Such as when etcd got users: a lease is kept alive without any right, and nobody else could ever lead."""
    lead.look()
    store.refused = True
    for _ in range(10):
        store.now += TTL_S / 5
        with pytest.raises(UsageError):
            lead.look()
    assert lead.expected is None
    assert not store.leases[0].lives
