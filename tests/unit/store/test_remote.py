# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening a model store: what is wrong with a URL is said before anything is asked of it."""

from __future__ import annotations

import importlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeagent.errors import IntegrityError, MissingExtraError, UsageError
from edgeagent.store.remote import RemoteStore


@pytest.mark.parametrize("url", ["nonsense://host/x", "http:///models", "https://"])
def test_url_that_means_nothing(url: str) -> None:
    """A mistake of the operator's, with what is allowed."""
    with pytest.raises(UsageError, match="model store"):
        RemoteStore(url)


def test_unknown_options_of_a_web_server() -> None:
    """Options that nobody reads would be a token that nobody sends."""
    with pytest.raises(UsageError, match="headers"):
        RemoteStore("https://host/models", storage_options={"token": "x"})


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    registry = importlib.import_module("fsspec.registry")  # fsspec.registry is a view of it
    monkeypatch.delitem(registry._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgeagent\[s3\]'"):
        RemoteStore("s3://factory-models")


def test_folder_in_each_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path, a relative path and a file URL are the same store."""
    monkeypatch.chdir(tmp_path)
    for n, url in enumerate((str(tmp_path / "store"), "store", "./store", f"file://{tmp_path}/store")):
        RemoteStore(url).put_manifest("yolo", f"v{n}", b"{}")
    assert RemoteStore(str(tmp_path / "store")).versions("yolo") == ["v0", "v1", "v2", "v3"]


def test_secrets_of_the_url_are_not_shown() -> None:
    """The name goes into logs and messages."""
    name = RemoteStore("https://user:hunter2@host/models?token=hunter2").name
    assert name.startswith("https://")
    assert "hunter2" not in name


def _loop(path: Path) -> None:
    path.symlink_to("b")
    path.with_name("b").symlink_to(path.name)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(path))


@pytest.mark.parametrize(
    ("make", "said"),
    [(os.mkfifo, "a pipe"), (_loop, "links go round in a loop"), (_socket, "a socket")],
    ids=["pipe", "loop", "socket"],
)
@pytest.mark.parametrize("name", ["manifest.json", "a"])
def test_what_is_no_file_is_the_versions_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], said: str, name: str
) -> None:
    """Waiting makes no file of it: refused with the reason, for a manifest and for weights; and it counts as absent."""
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    version = Path("yolo/v1")
    version.mkdir(parents=True)
    make(version / name)
    store = RemoteStore(".", timeout_s=5)
    with pytest.raises(IntegrityError, match=rf"yolo/v1/{name} in the store .*: it.* {said}"):
        next(store.open_from("yolo", "v1", name, 0))
    if name == "manifest.json":
        with pytest.raises(IntegrityError, match=said):
            store.read_manifest("yolo", "v1")
        assert store.fingerprint("yolo", "v1") == "absent"
        assert store.versions("yolo") == []
