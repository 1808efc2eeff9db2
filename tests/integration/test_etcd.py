# SPDX-License-Identifier: AGPL-3.0-or-later
"""The etcd adapter against real servers that die, hang, forget, refuse and come back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import pytest

from edgeagent.cli.main import main
from edgeagent.errors import UnavailableError, UsageError
from edgeagent.intent import etcd, etcd_watch
from edgeagent.intent.etcd import EtcdConfigStore
from edgeagent.intent.etcd_client import Client
from edgeagent.intent.port import ABSENT, Access, Connection, Expected, Outcome, Tls
from tests.support.certificates import Authority
from tests.support.etcd import EtcdServer, etcd_cluster, free_port
from tests.support.recorder import Recorder

KEY = "/models/yolo/current"
NODE = "/edgeagent/nodes/press-07"
NEVER_READ = (600.0, 600.0)  # no safety read: what is seen was notified
WAITS_S = 60.0  # longer than anything takes that does not wait
QUICK = (0.05, 0.5)


def eventually(fulfilled: Callable[[], bool], deadline_s: float = 120.0) -> None:
    """Wait for a condition."""
    give_up = time.monotonic() + deadline_s
    while not fulfilled():
        assert time.monotonic() < give_up, "it did not come true"
        time.sleep(0.05)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EtcdServer]:
    """A server of the test's own, started."""
    with EtcdServer(tmp_path / "server") as server:
        yield server


@pytest.fixture
def opened() -> Iterator[list[EtcdConfigStore]]:
    """Stores put in here are closed at the end."""
    stores: list[EtcdConfigStore] = []
    yield stores
    for store in stores:
        store.close()


def test_a_watch_survives_kill_9_again_and_again(server: EtcdServer, opened: list[EtcdConfigStore]) -> None:
    """Resumed by notification after each restart; the last value is never missed, none is reported twice."""
    store = EtcdConfigStore([server.endpoint], read_every_s=NEVER_READ, backoff_s=QUICK)
    opened.append(store)
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, None)
    for n in range(4):
        server.etcdctl("put", KEY, f"before-{n}")
        server.kill()
        seen.wait_connected(False)
        server.start()
        seen.wait_connected(True)
        seen.wait_value(KEY, b"before-%d" % n)
        server.etcdctl("put", KEY, f"after-{n}")
        seen.wait_value(KEY, b"after-%d" % n)
    revisions = [e.revision for e in seen.entries]
    assert len(set(revisions)) == len(revisions)
    # Why it is away may change while it is: reset at first, then refused.
    assert [up for up, _ in groupby(seen.connections, attrgetter("connected"))] == [True] + 4 * [False, True]


def test_compaction_while_disconnected(server: EtcdServer, opened: list[EtcdConfigStore]) -> None:
    """The history since the last event is gone; the present is read instead, and notification goes on."""
    store = EtcdConfigStore([server.endpoint], read_every_s=NEVER_READ, backoff_s=(1.0, 1.0))
    opened.append(store)
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, None)
    server.kill()
    seen.wait_connected(False)
    server.start()
    for n in range(20):
        server.etcdctl("put", KEY, f"v{n}")
    revision = store.get(KEY).revision
    server.etcdctl("compact", revision)
    seen.wait_value(KEY, b"v19")
    server.etcdctl("put", KEY, "v20")
    seen.wait_value(KEY, b"v20")


