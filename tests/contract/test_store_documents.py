# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tags, withdrawals and snapshots in every kind of model store: what is written there, and what a node makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.core.snapshot import Snapshot
from edgeagent.core.state import VersionRef
from edgeagent.core.store_documents import MAX_DOCUMENT_BYTES, Tag, Withdrawal
from edgeagent.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from edgeagent.store.cache import Cache
from edgeagent.store.fetch import fetch_version
from edgeagent.store.remote import RemoteStore
from edgeagent.store.removal import begin_removal, begun_removals, end_removals
from edgeagent.store.snapshots import read_snapshot, snapshot_names, write_snapshot
from edgeagent.store.tags import Resolved, put_tag, read_tag, remove_tag, resolve, tags
from edgeagent.store.withdrawals import find_withdrawal, let_in, withdraw, withdrawals
from tests.support.model_stores import Store

AT = "2026-11-29T12:00:00Z"
WITHDRAWAL = Withdrawal("finds no dents", "eve", AT)


def fetch(remote: RemoteStore, tmp_path: Path, version: str = "v1", **options: bool) -> str:
    """As a node does; gives the version's digest."""
    cached = fetch_version(remote, Cache(tmp_path / "cache"), "yolo", version, lambda _: None, **options)
    return cached.manifest.digest


def test_a_tag_names_one_version_and_can_be_moved(store: Store, tmp_path: Path) -> None:
    """What it named before is told; whoever reads the store gets the version and its digest."""
    for version in ("v1", "v2"):
        store.publish(version, version.encode(), tmp_path)
    remote, writer = store.remote, store.writer
    assert (tags(remote, "yolo"), read_tag(remote, "yolo", "stable")) == ({}, None)
    assert put_tag(writer, "yolo", "v1", "stable", "eve", AT) == ""
    digest = fetch(remote, tmp_path)
    assert tags(remote, "yolo") == {"stable": Tag("v1", digest, "eve", AT)}
    assert resolve(remote, "yolo", "@stable") == Resolved("v1", digest, "stable")
    assert resolve(remote, "yolo", "v1") == Resolved("v1", digest)
    assert put_tag(writer, "yolo", "v2", "stable", "eve", AT) == "v1"
    assert resolve(remote, "yolo", "@stable").version == "v2"
    assert remove_tag(writer, "yolo", "stable") == "v2"
    with pytest.raises(NotFoundError, match="tag @stable of yolo: not in the store"):
        resolve(remote, "yolo", "@stable")
    with pytest.raises(NotFoundError, match="tag stable of yolo"):
        remove_tag(writer, "yolo", "stable")
    assert tags(remote, "yolo") == {}


def test_a_tag_of_nothing_is_refused(store: Store, tmp_path: Path) -> None:
    """A version that isn't there, was withdrawn, or can't be one; nothing is written."""
    store.publish("v1", b"weights", tmp_path)
    writer = store.writer
    withdraw(writer, "yolo", "v1", WITHDRAWAL)
    for version, error, said in (
        ("v9", NotFoundError, "version yolo/v9: not in the store"),
        ("v1", ConflictError, r"version yolo/v1: withdrawn: finds no dents \(eve, 2026"),
        ("@other", UsageError, "not a valid name"),
    ):
        with pytest.raises(error, match=said):
            put_tag(writer, "yolo", version, "stable", "eve", AT)
    with pytest.raises(UsageError, match=r"tag '\.\./x'"):
        put_tag(writer, "yolo", "v1", "../x", "eve", AT)
    assert tags(store.remote, "yolo") == {}


