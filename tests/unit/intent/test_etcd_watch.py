# SPDX-License-Identifier: AGPL-3.0-or-later
"""When etcd's history isn't the one that was read before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from edgeagent.core.rollout import COORDINATOR_KEY
from edgeagent.errors import UsageError
from edgeagent.intent import etcd_watch
from edgeagent.intent.etcd_client import Client
from edgeagent.intent.etcd_health import Health
from edgeagent.intent.etcd_watch import EtcdWatch, History
from edgeagent.intent.port import ABSENT, Connection, Entry
from edgeagent.util.backoff import Backoff

KEY = "/models/yolo/current"


class PaperServer:
    """Stands in for the client of an etcd: one key, and where the history stands."""

    def __init__(self) -> None:
        self.cluster, self.term, self.revision, self.raft_index = 7, 3, 40, 60
        self.found: tuple[bytes, int] | None = (b"v2", 40)

    def call(self, method: object, request: object) -> Any:
        header = SimpleNamespace(cluster_id=self.cluster, raft_term=self.term, revision=self.revision)
        kvs = []
        if self.found:
            value, revision = self.found
            kvs = [SimpleNamespace(key=KEY.encode(), value=value, mod_revision=revision, create_revision=2)]
        part = SimpleNamespace(response_range=SimpleNamespace(kvs=kvs))
        return SimpleNamespace(header=header, responses=[part])

    def health(self) -> Health:
        return Health(raft_index=self.raft_index)


class Bench:
    """A watch of that server, and what it reports; nothing runs by itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = PaperServer()
        self.entries: list[Entry] = []
        self.connections: list[Connection] = []
        monkeypatch.setattr(etcd_watch, "ask_health", lambda client: self.server.health())
        self._watch = EtcdWatch(
            "etcd://a:1",
            (KEY,),
            self.entries.append,
            self.connections.append,
            client=cast("Client", self.server),
            backoff=Backoff(0, 0),
            read_every_s=(1, 1),
        )

    def read(self) -> list[str]:
        """The revisions that one more reading reports."""
        before = len(self.entries)
        self._watch._report_all()
        return [entry.revision for entry in self.entries[before:]]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """See Bench."""
    return Bench(monkeypatch)


def test_a_key_that_was_written_again_under_its_old_number(bench: Bench) -> None:
    """The data were lost, and what the operator wrote anew bears the revision that it had before: a new intent."""
    assert bench.read() == ["40"]
    assert bench.read() == []
    server = bench.server
    server.term, server.revision, server.raft_index = 2, 40, 45
    assert bench.read() == ["40 (restored)", "40"]
    assert bench.read() == []


def test_a_key_that_a_snapshot_brought_back_is_the_same_intent(bench: Bench) -> None:
    """It is older than all that was written since: a restore alone lifts no hold."""
    server = bench.server
    server.found, server.revision = (b"v2", 40), 900
    assert bench.read() == ["40"]
    server.term, server.revision, server.raft_index = 2, 850, 30
    assert bench.read() == []


def test_history_that_goes_on_repeats_nothing(bench: Bench) -> None:
    """Elections and other keys change nothing of this one."""
    assert bench.read() == ["40"]
    bench.server.term, bench.server.revision = 4, 55
    assert bench.read() == []


@pytest.mark.parametrize(
    ("now", "is_other"),
    [
        (History(7, 3, 40), False),
        (History(7, 4, 41), False),
        (History(7, 3, 39), True),
        (History(7, 2, 90), True),
        (History(8, 9, 90), True),
    ],
)
def test_what_tells_a_history_from_another(now: History, is_other: bool) -> None:
    """Another cluster, fewer revisions, or fewer elections."""
    assert now.is_other_than(History(7, 3, 40)) == is_other
    assert not now.is_other_than(History())