def test_a_compacted_start_revision_leads_to_another_read(
    server: EtcdServer, opened: list[EtcdConfigStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Etcd cancels a watch that would begin before the compaction; reading again is the answer."""
    for n in range(5):
        server.etcdctl("put", KEY, f"v{n}")
    server.etcdctl("compact", "5")
    store = EtcdConfigStore([server.endpoint], read_every_s=NEVER_READ, backoff_s=QUICK)
    opened.append(store)
    asked: list[int] = []

    class TooEarlyOnce(etcd_watch.Hints):
        def __init__(self, client: Client, keys: tuple[str, ...], start_revision: int) -> None:
            asked.append(start_revision)
            super().__init__(client, keys, 2 if len(asked) == 1 else start_revision)

    monkeypatch.setattr(etcd_watch, "Hints", TooEarlyOnce)
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    eventually(lambda: len(asked) == 2)
    server.etcdctl("put", KEY, "v5")
    seen.wait_value(KEY, b"v5")
    assert [e.value for e in seen.entries] == [b"v4", b"v5"]
    assert seen.connections == [Connection(True)]


def test_a_dead_endpoint_first(server: EtcdServer, opened: list[EtcdConfigStore]) -> None:
    """The next one is used, for calls and for the watch, without a word about a broken connection."""
    dead = f"127.0.0.1:{free_port()}"
    store = EtcdConfigStore([dead, server.endpoint], read_every_s=NEVER_READ, backoff_s=QUICK)
    opened.append(store)
    store.put(KEY, b"v1")
    assert store.get(KEY).value == b"v1"
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, b"v1")
    server.etcdctl("put", KEY, "v2")
    seen.wait_value(KEY, b"v2")
    assert seen.connections == [Connection(True)]


def test_fail_over_to_another_member(tmp_path: Path, opened: list[EtcdConfigStore]) -> None:
    """When the endpoint in use dies, the watch goes on with the other, here another cluster with lower revisions."""
    with EtcdServer(tmp_path / "a") as one, EtcdServer(tmp_path / "b") as two:
        for n in range(10):
            one.etcdctl("put", KEY, f"a{n}")
        two.etcdctl("put", KEY, "b")
        store = EtcdConfigStore([one.endpoint, two.endpoint], read_every_s=NEVER_READ, backoff_s=QUICK)
        opened.append(store)
        seen = Recorder()
        store.watch([KEY], seen.on_entry, seen.on_connection)
        high = seen.wait_value(KEY, b"a9")
        one.kill()
        low = seen.wait_value(KEY, b"b")
        assert int(low.revision) < int(high.revision)
        two.etcdctl("put", KEY, "c")
        seen.wait_value(KEY, b"c")


def test_a_restored_cluster_with_lower_revisions(tmp_path: Path, opened: list[EtcdConfigStore]) -> None:
    """The data were lost and the server begins at revision 1: what it says now is reported, and followed."""
    server = EtcdServer(tmp_path / "server")
    with server:
        for n in range(10):
            server.etcdctl("put", KEY, f"old{n}")
        store = EtcdConfigStore([server.endpoint], read_every_s=NEVER_READ, backoff_s=QUICK)
        opened.append(store)
        seen = Recorder()
        store.watch([KEY], seen.on_entry, seen.on_connection)
        seen.wait_value(KEY, b"old9")
        server.kill()
        seen.wait_connected(False)
        (tmp_path / "server" / "data").rename(tmp_path / "lost")
        server.start()
        seen.wait_value(KEY, None)
        server.etcdctl("put", KEY, "new")
        seen.wait_value(KEY, b"new")


@pytest.mark.parametrize("found_by", ["keepalive", "safety read"])
def test_a_server_that_falls_silent(tmp_path: Path, opened: list[EtcdConfigStore], found_by: str) -> None:
    """Frozen, it neither answers nor closes its connections: noticed all the same, and well again when it goes on."""
    with EtcdServer(tmp_path / "server", "--grpc-keepalive-min-time", "500ms") as server:
        store = EtcdConfigStore(
            [server.endpoint],
            deadline_s=1.0,
            read_every_s=NEVER_READ if found_by == "keepalive" else (1.0, 2.0),
            keepalive_s=(1.0, 1.0) if found_by == "keepalive" else (600.0, 600.0),
            backoff_s=QUICK,
        )
        opened.append(store)
        seen = Recorder()
        store.watch([KEY], seen.on_entry, seen.on_connection)
        seen.wait_value(KEY, None)
        server.freeze()
        try:
            seen.wait_connected(False)
            with pytest.raises(UnavailableError, match="no answer in time"):
                store.get(KEY)
            with pytest.raises(UnavailableError):
                store.lease(10)
        finally:
            server.thaw()
        server.etcdctl("put", KEY, "v1")
        seen.wait_value(KEY, b"v1")
        seen.wait_connected(True)


def test_a_deaf_watch_says_so_soon(server: EtcdServer, opened: list[EtcdConfigStore]) -> None:
    """Nobody closed the connection, and no ping is due: the keys are read all the time, so it can't stay unnoticed."""
    store = EtcdConfigStore([server.endpoint], keepalive_s=(600.0, 600.0))
    opened.append(store)
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, None)
    began = time.monotonic()
    server.freeze()
    try:
        seen.wait_connected(False)
    finally:
        server.thaw()
    assert time.monotonic() - began < 15, "as long as it took when the keys were read every 15 s"


def test_a_store_that_returns_is_read_at_once(server: EtcdServer, opened: list[EtcdConfigStore]) -> None:
    """However long the pause between two attempts has become: what begins to answer ends it."""
    store = EtcdConfigStore([server.endpoint], backoff_s=(3600.0, 3600.0))
    opened.append(store)
    seen = Recorder()
    watch = store.watch([KEY], seen.on_entry, seen.on_connection)
    assert isinstance(watch, etcd_watch.EtcdWatch)
    seen.wait_value(KEY, None)
    server.kill()
    seen.wait_connected(False)
    eventually(lambda: not watch._answered)  # it is asked meanwhile, and silent
    server.start()
    server.etcdctl("put", KEY, "v1")
    seen.wait_value(KEY, b"v1")


def test_a_full_database_is_said(
    tmp_path: Path,
    opened: list[EtcdConfigStore],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Etcd can be read and takes no writing: the status says it, `promote` says it, and then all is well again."""
    monkeypatch.setattr(etcd_watch, "HEALTH_EVERY_S", 0.2)
    with EtcdServer(tmp_path / "server", "--quota-backend-bytes", str(1 << 20)) as server:
        store = EtcdConfigStore([server.endpoint])
        opened.append(store)
        seen = Recorder()
        store.watch([KEY], seen.on_entry, seen.on_connection)
        seen.wait_value(KEY, None)
        with pytest.raises(UnavailableError, match="database is full"):
            _fill(store)
        seen.wait(lambda: "NOSPACE" in seen.connections[-1].why)
        assert seen.connections[-1].connected
        assert main(["promote", "yolo", "v2", "--config-store", server.url]) == 1
        assert "nothing was changed; compact" in capsys.readouterr().err
        server.etcdctl("compact", store.get("/filling").revision)
        server.etcdctl("defrag")
        server.etcdctl("alarm", "disarm")
        assert main(["promote", "yolo", "v2", "--config-store", server.url]) == 0
        seen.wait(lambda: b"v2" in (seen.last_value(KEY) or b""))
        seen.wait(lambda: seen.connections[-1] == Connection(True))


def _fill(store: EtcdConfigStore) -> None:
    for _ in range(100):
        store.put("/filling", bytes(100_000))


def test_a_history_that_is_never_compacted(server: EtcdServer, opened: list[EtcdConfigStore]) -> None:
    """Where a thousand revisions are kept and none was ever dropped, compaction is asked for; not where it has run."""
    store = EtcdConfigStore([server.endpoint])
    opened.append(store)
    assert not store.advice()
    for n in range(1100):
        store.put(KEY, b"v%d" % n)
    assert "--auto-compaction-mode" in store.advice()
    server.etcdctl("compact", "1000")
    assert not store.advice()


def test_a_silent_watch_is_masked_by_the_safety_read(
    server: EtcdServer, opened: list[EtcdConfigStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should etcd forget to notify, as 3.4 is known to, the value is seen at the next read; then it is asked anew."""
    asked: list[int] = []

    class DeafAtFirst(etcd_watch.Hints):
        def __init__(self, client: Client, keys: tuple[str, ...], start_revision: int) -> None:
            asked.append(start_revision)
            super().__init__(client, keys, start_revision + (1000 if len(asked) == 1 else 0))

    monkeypatch.setattr(etcd_watch, "Hints", DeafAtFirst)
    store = EtcdConfigStore([server.endpoint], read_every_s=(0.5, 1.0), backoff_s=QUICK)
    opened.append(store)
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, None)
    server.etcdctl("put", KEY, "v1")
    seen.wait_value(KEY, b"v1")
    eventually(lambda: len(asked) == 2)
    assert seen.connections == [Connection(True)]


def test_close_is_quick_also_while_the_server_hangs_or_is_gone(server: EtcdServer) -> None:
    """Whatever is under way is cancelled: none of what would last longest has run its time."""
    before = set(threading.enumerate())
    for state in ("well", "frozen", "gone"):
        # Soon again at first, or it would be chance when it says that the server is gone.
        store = EtcdConfigStore([server.endpoint], deadline_s=WAITS_S, backoff_s=(0.1, WAITS_S))
        seen = Recorder()
        store.watch([KEY], seen.on_entry, seen.on_connection)
        seen.wait_value(KEY, None)
        if state == "frozen":
            server.freeze()
        elif state == "gone":
            server.kill()
            seen.wait_connected(False)
        other = EtcdConfigStore([server.endpoint], deadline_s=WAITS_S, backoff_s=(WAITS_S, WAITS_S))
        other.watch([KEY], seen.on_entry, seen.on_connection)
        began = time.monotonic()
        store.close()
        other.close()
        assert time.monotonic() - began < WAITS_S, state
        if state == "frozen":
            server.thaw()
    left = [t for t in threading.enumerate() if t.name == "config-store-watch" and t not in before]
    assert not left


def test_no_thread_or_connection_leaks_over_many_failures(opened: list[EtcdConfigStore]) -> None:
    """A day with the server away must not eat the node: hundreds of attempts leave threads and files as they were."""
    psutil = pytest.importorskip("psutil")
    store = EtcdConfigStore([f"127.0.0.1:{free_port()}"], backoff_s=(0.001, 0.001))
    opened.append(store)
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_connected(False)
    me = psutil.Process()

    def fail(times: int) -> tuple[int, int]:
        for _ in range(times):
            with pytest.raises(UnavailableError):
                store.get(KEY)
        return me.num_fds(), me.num_threads()

    before = fail(50)
    after = fail(200)
    assert after[0] <= before[0] + 10, (before, after)
    assert after[1] <= before[1] + 10, (before, after)


def test_presence_vanishes_with_its_lease(server: EtcdServer, opened: list[EtcdConfigStore]) -> None:
    """Kept alive it stays, past its TTL, unwritten; left alone it goes; a server that was away changes nothing."""
    store = EtcdConfigStore([server.endpoint])
    opened.append(store)
    lease = store.lease(3.0)
    store.put(NODE, b"{}", lease)
    revision = store.get(NODE).revision
    began = time.monotonic()
    while time.monotonic() - began < 2 * lease.ttl_s:
        assert lease.keep_alive()
        time.sleep(0.2)  # the pace of a node, not a wait for something
    assert store.get(NODE).revision == revision
    server.kill()
    with pytest.raises(UnavailableError):
        lease.keep_alive()
    server.start()
    assert lease.keep_alive()
    eventually(lambda: store.get(NODE).value is None)
    assert not lease.keep_alive()
    lease.revoke()


def test_a_value_that_etcd_refuses_is_the_callers_fault(
    server: EtcdServer, opened: list[EtcdConfigStore]
) -> None:
    """Too large: trying again would not help, and the error says so by its class."""
    store = EtcdConfigStore([server.endpoint])
    opened.append(store)
    for size in (1_600_000, 4_000_000):  # refused by etcd, and by gRPC in front of it
        with pytest.raises(UsageError, match="larg"):
            store.put(KEY, b"x" * size)
    assert store.get(KEY).value is None


def test_large_values_hide_no_other_key(server: EtcdServer, opened: list[EtcdConfigStore]) -> None:
    """Whoever writes values as large as etcd takes them can't make a node deaf; nor can many models."""
    store = EtcdConfigStore([server.endpoint])
    opened.append(store)
    keys = [f"/models/m{n}/current" for n in range(130)]
    for key in keys[:5]:
        store.put(key, bytes(1_400_000))
    store.put(keys[-1], b"v1")
    seen = Recorder()
    store.watch(keys, seen.on_entry, seen.on_connection)
    seen.wait_value(keys[-1], b"v1")
    assert len(seen.entries) == 130
    server.etcdctl("put", keys[-1], "v2")
    seen.wait_value(keys[-1], b"v2")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[EtcdServer]:
    """A server with authentication, tokens of 1 s, and the user `node` (password `right`) who may use /models/."""
    with EtcdServer(tmp_path / "server", "--auth-token-ttl", "1") as server:
        yield from _guard(server)


def _guard(server: EtcdServer) -> Iterator[EtcdServer]:
    for line in (
        "user add root:root",
        "user grant-role root root",
        "user add node:right",
        "role add models",
        "role grant-permission models --prefix=true readwrite /models/",
        "user grant-role node models",
        "auth enable",
    ):
        server.etcdctl(*line.split())
    yield server


def test_authentication(guarded: EtcdServer, opened: list[EtcdConfigStore], tmp_path: Path) -> None:
    """With the right password all works, also when the token has expired or died with the server."""
    password = tmp_path / "password"
    password.write_text("right\n")
    store = EtcdConfigStore(
        [guarded.endpoint], access=Access("node", password), read_every_s=(2.0, 3.0), backoff_s=QUICK
    )
    opened.append(store)
    store.put(KEY, b"v1")
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, b"v1")
    guarded.etcdctl("--user", "root:root", "put", KEY, "v2")
    seen.wait_value(KEY, b"v2")
    guarded.kill()
    seen.wait_connected(False)
    guarded.start()
    seen.wait_connected(True)
    guarded.etcdctl("--user", "root:root", "put", KEY, "v3")
    seen.wait_value(KEY, b"v3")
    assert store.get(KEY).value == b"v3"
    store.put(KEY, b"v4")
    seen.wait_value(KEY, b"v4")
    with pytest.raises(UsageError, match="permission denied"):
        store.get("/other")


