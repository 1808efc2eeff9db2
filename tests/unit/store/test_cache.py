# SPDX-License-Identifier: AGPL-3.0-or-later
"""The cache: what counts as whole, what is evicted, what never is."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from edgeagent.errors import IntegrityError, UnavailableError, UsageError
from edgeagent.store import cache as cache_module
from edgeagent.store.cache import Cache, CachedVersion
from tests.support.cached import manifest_of, put
from tests.support.read_only import make_read_only


def used(cache: Cache, *cached: CachedVersion) -> None:
    """Mark as used in this order, a second apart."""
    for second, one in enumerate(cached):
        cache.mark_used(one)
        (path,) = cache.root.glob(f"versions/*/{one.manifest.version}@{one.manifest.digest[7:]}.json")
        os.utime(path, (1000 + second, 1000 + second))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    return Cache(tmp_path / "cache")


def test_whole_version_is_found_again(cache: Cache) -> None:
    """Also by a new process: everything is on disk."""
    put(cache, "v1", {"best.onnx": b"weights", "golden/a.png": b"picture"})
    found = Cache(cache.root).lookup("yolo", "v1")
    assert found is not None
    assert found.weights.read_bytes() == b"weights"
    assert found.files["golden/a.png"].read_bytes() == b"picture"
    assert cache.lookup("yolo", "v2") is None
    assert cache.lookup("other", "v1") is None


def test_a_version_tells_networks_companions_and_golden_files_apart(cache: Cache) -> None:
    """The files beside an OpenVINO graph belong to it, be it the source or not; other networks are no companions."""
    graph = {"best.openvino": b"xml", "best.openvino-bin": b"bin", "metadata.metadata": b"yaml"}
    golden = {"golden/a.onnx": b"no network"}
    for version, files, source, alternates in (
        ("v1", {"best.pt": b"pt", "best.onnx": b"onnx", **graph, **golden}, "pt", {"onnx", "openvino"}),
        ("v2", {**graph, "best.onnx": b"onnx", **golden}, "openvino", {"onnx"}),
    ):
        cached = put(cache, version, files)
        verified = cached.verified
        assert verified.format == source
        assert verified.alternates == {fmt: cached.files[f"best.{fmt}"] for fmt in alternates}
        assert verified.companions == {
            "openvino-bin": cached.files["best.openvino-bin"],
            "metadata": cached.files["metadata.metadata"],
        }
        assert verified.golden == (cached.files["golden/a.onnx"],)
        assert [*verified.files] == [source, *verified.alternates]


@pytest.mark.parametrize("damage", ["gone", "short", "long"])
def test_version_with_a_broken_file_is_not_whole(cache: Cache, damage: str) -> None:
    """Existence and size are checked at each lookup."""
    blob = put(cache, "v1").weights
    match damage:
        case "gone":
            blob.unlink()
        case "short":
            os.truncate(blob, 1)
        case "long":
            blob.write_bytes(blob.read_bytes() + b"x")
    assert cache.lookup("yolo", "v1") is None


def test_damaged_manifest_is_not_a_version(cache: Cache) -> None:
    """Bit rot in the cache's own record, or one with another version's content under this name."""
    put(cache, "v1")
    (path,) = (cache.root / "versions/yolo").iterdir()
    path.write_bytes(path.read_bytes().replace(b"320", b"640"))
    assert cache.lookup("yolo", "v1") is None
    path.write_bytes(b"\0" * 100)
    assert cache.lookup("yolo", "v1") is None


def test_manifest_is_not_recorded_before_its_files(cache: Cache) -> None:
    """A version never becomes visible with a file missing."""
    with pytest.raises(IntegrityError):
        cache.add(manifest_of("v1", {"best.onnx": b"not there"}))
    assert cache.lookup("yolo", "v1") is None


def test_flipped_bit_is_found_and_removed(cache: Cache) -> None:
    """The size is right, the content isn't: verify says which file, and the next fetch brings it anew."""
    cached = put(cache, "v1")
    cache.verify(cached)
    data = bytearray(cached.weights.read_bytes())
    data[0] ^= 1
    cached.weights.write_bytes(data)
    assert cache.lookup("yolo", "v1") is not None
    with pytest.raises(IntegrityError, match=r"best\.onnx of yolo/v1"):
        cache.verify(cached)
    assert cache.lookup("yolo", "v1") is None
    with pytest.raises(IntegrityError):
        cache.verify(cached)


def test_same_name_with_other_content_keeps_both(cache: Cache) -> None:
    """The store broke its promise: the last known good stays loadable by its digest."""
    old = put(cache, "v1", {"best.onnx": b"old"})
    new = put(cache, "v1", {"best.onnx": b"new"})
    used(cache, old, new)
    assert cache.lookup("yolo", "v1") == new
    assert cache.lookup("yolo", "v1", old.manifest.digest) == old
    used(cache, new, old)
    assert cache.lookup("yolo", "v1") == old
    assert cache.lookup("yolo", "v1", "sha256:" + "0" * 64) is None


def test_evicts_the_least_recently_used(cache: Cache) -> None:
    """Use counts, not the name or the order of arrival; each model for itself."""
    v1, v2, v3 = (put(cache, v) for v in ("v1", "v2", "v3"))
    put(cache, "v1", model="other")
    used(cache, v2, v3, v1)
    assert cache.evict(2, protected=()) == [("yolo", "v2")]
    assert not v2.weights.exists()
    assert [c.manifest.version for c in cache.versions("yolo")] == ["v1", "v3"]
    assert cache.lookup("other", "v1") is not None
    assert cache.evict(2, protected=()) == []


