# SPDX-License-Identifier: AGPL-3.0-or-later
"""From the URL of an intent source to its adapter: one row of `ADAPTERS` each.

A package of its own can add a source by an entry point in the group `edgeagent.intent_sources`: its name is the
scheme, its object an `Adapter`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Literal, cast
from urllib.parse import SplitResult, unquote, urlsplit

from edgeagent.errors import MissingExtraError, UsageError
from edgeagent.intent.port import Access, IntentSource, IntentWriter, KeyValueStore

ENTRY_POINTS = "edgeagent.intent_sources"
Taken = Literal["login", "tls", "options"]
TAKEN: dict[Taken, str] = {"login": "user and password", "tls": "tls", "options": "options"}
"""The parts of Access that a kind of source may take, and what they are called."""
_ENDPOINT = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_NO_ACCESS = Access()


@dataclass(frozen=True)
class Address:
    """The parts of a source's URL. endpoints: `host:port` each, none for a folder; path: with its slash, or ""."""

    url: str
    endpoints: tuple[str, ...]
    path: str


@dataclass(frozen=True)
class Adapter:
    """One kind of intent source.

    kind: its name in status. form: its URL, for messages. module: has `open_source(address, access)`; imported when
    a source of this kind is opened. extra: of edgeagent, that installs the client which the module needs.
    default_port: None where there is no server. path: whether the URL has one behind the servers.
    key_value, writable, leases: it is a KeyValueStore; at least an IntentWriter; a store that has leases.
    takes: what of Access it understands.
    """

    scheme: str
    kind: str
    form: str
    module: str
    default_port: int | None = None
    path: Literal["none", "optional", "required"] = "none"
    extra: str = ""
    key_value: bool = False
    writable: bool = False
    leases: bool = False
    takes: frozenset[Taken] = frozenset()


ADAPTERS = (
    Adapter(
        "etcd", "etcd", "etcd://host:port[,host:port...]", "edgeagent.intent.etcd",
        default_port=2379, key_value=True, leases=True, takes=frozenset({"login", "tls", "options"}),
    ),
    Adapter(
        "file", "folder", "file:///folder", "edgeagent.intent.folder",
        path="required", key_value=True,
    ),
    Adapter(
        "kafka", "Kafka", "kafka://host:port[,host:port...]/topic", "edgeagent.intent.kafka",
        default_port=9092, path="required", extra="kafka", writable=True,
        takes=frozenset({"login", "tls", "options"}),
    ),
    Adapter(
        "zk", "ZooKeeper", "zk://host:port[,host:port...][/chroot]", "edgeagent.intent.zookeeper",
        default_port=2181, path="optional", extra="zookeeper", key_value=True, leases=True,
        takes=frozenset({"login", "tls", "options"}),
    ),
)  # fmt: skip


def open_source(url: str, access: Access = _NO_ACCESS) -> IntentSource:
    """The source behind `url`; nothing is connected yet, so that an absent server is no error here.

    Raises UsageError for a wrong URL or access, MissingExtraError when its client isn't installed.
    """
    adapter = find_adapter(url)
    address = parse_source_url(url)
    _check_access(adapter, url, access)
    try:
        module = import_module(adapter.module)
    except ModuleNotFoundError as e:
        if not adapter.extra:
            raise
        raise MissingExtraError(
            f"config store {url}",
            f"the package {(e.name or adapter.module).partition('.')[0]} is not installed",
            f"pip install 'edgeagent[{adapter.extra}]'",
        ) from e
    return cast(IntentSource, module.open_source(address, access))


def open_store(url: str, access: Access = _NO_ACCESS) -> KeyValueStore:
    """The same for a source that can be written. Raises UsageError also for one that can't."""
    adapter = find_adapter(url)
    if not adapter.key_value:
        writable = ", ".join(a.form for a in ADAPTERS if a.key_value)
        raise UsageError(f"config store {url}", f"{adapter.kind} can only be watched", f"use {writable}")
    return cast(KeyValueStore, open_source(url, access))


