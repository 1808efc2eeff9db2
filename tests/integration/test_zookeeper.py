# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ZooKeeper adapter against real servers that die, hang, forget, refuse and come back."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from kazoo.security import make_digest_acl

from edgeagent.cli.doctor.config_store import sources as examined
from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.main import main
from edgeagent.config import parse_config
from edgeagent.errors import UnavailableError, UsageError
from edgeagent.intent import zookeeper_write
from edgeagent.intent.port import ABSENT, Access, Connection, Expected, Lease, Outcome, Tls
from edgeagent.intent.zookeeper import ZooKeeperStore
from edgeagent.intent.zookeeper_session import Session, SessionSettings
from tests.support.certificates import Authority
from tests.support.etcd import free_port
from tests.support.recorder import Recorder
from tests.support.zookeeper import ZooKeeperServer

KEY = "/models/yolo/current"
NODE = "/edgeagent/nodes/press-07"
LEADER = "/edgeagent/coordinator"
NEVER_READ = (600.0, 600.0)  # no safety read: what is seen was notified
QUICK = (0.05, 0.5)

Opener = Callable[..., ZooKeeperStore]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServer]:
    """One server for the tests that leave it as it was."""
    with ZooKeeperServer(tmp_path_factory.mktemp("zookeeper")) as server:
        yield server


@pytest.fixture
def server(shared: ZooKeeperServer) -> ZooKeeperServer:
    """The shared server, empty."""
    shared.clear()
    return shared


@pytest.fixture
def opened(server: ZooKeeperServer) -> Iterator[Opener]:
    """Makes stores on the server, or elsewhere, which are closed at the end."""
    stores: list[ZooKeeperStore] = []

    def open_store(
        *endpoints: str,
        chroot: str = "",
        access: Access = Access(),  # noqa: B008
        read_every_s: tuple[float, float] = NEVER_READ,
        session_s: float = 10.0,
    ) -> ZooKeeperStore:
        settings = SessionSettings(endpoints or (server.endpoint,), chroot, access, session_s=session_s)
        stores.append(ZooKeeperStore(settings, read_every_s=read_every_s, backoff_s=QUICK))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


def test_a_watch_survives_kill_9_again_and_again(server: ZooKeeperServer, opened: Opener) -> None:
    """Resumed by notification after each restart; the last value is never missed, none is reported twice."""
    store = opened()
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, None)
    for n in range(2):
        server.write(KEY, b"before-%d" % n)
        server.kill()
        seen.wait_connected(False)
        server.start()
        seen.wait_connected(True)
        seen.wait_value(KEY, b"before-%d" % n)
        server.write(KEY, b"after-%d" % n)
        seen.wait_value(KEY, b"after-%d" % n)
    revisions = [e.revision for e in seen.entries]
    assert len(set(revisions)) == len(revisions)
    assert [up for up, _ in groupby(seen.connections, attrgetter("connected"))] == [True] + 2 * [False, True]


def test_the_data_were_lost(tmp_path: Path, opened: Opener) -> None:
    """The server begins with lower revisions, and refuses clients that know higher ones: followed all the same."""
    with ZooKeeperServer(tmp_path / "server") as server:
        for n in range(10):
            server.write(KEY, b"old%d" % n)
        store = opened(server.endpoint)
        seen = Recorder()
        store.watch([KEY], seen.on_entry, seen.on_connection)
        seen.wait_value(KEY, b"old9")
        lease = store.lease(5)
        server.kill()
        seen.wait_connected(False)
        (tmp_path / "server" / "data").rename(tmp_path / "lost")
        server.start()
        seen.wait_value(KEY, None)
        server.write(KEY, b"new")
        seen.wait_value(KEY, b"new")
        assert store.get(KEY).value == b"new"
        _wait_until_ended(lease)


def test_a_server_that_falls_silent(server: ZooKeeperServer, opened: Opener) -> None:
    """Frozen, it neither answers nor closes its connections: noticed all the same, and well again when it goes on."""
    store = opened(session_s=2.0)
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, None)
    store.get(KEY)
    server.freeze()
    try:
        with pytest.raises(UnavailableError):
            store.get(KEY)
        seen.wait_connected(False)
        with pytest.raises(UnavailableError):
            store.lease(5)
    finally:
        server.thaw()
    server.write(KEY, b"v1")
    seen.wait_value(KEY, b"v1")
    seen.wait_connected(True)