def test_a_stale_token_is_renewed_within_the_call(
    guarded: EtcdServer, opened: list[EtcdConfigStore], tmp_path: Path
) -> None:
    """Etcd has dropped the token: the caller doesn't notice."""
    password = tmp_path / "password"
    password.write_text("right")
    store = EtcdConfigStore([guarded.endpoint], access=Access("node", password))
    opened.append(store)
    store.put(KEY, b"v1")
    client = store._client
    client.token = (("token", "stale.1"),)
    assert store.get(KEY).value == b"v1"
    assert client.token[0][1] != "stale.1"
    client.token = (("token", "stale.2"),)
    store.put(KEY, b"v2")
    guarded.etcdctl("--user", "root:root", "user", "grant-role", "node", "root")
    assert store.get(KEY).value == b"v2"


def test_who_may_only_read_can_check(
    guarded: EtcdServer, opened: list[EtcdConfigStore], tmp_path: Path
) -> None:
    """A node asks whether a roll-out and its leader are as it read them: it need not be able to write either."""
    for line in (
        "role add reader",
        "role grant-permission reader --prefix=true read /models/",
        "role grant-permission reader read /edgeagent/coordinator",
        "user add press-07:seven",
        "user grant-role press-07 reader",
    ):
        guarded.etcdctl("--user", "root:root", *line.split())
    password = tmp_path / "password"
    password.write_text("seven")
    store = EtcdConfigStore([guarded.endpoint], access=Access("press-07", password))
    opened.append(store)
    for key in (KEY, "/edgeagent/coordinator"):
        guarded.etcdctl("--user", "root:root", "put", key, "v1")
    leader = Expected("/edgeagent/coordinator", created=store.get("/edgeagent/coordinator").created)
    as_read = [Expected(KEY, store.get(KEY).revision), leader]
    assert store.compare_and_set(as_read, {}) is Outcome.WRITTEN
    guarded.etcdctl("--user", "root:root", "del", "/edgeagent/coordinator")
    assert store.compare_and_set(as_read, {}) is Outcome.REFUSED
    for forbidden in (
        lambda: store.compare_and_set(as_read, {KEY: b"v2"}),
        lambda: store.compare_and_set([*as_read, Expected("/other", ABSENT)], {}),
    ):
        with pytest.raises(UsageError, match="permission denied"):
            forbidden()