def test_broken_tags_are_named_and_put_right(store: Store, tmp_path: Path) -> None:
    """Each says what is wrong with it, and none is taken for another version's; writing or removing it helps."""
    store.publish("v1", b"weights", tmp_path)
    remote, writer = store.remote, store.writer
    put_tag(writer, "yolo", "v1", "fine", "eve", AT)
    good = (remote.read("yolo/_tags/fine.json", 1000) or b"").decode()
    broken = {
        "half": good[:40],
        "other": good.replace('"schema": 1', '"schema": 2'),
        "path": good.replace('"v1"', '"../v1"'),
        "digest": good.replace("sha256:", "md5:"),
        "list": "[]",
        "large": good + " " * MAX_DOCUMENT_BYTES,
    }
    for name, text in broken.items():
        store.write(f"yolo/_tags/{name}.json", text.encode())
    store.write("yolo/_tags/.x.json", b"")
    found = tags(remote, "yolo")
    assert list(found) == sorted([*broken, "fine"])
    for name in broken:
        assert isinstance(found[name], IntegrityError)
        with pytest.raises(IntegrityError, match=f"tag {name} of yolo"):
            resolve(remote, "yolo", f"@{name}")
        put_tag(writer, "yolo", "v1", name, "eve", AT)
    assert {resolve(remote, "yolo", f"@{name}").version for name in broken} == {"v1"}
    store.write("yolo/_tags/half.json", b"{")
    assert remove_tag(writer, "yolo", "half") == ""
    assert "half" not in tags(remote, "yolo")


def test_a_tag_is_put_on_a_content(store: Store, tmp_path: Path) -> None:
    """A version that was removed and published anew under its name is not what was tagged."""
    store.publish("v1", b"weights", tmp_path)
    put_tag(store.writer, "yolo", "v1", "stable", "eve", AT)
    store.remove("yolo/v1/manifest.json")
    store.publish("v1", b"others", tmp_path)
    with pytest.raises(
        ConflictError, match=r"tag @stable of yolo: it was put on v1 as sha256:\w+, and the store"
    ):
        resolve(store.remote, "yolo", "@stable")


def test_a_withdrawn_version_is_not_fetched(store: Store, tmp_path: Path) -> None:
    """Also from the cache, unless it has served well here; the fingerprint tells when it is let in again."""
    store.publish("v1", b"weights", tmp_path)
    remote, writer = store.remote, store.writer
    let = remote.fingerprint("yolo", "v1")
    digest = fetch(remote, tmp_path)
    withdraw(writer, "yolo", "v1", WITHDRAWAL)
    assert find_withdrawal(remote, "yolo", "v1") == WITHDRAWAL
    assert withdrawals(remote, "yolo") == {"v1": WITHDRAWAL}
    with pytest.raises(ConflictError, match=r"version yolo/v1: withdrawn: finds no dents \(eve, .*--undo"):
        fetch(remote, tmp_path)
    assert fetch(remote, tmp_path, withdrawn_too=True) == digest
    refused = remote.fingerprint("yolo", "v1")
    assert refused not in (let, "absent")
    with pytest.raises(ConflictError, match=r"is withdrawn already: finds no dents \(eve"):
        withdraw(writer, "yolo", "v1", Withdrawal("another", "adam", AT))
    assert let_in(writer, "yolo", "v1") == WITHDRAWAL
    assert (remote.fingerprint("yolo", "v1"), fetch(remote, tmp_path)) == (let, digest)
    with pytest.raises(ConflictError, match="yolo/v1: is not withdrawn"):
        let_in(writer, "yolo", "v1")
    with pytest.raises(NotFoundError, match="yolo/v9: not in the store"):
        withdraw(writer, "yolo", "v9", WITHDRAWAL)
    assert (withdrawals(remote, "yolo"), store.has("yolo/_withdrawn/v9.json")) == ({}, False)


def test_a_withdrawal_that_cannot_be_read_is_one(store: Store, tmp_path: Path) -> None:
    """Somebody has put it there; and letting the version in removes it."""
    store.publish("v1", b"weights", tmp_path)
    for data in (b"", b"{", b"[]", b'{"schema": 1}', b"{}" + b" " * MAX_DOCUMENT_BYTES):
        store.write("yolo/_withdrawn/v1.json", data)
        with pytest.raises(ConflictError, match=r"yolo/v1: withdrawn: .*the reason can't be read"):
            fetch(store.remote, tmp_path)
    let_in(store.writer, "yolo", "v1")
    assert fetch(store.remote, tmp_path)