def test_a_transaction_without_an_answer_is_unknown(server: ZooKeeperServer, opened: Opener) -> None:
    """It may have been written: whoever asked must read before they act."""
    store = opened()
    read = store.get(KEY)
    commit = zookeeper_write.Writer._commit

    def freeze_first(self: zookeeper_write.Writer, transaction: Any) -> Outcome | None:
        server.freeze()
        return commit(self, transaction)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(zookeeper_write.Writer, "_commit", freeze_first)
        try:
            assert store.compare_and_set([Expected(KEY, read.revision)], {KEY: b"v1"}) is Outcome.UNKNOWN
        finally:
            server.thaw()


def test_an_expired_session_begins_anew(
    server: ZooKeeperServer, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch goes on by notification, nothing is missed; a lease has ended, and says so."""
    sessions: list[Session] = []
    real = Session.__init__

    def noted(self: Session, *args: Any, **more: Any) -> None:
        sessions.append(self)
        real(self, *args, **more)

    monkeypatch.setattr(Session, "__init__", noted)
    store = opened()
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, None)
    lease = store.lease(8)
    store.put(NODE, b"{}", lease)
    for session in sessions[1:]:
        server.expire(*session.client().client_id)
    server.write(KEY, b"v1")
    seen.wait_value(KEY, b"v1")
    server.write(KEY, b"v2")
    seen.wait_value(KEY, b"v2")
    _wait_until_ended(lease)
    assert store.get(NODE).revision == ABSENT
    assert len({e.revision for e in seen.entries}) == len(seen.entries)


def _wait_until_ended(lease: Lease) -> None:
    give_up = time.monotonic() + 60
    while True:
        try:
            if not lease.keep_alive():
                return
        except UnavailableError:
            pass
        assert time.monotonic() < give_up, "the lease doesn't end"
        time.sleep(0.1)


def test_a_successor_between_reading_and_writing(server: ZooKeeperServer, opened: Opener) -> None:
    """The leader's znode was deleted and made anew at that instant, with the same count: its old leader can't write."""
    one, two = opened(), opened()
    first, second = one.lease(5), two.lease(5)
    vacant = [Expected(LEADER, ABSENT)]
    assert one.compare_and_set(vacant, {LEADER: b"one"}, first) is Outcome.WRITTEN
    mine = Expected(LEADER, created=one.get(LEADER).created)
    commit = zookeeper_write.Writer._commit

    def replaced_first(self: zookeeper_write.Writer, transaction: Any) -> Outcome | None:
        patched.undo()
        first.revoke()
        assert two.compare_and_set(vacant, {LEADER: b"two"}, second) is Outcome.WRITTEN
        return commit(self, transaction)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(zookeeper_write.Writer, "_commit", replaced_first)
        assert one.compare_and_set([mine], {KEY: b"v1"}) is Outcome.REFUSED
    assert two.get(KEY).revision == ABSENT


def test_a_chroot_that_comes_late(server: ZooKeeperServer, opened: Opener) -> None:
    """It is said that it is missing, and noticed when it is made: no read and no attempt is due for minutes."""
    store = opened(chroot="/late")
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    assert "/late does not exist there; create it" in seen.wait_connected(False).why
    server.write(f"/late{KEY}", b"v1")
    seen.wait_value(KEY, b"v1")


def test_a_silent_watch_is_masked_by_the_safety_read(server: ZooKeeperServer, opened: Opener) -> None:
    """Should ZooKeeper's hint get lost, the value is seen at the next read."""
    store = opened(read_every_s=(0.3, 0.5))
    seen = Recorder()
    with pytest.MonkeyPatch.context() as patched:
        read = Session.read
        patched.setattr(Session, "read", lambda self, keys, hint=None: read(self, keys))
        store.watch([KEY], seen.on_entry, seen.on_connection)
        seen.wait_value(KEY, None)
        server.write(KEY, b"v1")
        seen.wait_value(KEY, b"v1")
    assert seen.connections == [Connection(True)]


def test_a_dead_endpoint_first(server: ZooKeeperServer, opened: Opener) -> None:
    """The other one is used, for calls and for the watch, without a word about a broken connection."""
    store = opened(f"127.0.0.1:{free_port()}", server.endpoint)
    store.put(KEY, b"v1")
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, b"v1")
    server.write(KEY, b"v2")
    seen.wait_value(KEY, b"v2")
    assert seen.connections == [Connection(True)]


