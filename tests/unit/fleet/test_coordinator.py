# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a coordinator makes of roll-outs, on a store whose clock and answers the test steers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from edgeagent.core.directive import current_key, decode_directive
from edgeagent.core.fleet_report import Phase
from edgeagent.core.rollout import ENDED, Limits, Plan, Rollout, Status, archive_key, rollout_key
from edgeagent.core.rollout_document import decode_rollout, encode_rollout
from edgeagent.core.rollout_steps import resumed
from edgeagent.errors import UnavailableError, UsageError
from edgeagent.fleet.coordinator import IDLE_S, OPEN_S, ORPHANED_S, Coordinator
from edgeagent.fleet.lead import TTL_S, Lead
from edgeagent.fleet.members import MemberReader
from edgeagent.intent.port import Entry, Expected, Outcome
from tests.support.memory_store import MemoryLease, MemoryStore
from tests.support.pretended_nodes import PretendedNodes

MODEL = "yolo"
NODES = [f"n{i}" for i in range(8)]
BAKE_S = 5.0
KEY, CURRENT = rollout_key(MODEL), current_key(MODEL)


class Killed(BaseException):
    """The process ends there."""


class RecordingStore(MemoryStore):
    """Remembers what was written, and kills who writes. kill_at: at which of the transactions, before (it is not
    written) or after it (it is)."""

    def __init__(self) -> None:
        super().__init__()
        self.kill_at: tuple[int, str] | None = None
        self.transactions = 0
        self.documents: list[tuple[float, Rollout]] = []

    def compare_and_set(
        self,
        expected: Sequence[Expected],
        writes: Mapping[str, bytes | None],
        lease: MemoryLease | None = None,
    ) -> Outcome:
        self.transactions += 1
        if self.kill_at == (self.transactions, "before"):
            raise Killed
        outcome = super().compare_and_set(expected, writes, lease)
        if self.kill_at == (self.transactions, "after"):
            raise Killed
        return outcome

    def write(self, writes: Mapping[str, bytes | None], lease: MemoryLease | None = None) -> None:
        super().write(writes, lease)
        for key, value in writes.items():
            if key in (KEY, archive_key(MODEL, "r1")) and value:
                rollout = decode_rollout(key, value)
                if not self.documents or self.documents[-1][1] != rollout:
                    self.documents.append((self.now, rollout))

    def rollout(self, model: str = MODEL) -> Rollout | None:
        """As it stands under its key."""
        value = self.value(rollout_key(model))
        return decode_rollout(KEY, value) if value else None

    def archived(self, model: str = MODEL) -> Rollout:
        """What became of it."""
        value = self.value(archive_key(model, "r1"))
        assert value
        return decode_rollout(KEY, value)

    def history(self) -> list[tuple[Status, int]]:
        """The states and waves that followed each other."""
        return [(rollout.status, rollout.wave) for _, rollout in self.documents]


class Process:
    """A process that may lead, driven by the test. patient: it goes on when the store doesn't answer."""

    def __init__(self, store: MemoryStore, **options: Any) -> None:
        self.patient = False
        self.lead = Lead(cast("Any", store), clock=store.clock)
        self.coordinator = Coordinator(cast("Any", store), self.lead, clock=store.clock, **options)

    def look(self) -> float:
        """Keeps the lead, and carries the roll-outs on. Returns how long it waits then."""
        try:
            self.lead.look()
            return self.coordinator.look()
        except UnavailableError:
            if not self.patient:
                raise
            return 1.0


@pytest.fixture
def store() -> RecordingStore:
    """With a version that serves everywhere."""
    store = RecordingStore()
    store.write({CURRENT: b"v1"})
    return store


@pytest.fixture
def nodes(store: RecordingStore) -> PretendedNodes:
    """Eight that have said what they serve."""
    nodes = PretendedNodes(cast("Any", store), MODEL, NODES, lease_s=1e9)
    nodes.act()
    return nodes