def open_writer(url: str, access: Access = _NO_ACCESS) -> IntentWriter:
    """The same to write intent with. Raises UsageError also for a source that can only be watched."""
    adapter = find_adapter(url)
    if not (adapter.key_value or adapter.writable):
        raise UsageError(
            f"config store {url}", f"{adapter.kind} can only be watched", "write it by its own means"
        )
    return cast(IntentWriter, open_source(url, access))


def find_adapter(url: str) -> Adapter:
    """The row for the scheme of `url`. Raises UsageError."""
    scheme = _split(url).scheme
    for adapter in ADAPTERS:
        if adapter.scheme == scheme:
            return adapter
    for point in entry_points(group=ENTRY_POINTS, name=scheme):
        try:
            adapter = point.load()
        except Exception as e:  # code of others, and the operator is to learn whose
            why = f"{point.value} can't be loaded ({type(e).__name__}: {e})"
            raise UsageError(f"config store {url}", why, "repair or remove that package") from e
        if not isinstance(adapter, Adapter):
            why = f"{point.value} is no Adapter"
            raise UsageError(f"config store {url}", why, "repair or remove that package")
        return adapter
    raise UsageError(f"config store {url}", f"{url!r} is not a config store", _allowed(ADAPTERS))


def parse_source_url(url: str) -> Address:
    """Its parts. Raises UsageError, which never repeats credentials."""
    parts = _split(url)
    adapter = find_adapter(url)
    if parts.query or parts.fragment:
        raise UsageError(f"config store {url}", "it takes no ? and no #", _allowed((adapter,)))
    if adapter.default_port is None:
        return Address(url, (), _folder(adapter, url, parts))
    path = unquote(parts.path).rstrip("/")
    if path and adapter.path == "none":
        raise UsageError(f"config store {url}", f"it takes no path ({path})", _allowed((adapter,)))
    if not path and adapter.path == "required":
        raise UsageError(f"config store {url}", "the path is missing", _allowed((adapter,)))
    return Address(url, _endpoints(adapter, url, parts.netloc), path)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError as e:
        raise UsageError(f"config store {url}", str(e), _allowed(ADAPTERS)) from e
    if "@" in parts.netloc:
        shown = f"{parts.scheme}://...@{parts.netloc.rpartition('@')[2]}"
        raise UsageError(
            f"config store {shown}",
            "it holds a user or password",
            "allowed: username and password_file beside it",
        )
    return parts


def _allowed(adapters: tuple[Adapter, ...]) -> str:
    return f"allowed: {', '.join(a.form for a in adapters)}"


def _endpoints(adapter: Adapter, url: str, netloc: str) -> tuple[str, ...]:
    found: dict[str, None] = {}  # in the order given, each once
    for text in netloc.split(","):
        match = _ENDPOINT.fullmatch(text)
        port = int(match["port"] or adapter.default_port or 0) if match else 0
        if not match or not 0 < port < 65536:
            raise UsageError(f"config store {url}", f"{text!r} is not host:port", _allowed((adapter,)))
        found[f"{match['host']}:{port}"] = None
    return tuple(found)


def _folder(adapter: Adapter, url: str, parts: SplitResult) -> str:
    folder = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not folder.startswith("/") or "\0" in folder:
        raise UsageError(
            f"config store {url}", "the folder must be absolute, with three slashes", _allowed((adapter,))
        )
    return folder


def _check_access(adapter: Adapter, url: str, access: Access) -> None:
    given = {"login": access.username or access.password_file, "tls": access.tls, "options": access.options}
    for what, name in TAKEN.items():
        if given[what] and what not in adapter.takes:
            raise UsageError(f"config store {url}", f"{adapter.kind} takes no {name}", "leave it out")
    if bool(access.username) != bool(access.password_file):
        raise UsageError(f"config store {url}", "username and password_file go together", "set both or none")
    if access.tls and bool(access.tls.cert_file) != bool(access.tls.key_file):
        raise UsageError(f"config store {url}", "a certificate and its key go together", "set both or none")