def test_a_chroot_that_is_not_there(server: ZooKeeperServer, opened: Opener) -> None:
    """Said, with what to do, by each call and the watch; all is well once it is made."""
    store = opened(chroot="/plant")
    assert store.url == f"zk://{server.endpoint}/plant"
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    assert "/plant does not exist" in seen.wait_connected(False).why
    for call in (lambda: store.get(KEY), lambda: store.put(KEY, b"v1"), lambda: store.list("/models/")):
        with pytest.raises(UnavailableError, match="/plant does not exist there; create it"):
            call()
    assert not seen.entries
    server.write("/plant", b"")
    seen.wait_value(KEY, None)
    store.put(KEY, b"v1")
    seen.wait_value(KEY, b"v1")
    assert server.operator().get(f"/plant{KEY}")[0] == b"v1"
    assert [e.key for e in store.list("/models/")] == [KEY]


def test_close_is_quick_also_while_the_server_hangs_or_is_gone(
    server: ZooKeeperServer, opened: Opener
) -> None:
    """Whatever is under way is given up."""
    before = set(threading.enumerate())
    for state in ("well", "frozen", "gone"):
        store, other = opened(), opened()
        seen = Recorder()
        store.watch([KEY], seen.on_entry, seen.on_connection)
        seen.wait_value(KEY, None)
        if state == "frozen":
            server.freeze()
        elif state == "gone":
            server.kill()
            seen.wait_connected(False)
        other.watch([KEY], seen.on_entry, seen.on_connection)
        began = time.monotonic()
        store.close()
        other.close()
        assert time.monotonic() - began < 60, state  # a hang, not a measure
        if state == "frozen":
            server.thaw()
    server.start()
    left = [t for t in threading.enumerate() if t.name == "config-store-watch" and t not in before]
    assert not left


def test_no_thread_stays_of_failed_attempts(opened: Opener) -> None:
    """A day with the server away must not eat the node."""
    store = opened(f"127.0.0.1:{free_port()}")
    before = threading.active_count()
    for call in (lambda: store.get(KEY), lambda: store.get(KEY), lambda: store.lease(5)):
        with pytest.raises(UnavailableError, match="refused"):
            call()
    give_up = time.monotonic() + 120
    while threading.active_count() > before:
        assert time.monotonic() < give_up, threading.enumerate()
        time.sleep(0.05)


@pytest.fixture
def password(tmp_path: Path) -> Path:
    """The right one, for the user `node`."""
    path = tmp_path / "password"
    path.write_text("right\n")
    return path


def test_digest_authentication(server: ZooKeeperServer, opened: Opener, password: Path) -> None:
    """Who may is decided by the ACL; what is written anew gets the ACL of its folder; a wrong password is said."""
    acl = [make_digest_acl("node", "right", all=True)]
    server.operator().add_auth("digest", "node:right")
    server.operator().create("/models", acl=acl)
    store = opened(access=Access("node", password))
    store.put(KEY, b"v1")
    assert server.operator().get_acls(KEY)[0] == acl
    anonymous = opened()
    for call in (lambda: anonymous.get(KEY), lambda: anonymous.put(KEY, b"v2")):
        with pytest.raises(UsageError, match="not allowed; see username, password_file"):
            call()

    other = password.with_name("other")
    other.write_text("wrong")
    late = opened(access=Access("node", other))
    seen = Recorder()
    late.watch([KEY], seen.on_entry, seen.on_connection)
    assert "not allowed" in seen.wait_connected(False).why
    other.write_text("right")
    seen.wait_value(KEY, b"v1")
    other.unlink()
    with pytest.raises(UnavailableError, match="can't read"):
        opened(access=Access("node", other)).get(KEY)


