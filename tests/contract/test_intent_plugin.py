# SPDX-License-Identifier: AGPL-3.0-or-later
"""A source of intent that isn't ours: one file and one row, in a package of its own."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from edgeagent.config import parse_config
from edgeagent.errors import UsageError
from edgeagent.intent.port import Connection, Entry
from edgeagent.intent.url import open_source, open_store
from tests.support.recorder import Recorder

MODULE = """
from edgeagent.intent.port import Connection, Entry
from edgeagent.intent.url import Adapter

ADAPTER = Adapter("fixed", "fixed", "fixed://host/version", "fixed_source", default_port=1, path="required")


class FixedSource:
    def __init__(self, address):
        self.url, self._version = address.url, address.path[1:]

    def watch(self, keys, on_entry, on_connection):
        on_connection(Connection(True))
        for key in keys:
            on_entry(Entry(key, self._version.encode(), "1"))
        return self

    def close(self):
        pass


def open_source(address, access):
    return FixedSource(address)
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as pip leaves it: its module, and metadata with the entry point."""
    (tmp_path / "fixed_source.py").write_text(MODULE)
    metadata = tmp_path / "fixed_source-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fixed-source\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[edgeagent.intent_sources]\nfixed = fixed_source:ADAPTER\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "fixed_source", raising=False)


@pytest.mark.usefixtures("installed")
def test_a_source_of_a_package_is_one_like_ours() -> None:
    """The check of the configuration knows its URL, and it is opened and watched by it."""
    url = "fixed://host/v7"
    assert parse_config({"intent_sources": [{"url": url}]}).intent_sources[0].url == url
    with pytest.raises(UsageError, match="the path is missing; allowed: fixed://host/version"):
        parse_config({"config_store": {"url": "fixed://host"}})
    seen = Recorder()
    open_source(url).watch(["/models/yolo/current"], seen.on_entry, seen.on_connection)
    assert seen.entries == [Entry("/models/yolo/current", b"v7", "1")]
    assert seen.connections == [Connection(True)]
    with pytest.raises(UsageError, match="fixed can only be watched"):
        open_store(url)


@pytest.mark.usefixtures("installed")
def test_a_package_that_is_broken_is_named(tmp_path: Path) -> None:
    """In one line, like every other mistake in a configuration."""
    (tmp_path / "fixed_source.py").write_text("import no_such_client")
    with pytest.raises(UsageError, match=r"fixed_source:ADAPTER can't be loaded .*no_such_client") as raised:
        parse_config({"intent_sources": [{"url": "fixed://host/v7"}]})
    assert "\n" not in str(raised.value)
    (tmp_path / "fixed_source.py").write_text("ADAPTER = 1")
    sys.modules.pop("fixed_source", None)
    importlib.invalidate_caches()
    with pytest.raises(UsageError, match="fixed_source:ADAPTER is no Adapter; repair or remove"):
        open_source("fixed://host/v7")


def test_without_the_package_its_urls_are_unknown() -> None:
    """And what there is, is named."""
    with pytest.raises(UsageError, match="is not a config store; allowed: etcd://"):
        open_source("fixed://host/v7")
