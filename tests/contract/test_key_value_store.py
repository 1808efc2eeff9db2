# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every source of intent does that can be written, tried on each kind with its real server."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from edgeagent.errors import EdgeAgentError, UnavailableError, UsageError
from edgeagent.intent.port import ABSENT, Expected, KeyValueStore, Outcome
from edgeagent.testing import wait_for
from tests.support.intent_sources import STORES, Backend, Servers
from tests.support.recorder import Recorder

KEY = "/models/yolo/current"
LEADER = "/edgeagent/coordinator"
NODE = "/edgeagent/nodes/press-07"


@pytest.fixture(params=STORES)
def backend(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Backend]:
    """Each kind in turn."""
    made = servers.backend(request.param)
    yield made
    made.close()


def test_put_then_get(backend: Backend) -> None:
    """What was put is read back; each put is a new revision, and a watch agrees with get."""
    backend.store.put(KEY, b"v1")
    first = backend.store.get(KEY)
    backend.store.put(KEY, b"v1")
    second = backend.store.get(KEY)
    assert (first.key, first.value, second.value) == (KEY, b"v1", b"v1")
    assert first.revision != second.revision
    seen = Recorder()
    backend.store.watch([KEY], seen.on_entry, seen.on_connection)
    assert seen.wait_value(KEY, b"v1") == second


def test_what_the_operator_wrote_is_read(backend: Backend) -> None:
    """By their own tool; and what is not there has the revision that says so."""
    assert backend.store.get(KEY).revision == ABSENT
    backend.write(KEY, b"v1")
    assert backend.store.get(KEY).value == b"v1"


def test_a_value_as_large_as_it_takes_and_one_that_is_too_large(backend: Backend) -> None:
    """The first is read back whole; the second is the caller's fault, and the store goes on."""
    value = bytes(range(256)) * 4096
    backend.store.put(KEY, value[: backend.largest])
    assert backend.store.get(KEY).value == value[: backend.largest]
    with pytest.raises(UsageError):
        backend.store.put(KEY, value + value)
    with pytest.raises(UsageError):
        backend.store.compare_and_set([], {KEY: value + value})
    backend.store.put(KEY, b"v1")
    assert backend.store.get(KEY).value == b"v1"


def test_calls_while_the_store_is_away_fail(backend: Backend) -> None:
    """By an error that is worth another try; and the same store works when it is back."""
    backend.store.put(KEY, b"v1")
    backend.go_away()
    with pytest.raises(UnavailableError):
        backend.store.get(KEY)
    backend.come_back(KEY, b"v2")

    def read() -> bytes | None:
        try:
            return backend.store.get(KEY).value
        except UnavailableError:  # its client tries again after a pause
            return None

    assert wait_for(read, "an answer") == b"v2"


def test_calls_after_close_are_refused(backend: Backend) -> None:
    """With an error of ours."""
    backend.store.put(KEY, b"v1")
    backend.store.close()
    with pytest.raises(EdgeAgentError):
        backend.store.get(KEY)


def test_a_store_that_is_closed_gives_no_lease(leasing: Backend) -> None:
    """Nobody would end it: a node that has stopped would seem to live on."""
    leasing.store.put(KEY, b"v1")
    leasing.store.close()
    with pytest.raises(EdgeAgentError):
        leasing.store.lease(30)


def test_list_gives_all_keys_under_a_prefix_and_no_other(backend: Backend) -> None:
    """Sorted, with values and revisions as get has them; nothing under a prefix that nobody wrote."""
    for key in ("/models/a/current", "/models/a/pins/n1", "/models/ab/current", "/model", "/modelsx/a", "/z"):
        backend.store.put(key, key.encode())
    listed = backend.store.list("/models/")
    assert [e.key for e in listed] == ["/models/a/current", "/models/a/pins/n1", "/models/ab/current"]
    assert listed == [backend.store.get(e.key) for e in listed]
    assert [e.key for e in backend.store.list("/models/a/")] == ["/models/a/current", "/models/a/pins/n1"]
    assert backend.store.list("/nothing/") == []
    with pytest.raises(UsageError, match="slash"):
        backend.store.list("/models")