def test_sasl_authentication(tmp_path: Path, opened: Opener, password: Path) -> None:
    """DIGEST-MD5, with users in the server's own file; a wrong password is said, and the right one taken later."""
    pytest.importorskip("puresasl")
    jaas = tmp_path / "jaas.conf"
    jaas.write_text(
        'Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_node="right"; };\n'
    )
    settings = {
        "authProvider.1": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
        "sessionRequireClientSASLAuth": "true",
    }
    properties = {"java.security.auth.login.config": str(jaas)}
    server = ZooKeeperServer(tmp_path / "server", settings, properties)
    server.start()
    try:
        options = {"auth": "sasl"}
        store = opened(server.endpoint, access=Access("node", password, options=options))
        store.put(KEY, b"v1")
        seen = Recorder()
        store.watch([KEY], seen.on_entry, seen.on_connection)
        seen.wait_value(KEY, b"v1")
        store.put(KEY, b"v2")
        seen.wait_value(KEY, b"v2")
        password.write_text("wrong")
        other = opened(server.endpoint, access=Access("node", password, options=options))
        with pytest.raises(UsageError, match="does not take user and password"):
            other.get(KEY)
        password.write_text("right")
        assert other.get(KEY).value == b"v2"
    finally:
        server.kill()


def test_wrong_options_are_said(opened: Opener) -> None:
    """With those that there are."""
    with pytest.raises(UsageError, match="auth: digest"):
        opened(access=Access(options={"auth": "kerberos"})).get(KEY)


def test_tls(tmp_path: Path, opened: Opener) -> None:
    """The server shows a certificate of the authority that we trust, and we one that it trusts; else no connection."""
    authority = Authority(tmp_path / "authority")
    server_id, client_id = authority.identity("server"), authority.identity("client")
    port = free_port()
    settings = {
        "secureClientPort": str(port),
        "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
        "ssl.keyStore.location": str(server_id.both),
        "ssl.trustStore.location": str(authority.cert),
    }
    with ZooKeeperServer(tmp_path / "server", settings) as server:
        server.write(KEY, b"v1")
        secure = f"127.0.0.1:{port}"
        ours = Tls(authority.cert, client_id.cert, client_id.key)
        store = opened(secure, access=Access(tls=ours))
        seen = Recorder()
        store.watch([KEY], seen.on_entry, seen.on_connection)
        seen.wait_value(KEY, b"v1")
        server.write(KEY, b"v2")
        seen.wait_value(KEY, b"v2")
        with pytest.raises(UnavailableError, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
            opened(secure, access=Access(tls=Tls())).get(KEY)
        with pytest.raises(UnavailableError):
            opened(secure, access=Access(tls=Tls(authority.cert))).get(KEY)


def test_promote_and_doctor(
    server: ZooKeeperServer, opened: Opener, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line takes such a URL; a chroot that isn't there is said by both, and nothing is written. A roll-out
    that can't be understood is a failure: the node would follow nothing."""
    server.write("/plant", b"")
    url = f"{server.url}/plant"
    assert main(["promote", "yolo", "v2", "--config-store", url, "--by", "anna"]) == 0
    assert opened(chroot="/plant").get(KEY).value == b'{"version": "v2", "by": "anna"}'
    assert main(["promote", "yolo", "v2", "--config-store", f"{server.url}/typo"]) == 1
    assert "/typo does not exist there; create it" in capsys.readouterr().err
    sources = [f"{server.url}/typo", f"file://{tmp_path}"]
    config = parse_config(
        {
            "config_store": {"url": url},
            "intent_sources": [{"url": source} for source in sources],
            "pipelines": [{"name": "line-1", "model": "yolo", "source": {"url": "/x"}}],
        }
    )
    found = {finding.subject: finding for finding in examined(Examination(config))}
    assert found["config store, yolo"].level == "ok"
    assert "aspires v2" in found["config store, yolo"].text
    assert found[f"source {sources[0]}"].level == "FAIL"
    assert found[f"source {sources[1]}, yolo"].text == "reached; it has no intent for this model"
    server.write("/plant/models/yolo/rollout", b"{")
    broken = next(f for f in examined(Examination(config)) if f.subject == "config store, yolo")
    assert (broken.level, "/models/yolo/rollout" in broken.text) == ("FAIL", True)


def test_who_does_not_use_a_client_does_not_load_it() -> None:
    """A node on etcd or on a folder has the memory of neither kazoo nor Kafka's client."""
    program = (
        "import sys, edgeagent.node\n"
        "from edgeagent.intent.url import open_source\n"
        "sources = [open_source('file:///x'), open_source('etcd://127.0.0.1:1')]\n"
        "print([m for m in ('kazoo', 'puresasl', 'confluent_kafka', 'aiokafka') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n", done.stderr