def planned(store: MemoryStore, model: str = MODEL, **limits: Any) -> Rollout:
    """A roll-out of v2 in three waves, as it begins; `plan_`: fields of its plan, others of its limits."""
    plan_fields = {k.removeprefix("plan_"): limits.pop(k) for k in list(limits) if k.startswith("plan_")}
    based_on = store.get(current_key(model)).revision
    plan = Plan("v2", "v1", based_on, "salt", waves=("1", "50%", "100%"), **plan_fields)
    return Rollout("r1", plan, Limits(**{"bake_seconds": BAKE_S, **limits}))


def begin(store: MemoryStore, model: str = MODEL, **changes: Any) -> None:
    """As `rollout start` writes it."""
    store.write({rollout_key(model): encode_rollout(planned(store, model, **changes))})


def run(
    store: RecordingStore,
    nodes: PretendedNodes,
    process: Process,
    until: Callable[[], bool],
    looks: int = 500,
) -> None:
    """Until it has come true, at the process's pace."""
    for _ in range(looks):
        if until():
            return
        pause = process.look()
        nodes.act()
        store.now += pause
    raise AssertionError(f"it did not come true; {store.history()}")


def ended(store: RecordingStore) -> Callable[[], bool]:
    """Whether the roll-out has ended."""
    return lambda: (rollout := store.rollout()) is None or rollout.status in ENDED


GOOD = [
    (Status.PLANNED, -1),
    (Status.ROLLING, 0),
    (Status.BAKING, 0),
    (Status.ROLLING, 1),
    (Status.BAKING, 1),
    (Status.ROLLING, 2),
    (Status.BAKING, 2),
    (Status.DONE, 2),
]


def check_waves(store: RecordingStore) -> None:
    """None was opened twice, and none before the one before it had baked."""
    opened = [(at, r.wave) for at, r in store.documents if r.status is Status.ROLLING]
    assert [wave for _, wave in opened] == [0, 1, 2]
    baking = {r.wave: at for at, r in store.documents if r.status is Status.BAKING}
    for at, wave in opened[1:]:
        assert at - baking[wave - 1] >= BAKE_S


def test_a_good_version_reaches_all(store: RecordingStore, nodes: PretendedNodes) -> None:
    """Wave by wave; then it is `current`, on the word of who began it, and the roll-out is kept as one that was."""
    begin(store, plan_by="anna", plan_reason="dents", plan_terms={"allow_slow": True})
    run(store, nodes, Process(store), ended(store))
    assert store.history() == GOOD
    check_waves(store)
    assert store.rollout() is None
    assert store.archived().status is Status.DONE
    current = decode_directive(CURRENT, store.value(CURRENT) or b"", "1")
    assert (current.version, current.by, current.reason, current.allow_slow) == ("v2", "anna", "dents", True)
    nodes.act()
    assert set(nodes.serving().values()) == {"v2"}


def test_a_bad_one_is_taken_back(store: RecordingStore, nodes: PretendedNodes) -> None:
    """Its document stays, so that a node which was away goes back by it; `current` never named it."""
    nodes.becomes = lambda node, version: Phase.ROLLED_BACK
    begin(store)
    process = Process(store)
    run(store, nodes, process, ended(store))
    assert store.history() == [*GOOD[:2], (Status.ABORTING, 0), (Status.ABORTED, 0)]
    assert store.rollout() == store.archived()
    assert store.value(CURRENT) == b"v1"
    transactions = store.transactions
    store.now += process.look()
    assert store.transactions == transactions, "it is left as it is"


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("version", ["good", "bad"])
def test_killed_at_any_writing_the_next_one_goes_on(version: str, side: str) -> None:
    """Whichever of its writings is cut off, before or after it has come about: the waves are the same."""
    for cut in range(2, 30):  # the first takes the lead
        store = RecordingStore()
        store.write({CURRENT: b"v1"})
        nodes = PretendedNodes(cast("Any", store), MODEL, NODES, lease_s=1e9)
        if version == "bad":
            nodes.becomes = lambda node, version: Phase.STABLE if node == "n0" else Phase.ROLLED_BACK
        nodes.act()
        begin(store)
        store.kill_at = (cut, side)
        try:
            run(store, nodes, Process(store), ended(store))
        except Killed:
            second = Process(store)  # one that is started again at once still sees the key of the first
            second.look()
            store.now += TTL_S
            run(store, nodes, second, ended(store))
        else:
            assert store.transactions < cut
            break
        if version == "good":
            assert store.history() == GOOD, cut
            check_waves(store)
            assert store.value(CURRENT) == b"v2"
        else:
            assert store.history()[-2:] == [(Status.ABORTING, 0), (Status.ABORTED, 0)], cut
            assert store.value(CURRENT) == b"v1"
    else:
        raise AssertionError("it never ran to its end")
    assert cut > 4


