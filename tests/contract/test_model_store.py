# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every kind of model store must do: a folder, an HTTP server with and without ranges, S3."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from edgeagent.core.model import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from edgeagent.errors import ConflictError, IntegrityError, NotFoundError, UnavailableError, UsageError
from edgeagent.store.cache import Cache, golden_files
from edgeagent.store.fetch import Progress, fetch_version
from edgeagent.store.publish import publish
from edgeagent.store.remote import RemoteStore
from tests.support.golden import golden_set, labels
from tests.support.model_stores import Store
from tests.support.published import METADATA, some_bytes

WEIGHTS = some_bytes(1_500_000)


def test_published_version_can_be_fetched(store: Store, tmp_path: Path) -> None:
    """From publish to cache, weights and golden set, byte by byte."""
    golden = tmp_path / "golden"
    golden.mkdir()
    (golden / "part 1#ä.png").write_bytes(b"picture")
    manifest = store.publish("v1", WEIGHTS, tmp_path, golden)
    cached = fetch_version(store.remote, Cache(tmp_path / "cache"), "yolo", "v1", lambda _: None)
    assert cached.manifest == manifest
    assert cached.weights.read_bytes() == WEIGHTS
    assert cached.files[manifest.golden[0]].read_bytes() == b"picture"


def test_ready_files_are_fetched_with_the_source(store: Store, tmp_path: Path) -> None:
    """A node finds each under its format, and what belongs to a graph among its parts."""
    checkpoint, graph, numbers = (tmp_path / name for name in ("best.pt", "best.xml", "best.bin"))
    for path in (checkpoint, graph, numbers):
        path.write_text(path.name)
    metadata, alternates = replace(METADATA, format="pt"), [(graph, replace(METADATA, format="openvino"))]
    publish(
        checkpoint,
        "yolo",
        "v1",
        store.write_url,
        metadata=metadata,
        alternates=alternates,
        storage_options=store.options,
    )
    cached = fetch_version(store.remote, Cache(tmp_path / "cache"), "yolo", "v1", lambda _: None)
    got = cached.verified
    assert got.weights.read_text() == "best.pt"
    assert {fmt: path.read_text() for fmt, path in got.alternates.items()} == {"openvino": "best.xml"}
    assert {fmt: path.read_text() for fmt, path in got.companions.items()} == {"openvino-bin": "best.bin"}


def test_reads_from_any_offset(store: Store, tmp_path: Path) -> None:
    """Aligned also where the server knows no ranges; nothing at or behind the end."""
    size = len(WEIGHTS)
    path = store.publish("v1", WEIGHTS, tmp_path).weights.path
    remote = store.remote
    for offset in (0, 1, 65_536, 1_000_001, size - 1, size, size + 7):
        assert b"".join(remote.open_from("yolo", "v1", path, offset)) == WEIGHTS[offset:], offset


def test_interrupted_fetch_resumes(store: Store, tmp_path: Path) -> None:
    """With a part in the cache, the rest is appended and the whole is right."""
    manifest = store.publish("v1", WEIGHTS, tmp_path)
    cache = Cache(tmp_path / "cache")
    (cache.root / "partial" / manifest.weights.sha256).write_bytes(WEIGHTS[:777_777])
    resumed: list[int] = []
    cached = fetch_version(store.remote, cache, "yolo", "v1", lambda p: resumed.append(p.resumed_from))
    assert cached.weights.read_bytes() == WEIGHTS
    assert resumed[0] == 777_777


def test_absent_version(store: Store, tmp_path: Path) -> None:
    """Not found, and said with its name and the store; also when it is only half there."""
    store.publish("v1", b"weights", tmp_path)
    store.write("yolo/v2/best.onnx", b"weights")
    remote = store.remote
    for model, version in (("yolo", "v9"), ("yolo", "v2"), ("other", "v1")):
        with pytest.raises(NotFoundError, match=f"version {model}/{version}: not in the store"):
            remote.read_manifest(model, version)
        assert not remote.has_version(model, version)
        assert remote.fingerprint(model, version) == "absent"


def test_versions_are_those_with_a_manifest(store: Store, tmp_path: Path) -> None:
    """Half a publish is none, nor is a folder that no version can be called."""
    assert store.remote.versions("yolo") == []
    store.publish("v2", b"two", tmp_path)
    store.publish("v1.0_a-b", b"one", tmp_path)
    store.write("yolo/v3/best.onnx", b"half")
    store.write("yolo/.v4/manifest.json", b"{}")
    remote = store.remote
    assert remote.versions("yolo") == ["v1.0_a-b", "v2"]
    assert remote.versions("other") == []


def test_damaged_file_is_refused_and_the_repaired_one_taken(store: Store, tmp_path: Path) -> None:
    """Flipped, short, long, missing; each by the file's name. The fingerprint tells the repair."""
    manifest = store.publish("v1", WEIGHTS, tmp_path)
    where = f"yolo/v1/{manifest.weights.path}"
    cache = Cache(tmp_path / "cache")
    for damaged in (b"\0" + WEIGHTS[1:], WEIGHTS[:-1], WEIGHTS + b"x", None):
        if damaged is None:
            store.remove(where)
        else:
            store.write(where, damaged)
        with pytest.raises(IntegrityError, match=r"file best-\w+\.onnx of yolo/v1"):
            fetch_version(store.remote, cache, "yolo", "v1", lambda _: None)
        assert cache.lookup("yolo", "v1") is None
    remote = store.remote
    refused = remote.fingerprint("yolo", "v1")
    assert remote.fingerprint("yolo", "v1") == refused
    store.write(where, WEIGHTS)
    assert remote.fingerprint("yolo", "v1") != refused
    assert fetch_version(store.remote, cache, "yolo", "v1", lambda _: None).weights.read_bytes() == WEIGHTS