def test_a_key_that_is_not_there_was_not_written() -> None:
    """Nor is anything known of a server that doesn't tell."""
    history = History(7, 2, 10)
    assert not history.may_have_written(Entry(KEY, None, ABSENT), Health(raft_index=99))
    assert not history.may_have_written(Entry(KEY, b"v1", "9"), None)
    assert history.may_have_written(Entry(KEY, b"v1", "9"), Health(raft_index=2))


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ((), ""),
        (("memberID:1 alarm:NOSPACE ",), "takes no writing"),
        (("memberID:1 alarm:CORRUPT ",), "CORRUPT"),
    ],
)
def test_alarms_are_told(errors: tuple[str, ...], told: str) -> None:
    """In words that say what they mean for whoever promotes."""
    assert told in Health(errors).warning
    assert bool(Health(errors).warning) == bool(errors)


class Denied(grpc.RpcError):
    """As etcd says it."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.PERMISSION_DENIED

    def details(self) -> str:
        return "etcdserver: permission denied"


@pytest.mark.parametrize("denied", [COORDINATOR_KEY, KEY])
def test_a_key_of_the_fleet_that_may_not_be_read_keeps_no_intent_away(
    monkeypatch: pytest.MonkeyPatch, denied: str
) -> None:
    """It stays unknown, and that is said, for a user that was made before nodes read it; what any intent needs is
    needed. Once the user has the right, it is read."""
    told: list[Entry] = []
    connections: list[Connection] = []
    rights: set[str] = set()

    def call(method: object, request: Any) -> Any:
        keys = [op.request_range.key.decode() for op in request.success]
        if denied in keys and denied not in rights:
            raise Denied
        part = SimpleNamespace(response_range=SimpleNamespace(kvs=[]))
        header = SimpleNamespace(cluster_id=7, raft_term=3, revision=40)
        return SimpleNamespace(header=header, responses=[part] * len(keys))

    monkeypatch.setattr(etcd_watch, "ask_health", lambda client: None)
    client = cast("Client", SimpleNamespace(call=call))
    watch = EtcdWatch(
        "etcd://a:1",
        (KEY, COORDINATOR_KEY),
        told.append,
        connections.append,
        client=client,
        backoff=Backoff(0, 0),
        read_every_s=(1, 1),
    )
    if denied == KEY:
        with pytest.raises(UsageError, match="permission denied"):
            watch._begin()
        assert told == []
        return
    watch._begin()
    assert [entry.key for entry in told] == [KEY]
    assert connections[-1].connected
    assert f"{COORDINATOR_KEY} can't be read, so no roll-out is begun" in connections[-1].why
    rights.add(denied)
    watch._begin()
    assert [entry.key for entry in told] == [KEY, COORDINATOR_KEY]
    assert connections[-1] == Connection(True)


def test_of_many_keys_those_that_are_told_last_are_read_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Etcd gives them in several answers; no key is told as it was before what is told after it."""
    keys = tuple(f"/models/m{n}/current" for n in range(150))
    told: list[Entry] = []
    answers: list[int] = []

    def call(method: object, request: Any) -> Any:
        answers.append(len(request.success))
        revision = len(answers)
        found = [
            SimpleNamespace(key=op.request_range.key, value=b"v", mod_revision=revision, create_revision=1)
            for op in request.success
        ]
        parts = [SimpleNamespace(response_range=SimpleNamespace(kvs=[kv])) for kv in found]
        header = SimpleNamespace(cluster_id=7, raft_term=3, revision=revision)
        return SimpleNamespace(header=header, responses=parts)

    monkeypatch.setattr(etcd_watch, "ask_health", lambda client: None)
    watch = EtcdWatch(
        "etcd://a:1",
        keys,
        told.append,
        lambda connection: None,
        client=cast("Client", SimpleNamespace(call=call)),
        backoff=Backoff(0, 0),
        read_every_s=(1, 1),
    )
    watch._report_all()
    assert answers == [50, 100]
    assert [entry.key for entry in told] == list(keys)
    assert [entry.revision for entry in told] == ["2"] * 100 + ["1"] * 50
    assert watch._history.revision == 1  # what happens from the first answer on is told again