@pytest.mark.parametrize("how", ["written", "not written", "not sent"])
def test_an_answer_that_got_lost_is_looked_up(store: RecordingStore, nodes: PretendedNodes, how: str) -> None:
    """Of every single step: it is never taken for done, nor for not done."""
    lost: list[Mapping[str, bytes | None]] = []

    def lose(writes: Mapping[str, bytes | None]) -> Outcome | None:
        if KEY not in writes or writes in lost:
            return None
        lost.append(writes)
        if how == "not sent":
            raise UnavailableError("config store", "away", "wait")
        if how == "not written":
            store.write({KEY: store.value(KEY)})  # so that what was demanded doesn't hold
        return Outcome.UNKNOWN

    store.transacting = lose
    begin(store)
    process = Process(store)
    process.patient = True
    run(store, nodes, process, ended(store))
    assert store.history() == GOOD
    assert len(lost) >= len(GOOD) - 1
    check_waves(store)


@pytest.mark.parametrize("changed", [True, False])
def test_one_that_was_suspended_writes_nothing_more(
    store: RecordingStore, nodes: PretendedNodes, changed: bool
) -> None:
    """Between deciding and writing, for longer than its lease: another one leads, and the wave was halted or not."""
    begin(store)
    first, second = Process(store), Process(store)
    first.look()
    nodes.act()
    second.look()
    first.look()
    assert store.history()[-1] == (Status.BAKING, 0)

    def suspended(writes: Mapping[str, bytes | None]) -> None:
        store.transacting = lambda writes: None
        store.now += TTL_S
        rollout = store.rollout()
        assert rollout
        if changed:
            store.write({KEY: encode_rollout(replace(rollout, status=Status.PAUSED, why="by hand"))})
        second.look()

    store.transacting = suspended
    with capture_logs() as logs:
        while store.transacting is suspended:
            store.now += 5
            second.look()
            first.look()
    assert [line["outcome"] for line in logs if line["event"] == "rollout.not_stepped"] == ["refused"]
    assert store.history()[-1] == (Status.PAUSED if changed else Status.BAKING, 0)
    assert first.coordinator.look() > 0
    assert not first.coordinator.state.leads
    assert second.coordinator.state.leads
    assert first.coordinator.state.rollouts == {}


def test_of_two_that_are_started_at_once_one_writes(store: RecordingStore, nodes: PretendedNodes) -> None:
    """The other waits, and reads nothing but who leads."""
    begin(store)
    first, second = Process(store), Process(store)

    def other_waits() -> bool:
        asked = store.transactions
        assert second.look() < 1
        assert store.transactions == asked
        return store.rollout() is None

    first.look()
    run(store, nodes, first, other_waits)
    assert store.history() == GOOD
    assert second.coordinator.state.leader == first.coordinator.state.leader


