# SPDX-License-Identifier: AGPL-3.0-or-later
"""Removing versions, cut off at each step: none is ever half there, and what was begun is brought to its end."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

from edgeagent.core.model import Manifest, parse_manifest
from edgeagent.core.store_documents import removal_path
from edgeagent.errors import ConflictError, IntegrityError, NotFoundError, UnavailableError
from edgeagent.store.folder import FolderFiles
from edgeagent.store.remote import RemoteStore
from edgeagent.store.removal import begin_removal, begun_removals, end_removals
from tests.support.published import publish_bytes


class Cut(Exception):
    """The power is cut."""


class Failing(FolderFiles):
    """A store that takes so many writes, and then none. Whether the last one was made nobody knows: `made`."""

    def __init__(self, root: Path, writes: int, made: bool) -> None:
        super().__init__(root)
        self.left = writes
        self.made = made

    def put(self, path: str, data: bytes) -> None:
        """One write."""
        self._count(lambda: super(Failing, self).put(path, data))

    def remove(self, path: str) -> None:
        """One write."""
        self._count(lambda: super(Failing, self).remove(path))

    def _count(self, write: object) -> None:
        self.left -= 1
        if self.left >= 0 or self.made:
            assert callable(write)
            write()
        if self.left < 0:
            raise Cut


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """Two pictures, in a folder of their own."""
    folder = tmp_path / "golden" / "images"
    folder.mkdir(parents=True)
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(name.encode())
    return tmp_path / "golden" / "images"


def remove(store: RemoteStore, version: str = "v1") -> None:
    """As `prune` does."""
    left = [m for m in begun_removals(store, "yolo") if isinstance(m, Manifest)]
    if store.has_version("yolo", version):
        left.append(begin_removal(store, "yolo", version))
    end_removals(store, left)


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("writes", range(7))
def test_cut_off_anywhere_it_is_whole_or_gone(tmp_path: Path, golden: Path, writes: int, made: bool) -> None:
    """And the next time nothing is left, not even a folder; what is beside it stays."""
    root = tmp_path / "store"
    for version in ("v1", "v2"):
        manifest = publish_bytes(str(root), version, version.encode(), tmp_path, golden=golden)
    before = sorted(path.relative_to(root) for path in root.rglob("*"))
    store = RemoteStore(str(root))
    store._files = Failing(root, writes, made)
    with suppress(UnavailableError):
        remove(store)
    again = RemoteStore(str(root))
    if again.has_version("yolo", "v1"):
        whole = parse_manifest(again.read_manifest("yolo", "v1"), "yolo", "v1")
        assert all((root / "yolo/v1" / file.path).is_file() for file in whole.files)
    else:
        assert again.versions("yolo") == ["v2"]
    remove(again)
    left = [path for path in before if "v1" not in path.parts]
    assert sorted(path.relative_to(root) for path in root.rglob("*")) == left
    assert parse_manifest(again.read_manifest("yolo", "v2"), "yolo", "v2") == manifest


def test_the_last_step_is_one_of_them(tmp_path: Path, golden: Path) -> None:
    """The test above cuts at each write, and lets all of them through once."""
    root = tmp_path / "store"
    publish_bytes(str(root), "v1", b"v1", tmp_path, golden=golden)
    store = RemoteStore(str(root))
    files = store._files = Failing(root, 99, False)
    remove(store)
    assert 99 - files.left == 6


def test_what_was_begun_is_known(tmp_path: Path) -> None:
    """With its files; the name isn't given to another version until they are gone. A version that was published by an
    earlier release meanwhile is one."""
    root = tmp_path / "store"
    manifest = publish_bytes(str(root), "v1", b"v1", tmp_path)
    store = RemoteStore(str(root))
    assert begin_removal(store, "yolo", "v1") == manifest
    assert begun_removals(store, "yolo") == [manifest]
    with pytest.raises(NotFoundError):
        begin_removal(store, "yolo", "v1")
    with pytest.raises(ConflictError, match="not all of its files are removed"):
        publish_bytes(str(root), "v1", b"v1", tmp_path)
    store.put_manifest("yolo", "v1", manifest.to_json())
    assert begun_removals(store, "yolo") == []


@pytest.mark.parametrize("path", ["../../other/v1/best.onnx", "/etc/passwd", "manifest.json"])
def test_a_copy_that_names_other_files_removes_nothing(tmp_path: Path, path: str) -> None:
    """It is as untrusted as a manifest; what to do is said."""
    root = tmp_path / "store"
    manifest = publish_bytes(str(root), "v1", b"v1", tmp_path)
    store = RemoteStore(str(root))
    begin_removal(store, "yolo", "v1")
    changed = manifest.to_json().replace(manifest.weights.path.encode(), path.encode())
    store.put(removal_path("yolo", "v1"), changed)
    (broken,) = begun_removals(store, "yolo")
    assert isinstance(broken, IntegrityError)
    assert "removal of yolo/v1" in str(broken)
    assert "yolo/_removed/v1.json yourself" in str(broken)


def test_a_broken_version_is_not_removed(tmp_path: Path) -> None:
    """Nobody knows which files it has."""
    publish_bytes(str(tmp_path), "v1", b"v1", tmp_path)
    (tmp_path / "yolo/v1/manifest.json").write_text("{")
    store = RemoteStore(str(tmp_path))
    with pytest.raises(IntegrityError):
        begin_removal(store, "yolo", "v1")
    assert store.read(removal_path("yolo", "v1"), 10) is None


class Vanishing(FolderFiles):
    """Lists what isn't there any more."""

    def stream(self, path: str, offset: int) -> Generator[bytes]:
        """Gone."""
        raise FileNotFoundError(path)
        yield b""


def test_a_copy_that_vanishes_is_none(tmp_path: Path) -> None:
    """Another one brought it to its end meanwhile."""
    publish_bytes(str(tmp_path), "v1", b"v1", tmp_path)
    store = RemoteStore(str(tmp_path))
    begin_removal(store, "yolo", "v1")
    store._files = Vanishing(tmp_path)
    assert begun_removals(store, "yolo") == []
