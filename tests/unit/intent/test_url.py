# SPDX-License-Identifier: AGPL-3.0-or-later
"""URLs of config stores."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeagent.errors import MissingExtraError, UsageError
from edgeagent.intent import url as url_module
from edgeagent.intent.port import Access, Tls
from edgeagent.intent.url import (
    ADAPTERS,
    Adapter,
    Address,
    open_source,
    open_store,
    open_writer,
    parse_source_url,
)


@pytest.mark.parametrize(
    ("url", "endpoints"),
    [
        ("etcd://localhost:2379", ("localhost:2379",)),
        ("etcd://10.0.0.1", ("10.0.0.1:2379",)),
        (
            "etcd://10.0.0.1:1,10.0.0.2:2,etcd-3.plant.example",
            ("10.0.0.1:1", "10.0.0.2:2", "etcd-3.plant.example:2379"),
        ),
        ("etcd://[::1]:2379,[fe80::1]/", ("[::1]:2379", "[fe80::1]:2379")),
        ("etcd://a:1,a:1", ("a:1",)),
        ("ETCD://a:1", ("a:1",)),
    ],
)
def test_etcd_urls_give_endpoints_in_order(url: str, endpoints: tuple[str, ...]) -> None:
    """Ports default to 2379; an endpoint named twice is one."""
    assert parse_source_url(url).endpoints == endpoints


@pytest.mark.parametrize(
    ("url", "endpoints", "path"),
    [
        ("zk://a", ("a:2181",), ""),
        ("zk://a:1,b:2/", ("a:1", "b:2"), ""),
        ("zk://a,[::1]:3/plant/edgeagent/", ("a:2181", "[::1]:3"), "/plant/edgeagent"),
    ],
)
def test_zookeeper_urls_give_endpoints_and_a_chroot(url: str, endpoints: tuple[str, ...], path: str) -> None:
    """The chroot may be left out."""
    assert parse_source_url(url) == Address(url, endpoints, path)


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:///etc/edgeagent/intent", "/etc/edgeagent/intent"),
        ("file://localhost/a", "/a"),
        ("file:///with%20space", "/with space"),
    ],
)
def test_file_urls_give_a_folder(url: str, folder: str) -> None:
    """Percent escapes are decoded."""
    assert parse_source_url(url).path == folder


@pytest.mark.parametrize(
    "url",
    [
        "", "etcd", "/etc/edgeagent", "http://a:1", "etcd://", "etcd:a:1", "etcd://a:b", "etcd://a:0", "etcd://a:65536",
        "etcd://a:1,", "etcd://a b:1", "etcd://[::1", "etcd://::1:2379", "etcd://a:1/path", "etcd://a:1?x=y",
        "kafka://a:1", "kafka://a:1/", "kafka://a:b/t",
        "file://etc/edgeagent", "file:relative", "file://", "file:///a#b", "file:///a%00b",
    ],
)  # fmt: skip
def test_wrong_urls_say_what_is_allowed(url: str) -> None:
    """A UsageError that names the right form, or all forms where the scheme is unknown."""
    with pytest.raises(UsageError) as caught:
        parse_source_url(url)
    text = str(caught.value)
    assert "etcd://host:port" in text or "file:///folder" in text or "kafka://host:port" in text


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    """The password must not reach a log by way of the error."""
    with pytest.raises(UsageError) as caught:
        parse_source_url("etcd://root:hunter2@a:2379")
    assert "hunter2" not in str(caught.value)
    assert "password_file" in str(caught.value)


def test_username_and_password_file_go_together() -> None:
    """Half of them is a mistake, and so is either for a folder."""
    with pytest.raises(UsageError, match="go together"):
        open_source("etcd://a:1", Access("root"))
    with pytest.raises(UsageError, match="takes no user"):
        open_source("file:///a", Access("root", Path("/p")))


def test_kafka_urls_give_brokers_and_a_topic() -> None:
    """The port is 9092 where none is given."""
    address = parse_source_url("kafka://a,b:9093/edge.intents")
    assert (address.endpoints, address.path) == (("a:9092", "b:9093"), "/edge.intents")


def test_what_can_only_be_watched_is_no_store() -> None:
    """Kafka can be written to, and watched; it has no transactions and no leases."""
    with pytest.raises(UsageError, match="Kafka can only be watched"):
        open_store("kafka://a:1/t")
    open_writer("kafka://a:1/t").close()


def test_what_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package that isn't there, and how to get it."""
    for name in [n for n in sys.modules if n.startswith("edgeagent.intent.zookeeper")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [n for n in sys.modules if n.partition(".")[0] == "kazoo"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kazoo", None)
    with pytest.raises(MissingExtraError) as caught:
        open_source("zk://a:1")
    assert "the package kazoo is not installed; pip install 'edgeagent[zookeeper]'" in str(caught.value)


PLUGIN = Adapter("memory", "memory", "memory://host", "tests.unit.intent.test_url", 1)


def _source_of_the_plugin(address: Address, access: Access) -> tuple[Address, Access]:
    return address, access


def test_a_package_of_its_own_adds_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an entry point that gives a row; one that gives something else is named. It can't be written to."""
    points = {"memory": PLUGIN, "wrong": "nothing"}

    class Point:
        value = "some.module:thing"

        def __init__(self, name: str) -> None:
            self.name = name

        def load(self) -> object:
            return points[self.name]

    monkeypatch.setattr(
        url_module, "entry_points", lambda group, name: [Point(name)] if name in points else []
    )
    module = SimpleNamespace(open_source=_source_of_the_plugin)
    monkeypatch.setattr(url_module, "import_module", lambda name: module)
    assert open_source("memory://h") == (Address("memory://h", ("h:1",), ""), Access())
    with pytest.raises(UsageError, match=r"some\.module:thing is no Adapter"):
        open_source("wrong://h")
    with pytest.raises(UsageError, match="memory can only be watched; use etcd://"):
        open_store("memory://h")


def test_each_kind_of_access_is_taken_or_refused() -> None:
    """Login, certificates, options of the client: what a kind doesn't understand is a mistake, and said."""
    with pytest.raises(UsageError, match="folder takes no tls"):
        open_source("file:///a", Access(tls=Tls()))
    with pytest.raises(UsageError, match="folder takes no options"):
        open_source("file:///a", Access(options={"x": 1}))


def test_schemes_and_kinds_are_told_apart() -> None:
    """No two rows claim the same."""
    assert len({a.scheme for a in ADAPTERS}) == len({a.kind for a in ADAPTERS}) == len(ADAPTERS)