def test_compare_and_set_writes_what_is_still_as_it_was_read(backend: Backend) -> None:
    """Once; the second time the revision is another. Nothing of a refused transaction is written."""
    backend.store.put(KEY, b"v1")
    read = backend.store.get(KEY)
    new = "/models/yolo/rollouts/r1"
    both = {KEY: b"v2", new: b"{}"}
    assert backend.store.compare_and_set([Expected(KEY, read.revision)], both) is Outcome.WRITTEN
    assert [e.value for e in backend.store.list("/models/")] == [b"v2", b"{}"]
    stale = {KEY: b"v3", new: b"{1}", "/models/yolo/x": b"x"}
    assert backend.store.compare_and_set([Expected(KEY, read.revision)], stale) is Outcome.REFUSED
    assert [e.value for e in backend.store.list("/models/")] == [b"v2", b"{}"]
    assert backend.store.compare_and_set([Expected(KEY)], {KEY: b"v4"}) is Outcome.WRITTEN


def test_compare_and_set_demands_that_a_key_is_absent(backend: Backend) -> None:
    """Of the key that is written, and of another one."""
    absent = [Expected(KEY, ABSENT)]
    assert backend.store.compare_and_set(absent, {KEY: b"v1"}) is Outcome.WRITTEN
    assert backend.store.compare_and_set(absent, {KEY: b"v2"}) is Outcome.REFUSED
    assert backend.store.compare_and_set(absent, {NODE: b"n"}) is Outcome.REFUSED
    assert backend.store.compare_and_set([Expected(NODE, ABSENT)], {KEY: b"v3"}) is Outcome.WRITTEN
    assert (backend.store.get(KEY).value, backend.store.get(NODE).value) == (b"v3", None)


def test_compare_and_set_deletes(backend: Backend) -> None:
    """A value of None; also of a key that isn't there."""
    backend.store.put(KEY, b"v1")
    read = backend.store.get(KEY)
    writes = {KEY: None, NODE: None, "/models/yolo/old": b"v1"}
    assert backend.store.compare_and_set([Expected(KEY, read.revision)], writes) is Outcome.WRITTEN
    assert backend.store.get(KEY).revision == ABSENT
    assert [e.key for e in backend.store.list("/models/")] == ["/models/yolo/old"]


def test_compare_and_set_without_writes_is_a_check(backend: Backend) -> None:
    """Of all expectations at once; what doesn't hold is refused, and nothing is written in either case."""
    backend.store.put(KEY, b"v1")
    backend.store.put("/models/yolo/rollout", b"{}")
    one, two = backend.store.get(KEY), backend.store.get("/models/yolo/rollout")
    both = [Expected(KEY, one.revision), Expected(two.key, two.revision)]
    assert backend.store.compare_and_set(both, {}) is Outcome.WRITTEN
    assert backend.store.compare_and_set([Expected(NODE, ABSENT), both[0]], {}) is Outcome.WRITTEN
    assert backend.store.compare_and_set([both[0], Expected(two.key, ABSENT)], {}) is Outcome.REFUSED
    assert backend.store.list("/models/") == [one, two]
    assert backend.store.get(NODE).revision == ABSENT
    backend.store.put(two.key, b"{}")
    assert backend.store.compare_and_set(both, {}) is Outcome.REFUSED


def test_a_check_of_a_store_that_is_away_fails(backend: Backend) -> None:
    """By an error that is worth another try, never by an outcome."""
    backend.store.put(KEY, b"v1")
    read = backend.store.get(KEY)
    backend.go_away()
    with pytest.raises(UnavailableError):
        backend.store.compare_and_set([Expected(KEY, read.revision)], {})
    backend.come_back(KEY, b"v2")