def test_wrong_or_missing_credentials_are_said(
    guarded: EtcdServer, opened: list[EtcdConfigStore], tmp_path: Path
) -> None:
    """By an error that promises nothing of another try; the watch says so, and recovers once the file is right."""
    password = tmp_path / "password"
    password.write_text("wrong")
    anonymous = EtcdConfigStore([guarded.endpoint])
    store = EtcdConfigStore([guarded.endpoint], access=Access("node", password), backoff_s=QUICK)
    opened += [anonymous, store]
    with pytest.raises(UsageError, match="user name is empty"):
        anonymous.get(KEY)
    with pytest.raises(UsageError, match="invalid user ID or password"):
        store.put(KEY, b"v1")
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    assert "password" in seen.wait_connected(False).why
    password.write_text("right")
    seen.wait_connected(True)
    guarded.etcdctl("--user", "root:root", "put", KEY, "v2")
    seen.wait_value(KEY, b"v2")
    password.unlink()
    later = EtcdConfigStore([guarded.endpoint], access=Access("node", password))
    opened.append(later)
    with pytest.raises(UnavailableError, match="can't read"):
        later.get(KEY)


def test_importing_the_adapter_is_light() -> None:
    """Numpy stays out of the parent by this path."""
    program = (
        "import sys, edgeagent.intent.etcd, edgeagent.intent.folder\n"
        "print([m for m in ('numpy', 'torch', 'onnxruntime', 'cv2', 'pydantic') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_large_fleet_is_listed_whole(server: EtcdServer, opened: list[EtcdConfigStore]) -> None:
    """In pages at one revision: 2,000 values of 3.4 kB are more than a message of gRPC's holds."""
    store = EtcdConfigStore([server.endpoint])
    opened.append(store)
    for start in range(0, 2000, 100):  # a transaction holds 128 operations
        nodes = {f"/edgeagent/nodes/n{n:04}": b"%d" % n + bytes(3400) for n in range(start, start + 100)}
        assert store.compare_and_set([], nodes) is Outcome.WRITTEN
    listed = store.list("/edgeagent/nodes/")
    assert [int(e.value.rstrip(b"\0")) for e in listed if e.value] == list(range(2000))
    for n in range(6):
        store.put(f"/large/{n}", bytes(1 << 20))
    assert [len(e.value or b"") for e in store.list("/large/")] == [1 << 20] * 6


def test_a_list_is_of_one_revision(
    server: EtcdServer, opened: list[EtcdConfigStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written between two pages is not in it."""
    monkeypatch.setattr(etcd, "PAGE_KEYS", 2)
    store = EtcdConfigStore([server.endpoint])
    opened.append(store)
    for n in range(5):
        store.put(f"/n/{n}", b"before")
    page = EtcdConfigStore._page

    def and_write(self: EtcdConfigStore, *args: object) -> object:
        answer = page(self, *args)
        self.put("/n/4", b"after")
        self.put("/n/3.5", b"new")
        return answer

    monkeypatch.setattr(EtcdConfigStore, "_page", and_write)
    assert [e.value for e in store.list("/n/")] == [b"before"] * 5


def test_a_transaction_without_an_answer_is_unknown(
    server: EtcdServer, opened: list[EtcdConfigStore]
) -> None:
    """It may have been written: whoever asked must read before they act."""
    patient = EtcdConfigStore([server.endpoint], deadline_s=WAITS_S)
    store = EtcdConfigStore([server.endpoint], deadline_s=1.0)
    opened += [patient, store]
    read = patient.get(KEY)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "_prepare_writing", lambda key: server.freeze())  # just before it is sent
        try:
            assert store.compare_and_set([Expected(KEY, read.revision)], {KEY: b"v1"}) is Outcome.UNKNOWN
        finally:
            server.thaw()


def test_a_check_is_not_answered_from_what_may_be_out_of_date(
    tmp_path: Path, opened: list[EtcdConfigStore]
) -> None:
    """By a member that no other one answers: it still has the keys as they were, and takes itself for informed."""
    with etcd_cluster(tmp_path / "cluster", 2) as (one, other):
        store = EtcdConfigStore([one.endpoint], deadline_s=WAITS_S)
        hasty = EtcdConfigStore([one.endpoint], deadline_s=1.0)
        opened += [store, hasty]
        store.put(KEY, b"v1")
        as_read = [Expected(KEY, store.get(KEY).revision)]
        assert store.compare_and_set(as_read, {}) is Outcome.WRITTEN
        other.freeze()
        try:
            with pytest.raises(UnavailableError):
                hasty.compare_and_set(as_read, {})
        finally:
            other.thaw()


def test_a_successor_s_key_is_not_the_leader_s_own(server: EtcdServer, opened: list[EtcdConfigStore]) -> None:
    """The condition is checked by etcd within the transaction, not by us before it."""
    store = EtcdConfigStore([server.endpoint])
    opened.append(store)
    store.put("/leader", b"one")
    mine = Expected("/leader", created=store.get("/leader").created)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "_prepare_writing", lambda key: server.etcdctl("del", "/leader"))
        assert store.compare_and_set([mine], {KEY: b"v1"}) is Outcome.REFUSED
    assert store.get(KEY).value is None


def test_tls(tmp_path: Path, opened: list[EtcdConfigStore]) -> None:
    """The server shows a certificate of the authority that we trust, and we one that it trusts; else no connection."""
    authority = Authority(tmp_path / "authority")
    server_id, client_id = authority.identity("server"), authority.identity("client")
    secure = f"127.0.0.1:{free_port()}"
    flags = (
        "--cert-file", str(server_id.cert), "--key-file", str(server_id.key), "--client-cert-auth",
        "--trusted-ca-file", str(authority.cert),
    )  # fmt: skip
    with EtcdServer(tmp_path / "server", *flags, secure=secure) as server:
        server.etcdctl("put", KEY, "v1")
        store = EtcdConfigStore(
            [secure], access=Access(tls=Tls(authority.cert, client_id.cert, client_id.key))
        )
        strangers = [Access(tls=Tls()), Access(tls=Tls(authority.cert)), Access()]
        others = [EtcdConfigStore([secure], access=access, deadline_s=1.0) for access in strangers]
        opened += [store, *others]
        seen = Recorder()
        store.watch([KEY], seen.on_entry, seen.on_connection)
        seen.wait_value(KEY, b"v1")
        server.etcdctl("put", KEY, "v2")
        seen.wait_value(KEY, b"v2")
        for other in others:
            with pytest.raises(UnavailableError):
                other.get(KEY)
        files = ["--ca-file", authority.cert, "--cert-file", client_id.cert, "--key-file", client_id.key]
        assert main(["promote", "yolo", "v3", "--config-store", f"etcd://{secure}", *map(str, files)]) == 0
        seen.wait(lambda: b"v3" in (seen.last_value(KEY) or b""))
        missing = EtcdConfigStore([secure], access=Access(tls=Tls(tmp_path / "none.pem")))
        opened.append(missing)
        with pytest.raises(UnavailableError, match="can't read"):
            missing.get(KEY)


@pytest.mark.parametrize("whose", ["server", "client"])
def test_an_expired_certificate_that_is_renewed(
    tmp_path: Path, opened: list[EtcdConfigStore], whose: str
) -> None:
    """No connection and the reason while it is expired; then all goes on, without a restart of anybody."""
    authority = Authority(tmp_path / "authority")
    server_id, client_id = authority.identity("server"), authority.identity("client")
    secure = f"127.0.0.1:{free_port()}"
    flags = (
        "--cert-file", str(server_id.cert), "--key-file", str(server_id.key), "--client-cert-auth",
        "--trusted-ca-file", str(authority.cert),
    )  # fmt: skip
    with EtcdServer(tmp_path / "server", *flags, secure=secure) as server:
        store = EtcdConfigStore(
            [secure], access=Access(tls=Tls(authority.cert, client_id.cert, client_id.key))
        )
        opened.append(store)
        seen = Recorder()
        store.watch([KEY], seen.on_entry, seen.on_connection)
        seen.wait_value(KEY, None)
        authority.identity(whose, days=-1)  # first: a connection that is begun after this has the expired one
        server.kill()
        refused_at = seen.wait_connected(False).why
        server.start()
        seen.wait(lambda: seen.connections[-1].why not in ("", refused_at))
        with pytest.raises(UnavailableError, match="their dates") as refused:
            store.get(KEY)
        assert whose == "client" or "certificate has expired" in refused.value.why
        server.etcdctl("put", KEY, "v1")
        authority.identity(whose)
        seen.wait_value(KEY, b"v1")
        seen.wait_connected(True)


def test_certificates_that_can_not_be_used(tmp_path: Path, opened: list[EtcdConfigStore]) -> None:
    """What a renewal leaves for an instant (half a file, the key of the next certificate) is an error like others.

    gRPC would end the process with them.
    """
    authority = Authority(tmp_path / "authority")
    one, other = authority.identity("one"), authority.identity("other")
    half = tmp_path / "half.pem"
    half.write_text(one.cert.read_text()[:200])
    for tls in (
        Tls(authority.cert, one.cert, other.key),
        Tls(authority.cert, half, one.key),
        Tls(authority.cert, one.cert, half),
        Tls(half, one.cert, one.key),
    ):
        store = EtcdConfigStore([f"127.0.0.1:{free_port()}"], access=Access(tls=tls))
        opened.append(store)
        with pytest.raises(UnavailableError, match="can't be used"):
            store.get(KEY)


def test_a_server_of_another_authority_is_not_trusted(tmp_path: Path, opened: list[EtcdConfigStore]) -> None:
    """Whoever stands in for etcd is told nothing, and the status says what is wrong with him."""
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    server_id = theirs.identity("server")
    secure = f"127.0.0.1:{free_port()}"
    flags = ("--cert-file", str(server_id.cert), "--key-file", str(server_id.key))
    with EtcdServer(tmp_path / "server", *flags, secure=secure):
        store = EtcdConfigStore([secure], access=Access(tls=Tls(ours.cert)))
        opened.append(store)
        seen = Recorder()
        store.watch([KEY], seen.on_entry, seen.on_connection)
        assert "CERTIFICATE_VERIFY_FAILED" in seen.wait_connected(False).why
        assert not seen.entries


def test_a_proxy_in_the_environment_is_not_asked(server: EtcdServer, opened: list[EtcdConfigStore]) -> None:
    """A server in the plant is reached directly, whatever http_proxy says, unless told otherwise."""
    dead = f"http://127.0.0.1:{free_port()}"
    program = (
        "import sys\n"
        "from edgeagent.errors import UnavailableError\n"
        "from edgeagent.intent.port import Access\n"
        "from edgeagent.intent.url import open_store\n"
        "open_store(sys.argv[1]).put('/a', b'v1')\n"
        "try:\n"
        "    open_store(sys.argv[1], Access(options={'http_proxy': True})).get('/a')\n"
        "except UnavailableError as e:\n"
        "    print(e)\n"
    )
    env = {**os.environ, "http_proxy": dead, "HTTP_PROXY": dead, "no_proxy": "", "NO_PROXY": ""}
    done = subprocess.run(
        [sys.executable, "-c", program, server.url], env=env, capture_output=True, text=True, timeout=120
    )
    assert server.etcdctl("get", "--print-value-only", "/a").strip() == "v1", done.stderr
    assert dead.removeprefix("http://") in done.stdout, (done.stdout, done.stderr)
