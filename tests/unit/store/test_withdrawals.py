# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a version was withdrawn, where the store doesn't answer plainly."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgeagent.errors import UnavailableError
from edgeagent.store.remote import RemoteStore
from edgeagent.store.withdrawals import find_withdrawal
from tests.support.published import publish_bytes

PATH = "yolo/_withdrawn/v1.json"


@dataclass
class Refusing:
    """Files of a store that lets us read no more than we know of. listings: what may be listed, and what is there."""

    error: Exception
    listings: dict[str, list[str]] = field(default_factory=dict)

    def is_there(self) -> bool:
        """It answers."""
        return True

    def stream(self, path: str, offset: int) -> Generator[bytes]:
        """Never anything."""
        raise self.error
        yield b""

    def identity(self, path: str) -> dict[str, str]:
        """Never anything."""
        raise self.error

    def names(self, path: str) -> list[str]:
        """What may be listed."""
        if path in self.listings:
            return self.listings[path]
        raise self.error


def store_of(files: Refusing) -> RemoteStore:
    """A store with these files."""
    store = RemoteStore("/nowhere", timeout_s=5)
    store._files = files
    return store


@pytest.mark.parametrize("listings", [{}, {"yolo": ["v1"]}, {"yolo/_withdrawn": ["v2.json"]}])
def test_a_store_that_refuses_what_is_not_there(listings: dict[str, list[str]]) -> None:
    """As S3 does to who may not list; nothing shows that there is a withdrawal."""
    assert find_withdrawal(store_of(Refusing(PermissionError("403"), listings)), "yolo", "v1") is None


@pytest.mark.parametrize("listings", [{"yolo": ["v1", "_withdrawn"]}, {"yolo/_withdrawn": ["v1.json"]}])
def test_one_that_is_there_and_may_not_be_read_is_no_permission(listings: dict[str, list[str]]) -> None:
    """It is tried again, with what has to be done."""
    store = store_of(Refusing(PermissionError("403"), listings))
    with pytest.raises(UnavailableError, match="access refused"):
        find_withdrawal(store, "yolo", "v1")
    with pytest.raises(UnavailableError, match="access refused"):
        store.read_withdrawal("yolo", "v1")


def test_a_store_that_is_away_is_no_permission() -> None:
    """Whatever it would list."""
    with pytest.raises(UnavailableError, match="no answer"):
        find_withdrawal(store_of(Refusing(TimeoutError())), "yolo", "v1")


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A pipe is in the place of a withdrawal: it counts. A folder is nothing."""
    publish_bytes(str(tmp_path), "v1", b"weights", tmp_path)
    (tmp_path / PATH).parent.mkdir()
    make(tmp_path / PATH)
    found = find_withdrawal(RemoteStore(str(tmp_path)), "yolo", "v1")
    assert bool(found) == (make is os.mkfifo)