def test_of_many_who_write_at_once_each_revision_has_one_winner(backend: Backend) -> None:
    """Four writers count to 40 together: none overwrites what another one has just counted."""
    backend.store.put(KEY, b"0")
    won: list[int] = []

    def count(store: KeyValueStore) -> None:
        while (read := store.get(KEY)).value != b"40":
            following = int(read.value or b"") + 1
            if (
                store.compare_and_set([Expected(KEY, read.revision)], {KEY: b"%d" % following})
                is Outcome.WRITTEN
            ):
                won.append(following)

    threads = [threading.Thread(target=count, args=(backend.another(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(won) == list(range(1, 41))


def test_a_key_under_a_lease_goes_with_it(leasing: Backend) -> None:
    """Kept alive it stays, unwritten; revoked it is gone, and said to be; the rest stays. Twice revoked is once."""
    lease = leasing.store.lease(30)
    leasing.store.put(NODE, b"{}", lease)
    leasing.store.put(KEY, b"v1")
    first = leasing.store.get(NODE)
    assert lease.keep_alive()
    assert leasing.store.get(NODE) == first
    lease.revoke()
    lease.revoke()
    assert not lease.keep_alive()
    assert leasing.store.get(NODE).revision == ABSENT
    assert leasing.store.get(KEY).value == b"v1"


def test_a_key_can_be_written_again_under_another_lease(leasing: Backend) -> None:
    """As a node does that was started again before its old lease ended: the key goes with the new one."""
    old, new = leasing.store.lease(30), leasing.another().lease(30)
    leasing.store.put(NODE, b"old", old)
    leasing.store.put(NODE, b"new", new)
    old.revoke()
    assert leasing.store.get(NODE).value == b"new"
    new.revoke()
    assert leasing.store.get(NODE).value is None


def test_a_lease_ends_when_its_process_dies(leasing: Backend) -> None:
    """Killed with -9: nobody keeps it alive any more, and it takes its keys along."""
    program = (
        "import sys, time\n"
        "from edgeagent.intent.url import open_store\n"
        "store = open_store(sys.argv[1])\n"
        f"store.put({NODE!r}, b'{{}}', store.lease(3))\n"
        "print('written', flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, leasing.store.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"written\n"
        finally:
            process.kill()
    seen = Recorder()
    leasing.store.watch([NODE], seen.on_entry, seen.on_connection)
    seen.wait_value(NODE, None)


def test_one_leader_at_a_time(leasing: Backend) -> None:
    """The key is there or not; a leader whose lease has ended can't write, also when its successor has it now."""
    one, two = leasing.store, leasing.another()
    rollout = "/models/yolo/rollout"
    first, second = one.lease(30), two.lease(30)
    vacant = [Expected(LEADER, ABSENT)]
    assert one.compare_and_set(vacant, {LEADER: b"one"}, first) is Outcome.WRITTEN
    assert two.compare_and_set(vacant, {LEADER: b"two"}, second) is Outcome.REFUSED
    mine = Expected(LEADER, created=one.get(LEADER).created)
    assert one.compare_and_set([mine, Expected(rollout, ABSENT)], {rollout: b"1"}) is Outcome.WRITTEN
    assert two.compare_and_set([mine], {}) is Outcome.WRITTEN
    seen = one.get(rollout)
    first.revoke()
    assert one.compare_and_set([mine, Expected(rollout, seen.revision)], {rollout: b"2"}) is Outcome.REFUSED
    assert two.compare_and_set([mine], {}) is Outcome.REFUSED
    assert two.compare_and_set(vacant, {LEADER: b"two"}, second) is Outcome.WRITTEN
    assert two.compare_and_set([mine], {}) is Outcome.REFUSED
    assert one.compare_and_set([mine, Expected(rollout, seen.revision)], {rollout: b"2"}) is Outcome.REFUSED
    assert one.get(rollout) == seen


def test_a_folder_says_that_it_has_no_leases(servers: Servers) -> None:
    """And what has."""
    with pytest.raises(UsageError, match="etcd or ZooKeeper"):
        servers.backend("folder").store.lease(30)