def test_an_orphan_waits_for_somebody_to_look_at_it(store: RecordingStore, nodes: PretendedNodes) -> None:
    """Nobody led it for nobody knows how long; once it is resumed it goes on."""
    begin(store)
    first = Process(store)
    first.look()
    assert store.history()[-1] == (Status.ROLLING, 0)
    store.now += TTL_S
    second = Process(store)
    run(store, nodes, second, lambda: store.history()[-1] == (Status.PAUSED, 0), looks=2)
    paused = store.rollout()
    assert paused
    assert "no coordinator led it" in paused.why
    store.write(
        {KEY: encode_rollout(resumed(paused, MemberReader(cast("Any", store)).read().fleet(MODEL, "1")))}
    )
    run(store, nodes, second, ended(store))
    assert store.archived().status is Status.DONE


def test_how_long_it_may_be_led_by_nobody(store: RecordingStore, nodes: PretendedNodes) -> None:
    """One that saw the leader knows for how long nobody led."""
    for waited, status in ((ORPHANED_S - 1, Status.ROLLING), (ORPHANED_S + 1, Status.PAUSED)):
        begin(store, deadline_seconds=3600)
        first, second = Process(store), Process(store)
        first.look()
        second.look()
        store.now += waited
        second.look()
        second.look()
        assert store.history()[-1] == (status, 0)
        second.lead.resign()


def test_an_orphan_goes_on_where_that_is_wanted(store: RecordingStore, nodes: PretendedNodes) -> None:
    """However long nobody led."""
    begin(store)
    Process(store).look()
    store.now += 100 * ORPHANED_S
    run(store, nodes, Process(store, orphaned_s=None), ended(store))
    assert store.history() == GOOD


def test_only_what_is_taken_over_is_an_orphan(store: RecordingStore, nodes: PretendedNodes) -> None:
    """Not what this coordinator has opened itself, while another roll-out could not be paused yet."""
    store.write({current_key("zzz"): b"v1"})
    rolling = replace(planned(store, "zzz"), status=Status.ROLLING, wave=0, open_below=1)
    store.write({rollout_key("zzz"): encode_rollout(rolling)})
    begin(store)
    refused = rollout_key("zzz")
    store.transacting = lambda writes: _raise_once(store) if refused in writes else None

    def _raise_once(store: MemoryStore) -> None:
        store.transacting = lambda writes: None
        store.write({refused: encode_rollout(replace(rolling, plan=replace(rolling.plan, reason="again")))})

    process = Process(store)
    process.look()
    assert store.history()[-1] == (Status.ROLLING, 0)
    assert (_status(store, "zzz")) is Status.ROLLING
    store.now += process.look()
    process.look()
    assert _status(store, "zzz") is Status.PAUSED
    assert _status(store, MODEL) is not Status.PAUSED


def _status(store: RecordingStore, model: str) -> Status:
    rollout = store.rollout(model)
    assert rollout
    return rollout.status


def test_a_current_that_says_nothing_holds_the_roll_out_up(
    store: RecordingStore, nodes: PretendedNodes
) -> None:
    """No node takes it for an intent, so it supersedes nothing; what is written in its place does."""
    begin(store)
    process = Process(store)
    run(
        store,
        nodes,
        process,
        lambda: store.rollout(MODEL) is not None and _status(store, MODEL) is Status.ROLLING,
    )
    store.write({current_key(MODEL): b'{"version": '})
    process.look()
    process.look()
    assert _status(store, MODEL) is Status.ROLLING
    assert "broken JSON" in process.coordinator.state.broken[MODEL]
    store.write({current_key(MODEL): b"v1"})
    run(store, nodes, process, ended(store))
    assert store.history()[-1][0] is Status.SUPERSEDED