def test_never_evicts_the_protected(cache: Cache) -> None:
    """Active, standby and last known good stay, in all their contents, however long ago they were used."""
    old = put(cache, "v1", {"best.onnx": b"old"})
    v1, v2, v3 = (put(cache, v) for v in ("v1", "v2", "v3"))
    used(cache, old, v1, v2, v3)
    assert cache.evict(1, protected=[("yolo", "v1")]) == [("yolo", "v2")]
    for kept in (old, v1, v3):
        cache.verify(kept)
    assert cache.evict(0, protected=[("other", "v1")]) == [("yolo", "v3"), ("yolo", "v1"), ("yolo", "v1")]
    assert list((cache.root / "blobs").iterdir()) == []


def test_shared_files_survive(cache: Cache) -> None:
    """Two versions with the same golden set: evicting one leaves the other whole."""
    v1 = put(cache, "v1", {"best.onnx": b"one", "golden/a.png": b"picture"})
    v2 = put(cache, "v2", {"best.onnx": b"two", "golden/a.png": b"picture"})
    used(cache, v1, v2)
    assert cache.evict(1, protected=()) == [("yolo", "v1")]
    cache.verify(v2)
    assert not v1.weights.exists()


def test_incomplete_version_does_not_push_out_a_whole_one(cache: Cache) -> None:
    """What lost a file is no use as one of the last N."""
    v1, v2 = put(cache, "v1"), put(cache, "v2")
    used(cache, v1, v2)
    v2.weights.unlink()
    assert cache.evict(1, protected=()) == [("yolo", "v2")]
    cache.verify(v1)


def test_nothing_is_evicted_under_a_fetch(cache: Cache) -> None:
    """A fetch counts on the files that it found; the next evict comes soon enough."""
    cached = put(cache, "v1")
    with cache.fetching(), cache.fetching():
        assert Cache(cache.root).evict(0, protected=()) == []
        cache.verify(cached)
    assert cache.evict(0, protected=()) == [("yolo", "v1")]


def test_only_old_partial_files_are_evicted(cache: Cache) -> None:
    """A download that was cut off is resumed later; one that nobody came back to is rubbish."""
    young, old = (manifest_of(v, {"best.onnx": v.encode()}).weights for v in ("v1", "v2"))
    for file in (young, old):
        with cache.partial(file) as stream:
            stream.write(b"part")
    os.utime(cache.root / "partial" / old.sha256, (0, 0))
    cache.evict(1, protected=())
    assert [p.name for p in (cache.root / "partial").iterdir()] == [young.sha256]


def test_full_disk_is_said_before_the_download(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about it; a reserve stays free."""
    cache.require_space(1)
    with pytest.raises(
        UnavailableError, match=r"disk is too small.*larger disk; or the size in the manifest"
    ):
        cache.require_space(1 << 60)
    disk = os.statvfs(cache.root)
    monkeypatch.setattr(cache_module, "RESERVE_BYTES", disk.f_bavail * disk.f_frsize)
    with pytest.raises(UnavailableError, match=r"disk full.*keep_versions"):
        cache.require_space(1 << 20)
    assert "disk full" in str(cache.write_error(OSError(errno.ENOSPC, "No space left on device")))
    assert "Read-only" in str(cache.write_error(OSError(errno.EROFS, "Read-only file system")))


def test_unusable_root_is_reported(tmp_path: Path) -> None:
    """A file where the folder should be: said with its path, as something to repair."""
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(UnavailableError, match=r"cache .*/cache.*state_dir"):
        Cache(tmp_path / "cache")


def test_names_cannot_leave_the_cache(cache: Cache) -> None:
    """A model or version with a path in it is refused before it becomes one."""
    for model, version in (("../../etc", "v1"), ("yolo", "../v1"), ("yolo", "a/b")):
        with pytest.raises(UsageError):
            cache.lookup(model, version)


def test_permissions(cache: Cache) -> None:
    """Nothing in the cache is open to the world."""
    put(cache, "v1")
    for path in cache.root.rglob("*"):
        assert path.stat().st_mode & 0o007 == 0, path


def test_a_wrong_size_in_a_manifest_takes_nothing_from_the_cache(cache: Cache) -> None:
    """A broken or hostile manifest names the content that serves, with another size: that one stays."""
    v1 = put(cache, "v1")
    (file,) = v1.manifest.files
    assert not cache.has_intact(replace(file, size=file.size + 1))
    assert cache.lookup("yolo", "v1") is not None


def test_what_is_cached_serves_from_a_read_only_disk(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that met a disk error makes it so: what is there is found and used, and rubbish is no hindrance."""
    v1 = put(cache, "v1")
    (cache.root / "versions" / "yolo" / ".v2.json.99999999.0.tmp").touch()
    make_read_only(monkeypatch)
    again = Cache(cache.root)
    again.clear_leftovers()
    found = again.lookup("yolo", "v1")
    assert found == v1
    again.verify(found)
    again.mark_used(found)
    with again.fetching():  # all of it is here: nothing need be written
        assert again.add(v1.manifest) == v1
    with pytest.raises(UnavailableError, match="Read-only"):
        again.evict(0, protected=())


def test_what_is_broken_on_a_read_only_disk_is_not_whole(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can't be removed, and isn't used."""
    v1 = put(cache, "v1")
    v1.weights.write_bytes(b"rotten")
    make_read_only(monkeypatch)
    assert not cache.has_intact(v1.manifest.weights)


def test_leftovers_of_killed_writers_go(cache: Cache) -> None:
    """Also those of models that no pipeline uses any more."""
    put(cache, "v1", model="other")
    leftover = cache.root / "versions" / "other" / ".v1@0.json.99999999.0.tmp"
    leftover.touch()
    cache.clear_leftovers()
    assert not leftover.exists()