def test_fingerprint_tells_other_weights_of_the_same_size(store: Store, tmp_path: Path) -> None:
    """A store put right in place."""
    manifest = store.publish("v1", WEIGHTS, tmp_path)
    before = store.remote.fingerprint("yolo", "v1")
    store.write(f"yolo/v1/{manifest.weights.path}", b"\0" + WEIGHTS[1:])
    assert store.remote.fingerprint("yolo", "v1") != before


def test_fingerprint_tells_another_manifest(store: Store, tmp_path: Path) -> None:
    """Broken ones have a fingerprint too."""
    store.publish("v1", b"weights", tmp_path)
    remote = store.remote
    seen = {remote.fingerprint("yolo", "v1")}
    for broken in (b"{", b"{}"):
        store.write("yolo/v1/manifest.json", broken)
        seen.add(remote.fingerprint("yolo", "v1"))
    assert len(seen) == 3


def test_huge_manifest_is_cut(store: Store) -> None:
    """One byte over the limit is enough to refuse it; no more is held."""
    store.write("yolo/v1/manifest.json", b" " * (MAX_MANIFEST_BYTES + 1_000_000))
    data = store.remote.read_manifest("yolo", "v1")
    assert len(data) == MAX_MANIFEST_BYTES + 1
    with pytest.raises(IntegrityError):
        parse_manifest(data, "yolo", "v1")


def test_names_cannot_leave_the_store(store: Store) -> None:
    """Refused before a request."""
    remote = store.remote
    calls: list[Callable[[], object]] = [
        lambda: remote.read_manifest("..", "v1"),
        lambda: remote.fingerprint("yolo", "../../v1"),
        lambda: remote.versions("../other"),
        lambda: remote.open_from("yolo", "a/b", "x", 0),
    ]
    for call in calls:
        with pytest.raises(UsageError):
            call()


def test_store_that_is_away_is_not_an_empty_one(store: Store, tmp_path: Path) -> None:
    """A share that isn't mounted, a server that is down: to be retried, and the cache serves meanwhile."""
    if store.url.startswith("http"):
        away = RemoteStore("http://127.0.0.1:1/", timeout_s=10)
    else:
        away = RemoteStore(
            store.url.replace("store", "gone").replace("factory", "gone"), storage_options=store.options
        )
    with pytest.raises(UnavailableError, match="model store"):
        away.read_manifest("yolo", "v1")
    store.publish("v1", WEIGHTS, tmp_path)
    cache = Cache(tmp_path / "cache")
    cached = fetch_version(store.remote, cache, "yolo", "v1", lambda _: None)
    assert fetch_version(away, cache, "yolo", "v1", lambda _: None) == cached


def test_manifest_is_taken_once(store: Store, tmp_path: Path) -> None:
    """The store itself refuses the second, even when the publisher has not looked."""
    if store.url != store.write_url:
        with pytest.raises(UsageError, match="read-only"):
            store.remote.prepare_to_publish()
        return
    manifest = store.publish("v1", b"weights", tmp_path)
    with pytest.raises(ConflictError, match=r"yolo/v1: exists already"):
        store.remote.put_manifest("yolo", "v1", b"{}")
    assert store.remote.read_manifest("yolo", "v1") == manifest.to_json()
    with pytest.raises(ConflictError, match=r"yolo/v1: exists already"):
        store.publish("v1", b"other", tmp_path)


def test_one_of_many_publishers_wins(store: Store, tmp_path: Path) -> None:
    """The same version name at the same time, other weights each: one version, whole, and the others are told."""
    if store.url != store.write_url:
        pytest.skip("read-only")

    def attempt(n: int) -> Manifest | None:
        scratch = tmp_path / str(n)
        scratch.mkdir()
        try:
            return store.publish("v1", some_bytes(200_000, seed=n), scratch)
        except ConflictError:
            return None

    with ThreadPoolExecutor(3) as pool:
        (winner,) = [manifest for manifest in pool.map(attempt, range(3)) if manifest]
    cached = fetch_version(store.remote, Cache(tmp_path / "cache"), "yolo", "v1", lambda _: None)
    assert cached.manifest == winner


def test_a_golden_set_of_hundreds_of_files_is_fetched_and_resumed(store: Store, tmp_path: Path) -> None:
    """Every file by its path; what is there already isn't asked for again, and the manifest stays within its limit."""
    golden = golden_set(tmp_path / "set", 150, 0, names=("scratch",))
    manifest = store.publish("v1", WEIGHTS, tmp_path, golden)
    assert len(manifest.golden) == 301
    assert len(manifest.to_json()) < MAX_MANIFEST_BYTES / 4
    cache = Cache(tmp_path / "cache")

    class Cut(Exception):
        """The process is killed."""

    def cut(progress: Progress) -> None:
        if progress.file == manifest.golden[200]:
            raise Cut

    with pytest.raises(Cut):
        fetch_version(store.remote, cache, "yolo", "v1", cut)
    seen: list[str] = []
    cached = fetch_version(store.remote, cache, "yolo", "v1", lambda progress: seen.append(progress.file))
    assert len(set(seen)) <= 120  # 150 pictures differ, their labels don't
    files = golden_files(cached.verified)
    assert (len(files), files["labels/0149.txt"].read_text()) == (301, labels(0))
    assert files["images/0149.png"].read_bytes() == (golden / "images/0149.png").read_bytes()
    assert store.remote.fingerprint("yolo", "v1") == store.remote.fingerprint("yolo", "v1")