@pytest.mark.parametrize("value", [b"{", b"[]", b'{"id": "r1"}', b"\xff" * 8])
def test_a_broken_document_is_left_alone(store: RecordingStore, nodes: PretendedNodes, value: bytes) -> None:
    """It is said once; the roll-outs of the other models go on, and it goes on once it is put right."""
    store.write({rollout_key("aaa"): value, current_key("aaa"): b"v1", rollout_key("zzz"): value})
    begin(store)
    process = Process(store)
    with capture_logs() as logs:
        run(store, nodes, process, ended(store))
    assert store.history() == GOOD
    said = [line for line in logs if line["event"] == "rollout.broken"]
    assert [line["model"] for line in said] == ["aaa", "zzz"]
    assert store.value(rollout_key("aaa")) == value
    assert set(process.coordinator.state.broken) == {"aaa", "zzz"}
    begin(store, "aaa")
    process.look()
    assert set(process.coordinator.state.broken) == {"zzz"}


def test_a_model_that_may_not_be_written_leaves_the_others(
    store: RecordingStore, nodes: PretendedNodes
) -> None:
    """Its user may have rights for some models only."""

    def refused(writes: Mapping[str, bytes | None]) -> None:
        if rollout_key("aaa") in writes:
            raise UsageError("writing /models/aaa/rollout", "permission denied", "see user, role")

    store.transacting = refused
    store.write({current_key("aaa"): b"v1"})
    begin(store, "aaa")
    begin(store)
    process = Process(store)
    run(store, nodes, process, ended(store))
    assert store.history() == GOOD
    assert "permission denied" in process.coordinator.state.broken["aaa"]


def test_who_writes_current_decides(store: RecordingStore, nodes: PretendedNodes) -> None:
    """In the middle of a wave, and in the same instant in which the next one was to open: that doesn't come about."""
    begin(store)
    process = Process(store)
    run(store, nodes, process, lambda: store.history()[-1] == (Status.BAKING, 0))

    def meanwhile(writes: Mapping[str, bytes | None]) -> None:
        store.transacting = lambda writes: None
        store.write({CURRENT: b"v3"})

    store.transacting = meanwhile
    run(store, nodes, process, ended(store))
    assert store.history() == [*GOOD[:3], (Status.SUPERSEDED, 0)]
    assert store.value(CURRENT) == b"v3"
    assert store.archived().status is Status.SUPERSEDED


def test_a_new_roll_out_is_not_taken_for_superseded(store: RecordingStore, nodes: PretendedNodes) -> None:
    """Although the one before it ends, and it begins, while the keys are read."""
    process = Process(store)
    begin(store)
    process.look()
    read, changes = store.get, iter([True])

    def read_while_it_changes(key: str) -> Entry:
        entry = read(key)
        if key in (KEY, CURRENT) and next(changes, False):
            store.write({CURRENT: b"v2", KEY: None})
            plan = replace(planned(store).plan, came_from="v2", version="v3")
            store.write({KEY: encode_rollout(Rollout("r2", plan))})
        return entry

    store.get = read_while_it_changes  # type: ignore[method-assign]
    for _ in range(3):
        store.now += process.look()
    rollout = store.rollout()
    assert rollout
    assert (rollout.id, rollout.status) == ("r2", Status.ROLLING)


def test_what_nobody_saw_does_not_count(store: RecordingStore, nodes: PretendedNodes) -> None:
    """The store was away for a while: the wave bakes anew, for nodes may have gone meanwhile. It isn't paused: the key
    of the leader was there all the time."""
    begin(store)
    process = Process(store)
    run(store, nodes, process, lambda: store.history()[-1] == (Status.BAKING, 0))
    process.look()
    store.away = True
    with pytest.raises(UnavailableError):
        process.coordinator.look()
    store.now += 120
    store.away = False
    for lease in [entry[1] for entry in store._entries.values() if entry[1]]:
        lease.ends = store.now + 3600  # a new leader of etcd begins all leases anew
    back = store.now
    run(store, nodes, process, lambda: store.history()[-1] == (Status.ROLLING, 1))
    assert store.documents[-1][0] - back >= BAKE_S