def test_what_is_said_beside_versions_is_none(store: Store, tmp_path: Path) -> None:
    """Neither for this release nor for one that knows nothing of it."""
    store.publish("v1", b"weights", tmp_path)
    put_tag(store.writer, "yolo", "v1", "stable", "eve", AT)
    withdraw(store.writer, "yolo", "v1", WITHDRAWAL)
    assert store.remote.versions("yolo") == ["v1"]
    for name in ("_tags", "_withdrawn"):
        with pytest.raises(UsageError):
            store.remote.read_manifest("yolo", name)


def test_a_snapshot_is_written_once(store: Store) -> None:
    """And read as it was written, also with thousands of nodes; it isn't a model."""
    ref = VersionRef("v7", f"sha256:{'a' * 64}")
    nodes = {f"press-{n:04}": {"yolo": ref, "caps": VersionRef("v1", "")} for n in range(2000)}
    snapshot = Snapshot("before-easter", AT, "eve", nodes)
    remote, writer = store.remote, store.writer
    assert snapshot_names(remote) == []
    write_snapshot(writer, snapshot)
    assert read_snapshot(remote, "before-easter") == snapshot
    assert snapshot_names(remote) == ["before-easter"]
    with pytest.raises(ConflictError, match="snapshot before-easter: exists already"):
        write_snapshot(writer, Snapshot("before-easter", AT, "eve", {}))
    with pytest.raises(NotFoundError, match="snapshot after: not in the store"):
        read_snapshot(remote, "after")


def test_a_store_that_can_only_be_read(store: Store, tmp_path: Path) -> None:
    """Says so, and where to write instead."""
    if store.url == store.write_url:
        pytest.skip("can be written")
    store.publish("v1", b"weights", tmp_path)
    put_tag(store.writer, "yolo", "v1", "stable", "eve", AT)
    remote = store.remote
    for write in (
        lambda: put_tag(remote, "yolo", "v1", "other", "eve", AT),
        lambda: remove_tag(remote, "yolo", "stable"),
        lambda: withdraw(remote, "yolo", "v1", WITHDRAWAL),
        lambda: write_snapshot(remote, Snapshot("now", AT, "eve", {})),
    ):
        with pytest.raises(UsageError, match="read-only; publish to the folder or bucket"):
            write()


def test_a_version_is_removed_with_its_files(store: Store, tmp_path: Path) -> None:
    """From the first step on there is no such version; a withdrawal stays, and what is beside it too."""
    if store.url != store.write_url:
        pytest.skip("read-only")
    golden = tmp_path / "golden"
    golden.mkdir()
    (golden / "part 1#ä.png").write_bytes(b"picture")
    manifest = store.publish("v1", b"weights", tmp_path, golden)
    store.publish("v2", b"others", tmp_path)
    writer = store.writer
    withdraw(writer, "yolo", "v1", WITHDRAWAL)
    assert begin_removal(writer, "yolo", "v1") == manifest
    assert (writer.versions("yolo"), writer.fingerprint("yolo", "v1")) == (["v2"], "absent")
    assert store.has(f"yolo/v1/{manifest.golden[0]}")
    assert begun_removals(writer, "yolo") == [manifest]
    done: list[tuple[int, int]] = []
    end_removals(writer, [manifest], lambda *progress: done.append(progress))
    assert (done[-1], begun_removals(writer, "yolo")) == ((2, 2), [])
    assert not store.has("yolo/v1")
    assert withdrawals(writer, "yolo") == {"v1": WITHDRAWAL}
    assert fetch(writer, tmp_path, "v2")


def test_removing_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    """No file, and no folder that is empty; what is gone already is no error."""
    if store.url != store.write_url:
        pytest.skip("read-only")
    store.publish("v1", b"weights", tmp_path)
    writer = store.writer
    writer.put("yolo/_tags/a.json", b"1")
    writer.put("yolo/_tags/a.json", b"2")
    assert writer.read("yolo/_tags/a.json", 10) == b"2"
    writer.remove("yolo/_tags/a.json")
    writer.remove("yolo/_tags/a.json")
    assert writer.read("yolo/_tags/a.json", 10) is None
    assert not store.has("yolo/_tags")
    assert writer.versions("yolo") == ["v1"]