def test_a_store_that_is_away_is_asked_again(store: RecordingStore, nodes: PretendedNodes) -> None:
    """What it answers with then is what counts; until then nothing is known."""
    begin(store)
    process = Process(store)
    process.look()
    store.away = True
    with pytest.raises(UnavailableError):
        process.coordinator.look()
    store.away = False
    run(store, nodes, process, ended(store))
    assert store.history() == GOOD


def test_it_looks_seldom_while_there_is_nothing_to_lead(store: RecordingStore, nodes: PretendedNodes) -> None:
    """Often while a roll-out is open; a model that came meanwhile is found in time."""
    process = Process(store)
    assert process.look() > OPEN_S * 1.2
    store.write({current_key("new"): b"v1"})
    begin(store, "new")
    for _ in range(10):
        store.now += IDLE_S
        process.look()
    assert _status(store, "new") is not Status.PLANNED
    begin(store)
    run(store, nodes, process, lambda: store.history()[-1] == (Status.BAKING, 0))
    assert process.look() <= OPEN_S * 1.2


def test_what_it_has_to_say(store: RecordingStore, nodes: PretendedNodes) -> None:
    """Whether it leads, who does, and the roll-outs under their keys."""
    process = Process(store)
    assert not process.coordinator.state.leads
    begin(store)
    process.look()
    process.look()
    state = process.coordinator.state
    assert state.leads
    assert state.leader == process.lead.leader
    assert state.in_words() == "leads; yolo: r1 to v2 is rolling, wave 1 of 3"


def test_who_ends_leaves_the_lead_to_who_waits(store: RecordingStore) -> None:
    """At once, while there is nothing to lead."""
    first, second = Process(store), Process(store)
    first.look()
    asyncio.run(first.coordinator.stop())
    assert store.closed
    second.look()
    assert second.coordinator.state.leads


def check_that_another_goes_on(store: RecordingStore, nodes: PretendedNodes) -> None:
    """One that is started now finds the key, waits until it ends with its lease, and ends the roll-out as it should."""
    another = Process(store)
    another.look()
    assert not another.coordinator.state.leads
    store.now += TTL_S
    run(store, nodes, another, ended(store))
    assert store.history() == GOOD


def test_who_ends_in_the_middle_of_a_roll_out_leaves_a_trace(
    store: RecordingStore, nodes: PretendedNodes
) -> None:
    """Its key ends with its lease: one that is started then knows that somebody led, and goes on."""
    begin(store)
    first = Process(store)
    run(store, nodes, first, lambda: store.history()[-1] == (Status.BAKING, 0))
    asyncio.run(first.coordinator.stop())
    check_that_another_goes_on(store, nodes)


def test_who_ends_before_it_has_looked_leaves_a_trace_too(
    store: RecordingStore, nodes: PretendedNodes
) -> None:
    """It took over just now: what it doesn't know of may be open."""
    begin(store)
    first, second = Process(store), Process(store)
    run(store, nodes, first, lambda: store.history()[-1] == (Status.BAKING, 0))
    second.lead.look()
    store.now += TTL_S
    second.lead.look()
    assert second.coordinator.state.leads
    asyncio.run(second.coordinator.stop())
    check_that_another_goes_on(store, nodes)


def test_it_goes_on_after_a_failure(store: RecordingStore) -> None:
    """And says what it was, once, until it has passed."""

    async def scenario() -> None:
        process = Process(store)
        process.lead.look()
        store.away = True
        looking = asyncio.create_task(process.coordinator.run())
        try:
            async with asyncio.timeout(60):
                while not process.coordinator.state.failure:
                    await asyncio.sleep(0.01)
                store.away = False
                while process.coordinator.state.failure:
                    await asyncio.sleep(0.01)
        finally:
            looking.cancel()
        assert process.coordinator.looks >= 2

    with capture_logs() as logs:
        asyncio.run(scenario())
    assert [line["event"] for line in logs if "coordinator" in line["event"]] == ["coordinator.failed"]
