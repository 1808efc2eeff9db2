# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fetching against a store in memory: resuming, verdicts, what is kept and what is not."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

import pytest

from edgeagent.core.model import Contract, Manifest, WeightFile
from edgeagent.core.store_documents import Withdrawal, encode
from edgeagent.errors import ConflictError, IntegrityError, NotFoundError, UnavailableError
from edgeagent.store import cache as cache_module
from edgeagent.store import fetch as fetch_module
from edgeagent.store.cache import Cache, CachedVersion
from edgeagent.store.fetch import TRIES, Progress, fetch_version
from edgeagent.store.pace import DEFAULT_PACE, Pace

CONTRACT = Contract("detect", ("scratch",), (320, 320), 32)
WEIGHTS = bytes(range(200))


@dataclass
class MemoryStore:
    """A model store in memory. cuts: raise after that many bytes, one entry a read. withdrawals: what it answers, one
    after the other."""

    manifest: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    away: bool = False
    withdrawals: list[bytes | None] = field(default_factory=list)
    name: str = "memory"
    pace: Pace = DEFAULT_PACE
    opened: list[tuple[str, int]] = field(default_factory=list)

    def read_manifest(self, model: str, version: str) -> bytes:
        """The manifest, unless the store is away."""
        if self.away:
            raise UnavailableError("model store", "no answer")
        if not self.manifest:
            raise NotFoundError(f"version {model}/{version}", "not in the store")
        return self.manifest

    def read_withdrawal(self, model: str, version: str) -> bytes | None:
        """What is to be answered next; then that there is none."""
        return self.withdrawals.pop(0) if self.withdrawals else None

    def open_from(self, model: str, version: str, path: str, offset: int) -> Iterator[bytes]:
        """Ten bytes at a time."""
        self.opened.append((path, offset))
        if path not in self.files:
            raise NotFoundError(path, "not found")
        data = self.files[path][offset:]
        cut = self.cuts.pop(0) if self.cuts else None
        for at in range(0, len(data), 10):
            if at == cut:
                raise UnavailableError("model store", "connection lost")
            yield data[at : at + 10]


def store_with(files: dict[str, bytes], promised: dict[str, bytes] | None = None) -> MemoryStore:
    """A store of version v1 whose manifest describes `promised`, by default truly."""
    listed = tuple(
        WeightFile(path, hashlib.sha256(data).hexdigest(), len(data), path.rpartition(".")[2])
        for path, data in (promised or files).items()
    )
    manifest = Manifest("yolo", "v1", 1, "2026-01-31T12:00:00Z", CONTRACT, listed)
    return MemoryStore(manifest.to_json(), dict(files))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    return Cache(tmp_path)


def fetch(
    store: MemoryStore, cache: Cache, seen: list[Progress] | None = None, waits: list[float] | None = None
) -> CachedVersion:
    """Fetch v1 without sleeping."""
    progress: Callable[[Progress], None] = (seen if seen is not None else []).append
    sleep: Callable[[float], None] = (waits if waits is not None else []).append
    return fetch_version(store, cache, "yolo", "v1", progress, sleep=sleep)


def partials(cache: Cache) -> dict[str, bytes]:
    """What lies in the cache half-fetched."""
    return {p.name: p.read_bytes() for p in (cache.root / "partial").iterdir()}


def test_all_files_arrive(cache: Cache) -> None:
    """Weights and golden set, whole, with nothing left over."""
    store = store_with({"best.onnx": WEIGHTS, "golden/a.png": b"picture"})
    cached = fetch(store, cache)
    assert cached.weights.read_bytes() == WEIGHTS
    assert cached.files["golden/a.png"].read_bytes() == b"picture"
    assert cached == cache.lookup("yolo", "v1")
    assert partials(cache) == {}


def test_what_is_there_is_not_fetched_again(cache: Cache) -> None:
    """Only the manifest is read anew; of another version, only the files that differ."""
    fetch(store_with({"best.onnx": WEIGHTS, "golden/a.png": b"picture"}), cache)
    other = store_with({"best.onnx": b"other", "golden/a.png": b"picture"})
    fetch(other, cache)
    assert other.opened == [("best.onnx", 0)]
    fetch(other, cache)
    assert len(other.opened) == 1


def test_flipped_bit_in_the_cache_is_fetched_anew(cache: Cache) -> None:
    """A file that was there is trusted by its hash only."""
    store = store_with({"best.onnx": WEIGHTS})
    blob = fetch(store, cache).weights
    blob.write_bytes(b"\1" + WEIGHTS[1:])
    assert fetch(store, cache).weights.read_bytes() == WEIGHTS


def test_progress_counts_the_whole_version(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Done grows to the total, over all files."""
    monkeypatch.setattr(fetch_module, "_PROGRESS_EVERY_S", 0.0)
    seen: list[Progress] = []
    fetch(store_with({"best.onnx": WEIGHTS, "golden/a.png": b"picture"}), cache, seen)
    done = [p.done_bytes for p in seen]
    assert done == sorted(done)
    assert seen[0] == Progress("best.onnx", 0, 207, 0)
    assert seen[-1] == Progress("golden/a.png", 207, 207, 0)
    assert len(seen) > 20


def test_progress_is_not_told_for_every_chunk(cache: Cache) -> None:
    """A fast download does not flood the node with messages."""
    seen: list[Progress] = []
    fetch(store_with({"best.onnx": WEIGHTS}), cache, seen)
    assert len(seen) <= 3


def test_cut_off_download_goes_on_where_it_stopped(cache: Cache) -> None:
    """Within one call, with a back-off that starts again after progress."""
    store = store_with({"best.onnx": WEIGHTS})
    store.cuts = [50, 0, 0, 50]
    waits: list[float] = []
    assert fetch(store, cache, waits=waits).weights.read_bytes() == WEIGHTS
    assert store.opened == [("best.onnx", at) for at in (0, 50, 50, 50, 100)]
    assert waits == [0.5, 1.0, 2.0, 0.5]


def test_store_away_in_the_middle_keeps_what_has_come(cache: Cache) -> None:
    """After some tries without a byte it gives up; the next call resumes, and says from where."""
    store = store_with({"best.onnx": WEIGHTS})
    store.cuts = [120] + [0] * (TRIES - 1)
    with pytest.raises(UnavailableError, match="connection lost"):
        fetch(store, cache)
    assert len(store.opened) == TRIES
    assert cache.lookup("yolo", "v1") is None
    seen: list[Progress] = []
    assert fetch(store, cache, seen).weights.read_bytes() == WEIGHTS
    assert store.opened[-1] == ("best.onnx", 120)
    assert seen[0].resumed_from == 120
    assert seen[0].done_bytes == 120


@pytest.mark.parametrize(
    ("served", "why"),
    [
        (b"\1" + WEIGHTS[1:], "the store has sha256"),
        (WEIGHTS[:150], "the store has 150 bytes"),
        (WEIGHTS + b"more", "the store has more than 200 bytes"),
        (b"", "the store has 0 bytes"),
        (None, "the store does not have it"),
    ],
    ids=["flipped bit", "truncated", "too long", "empty", "missing"],
)
def test_what_the_manifest_does_not_promise_is_refused(cache: Cache, served: bytes | None, why: str) -> None:
    """By the file's name, with expected and got; nothing of it is kept to be resumed."""
    store = store_with({"best.onnx": b"" if served is None else served}, promised={"best.onnx": WEIGHTS})
    if served is None:
        store.files.clear()
    with pytest.raises(IntegrityError) as e:
        fetch(store, cache)
    assert "file best.onnx of yolo/v1" in str(e.value)
    assert why in str(e.value)
    assert hashlib.sha256(WEIGHTS).hexdigest() in str(e.value)
    assert cache.lookup("yolo", "v1") is None
    assert b"".join(partials(cache).values()) == b""
    store.files = {"best.onnx": WEIGHTS}
    assert fetch(store, cache).weights.read_bytes() == WEIGHTS


class Splicing(MemoryStore):
    """Sends something else, once a file is asked for from its middle on."""

    other = b"X" * 200

    def read_withdrawal(self, model: str, version: str) -> bytes | None:
        """What is to be answered next; then that there is none."""
        return self.withdrawals.pop(0) if self.withdrawals else None

    def open_from(self, model: str, version: str, path: str, offset: int) -> Iterator[bytes]:
        """Ten bytes at a time."""
        for chunk in super().open_from(model, version, path, offset):
            yield self.other[: len(chunk)] if offset else chunk


@pytest.mark.parametrize("other", [b"X" * 200, b""], ids=["other bytes", "none"])
def test_what_came_in_pieces_is_asked_for_as_a_whole(cache: Cache, other: bytes) -> None:
    """After a cut the rest may come wrong from a server that is bad at ranges: from 0 again, once."""
    store = Splicing(store_with({"best.onnx": WEIGHTS}).manifest, {"best.onnx": WEIGHTS}, cuts=[50])
    store.other = other
    assert fetch(store, cache).weights.read_bytes() == WEIGHTS
    assert [offset for _, offset in store.opened] == [0, 50, 0]


def test_pieces_that_never_fit_are_the_stores_fault(cache: Cache) -> None:
    """Not the version's: its store is named, and it is tried again later; from 0, for nothing of it is kept."""
    store = Splicing(store_with({"best.onnx": WEIGHTS}).manifest, {"best.onnx": WEIGHTS}, cuts=[50, 200, 60])
    with pytest.raises(
        UnavailableError, match=r"model store memory: best\.onnx was cut off, and what came afterwards"
    ):
        fetch(store, cache)
    assert b"".join(partials(cache).values()) == b""
    assert fetch(store, cache).weights.read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("served", "cuts", "why"),
    [
        (b"\1" + WEIGHTS[1:], [50, 200, 60], "the store has sha256"),
        (WEIGHTS[:150], [50, 200, 200, 60], "the store has 150 bytes"),
    ],
    ids=["flipped bit", "truncated"],
)
def test_a_wrong_file_is_refused_although_it_comes_in_pieces(
    cache: Cache, served: bytes, cuts: list[int], why: str
) -> None:
    """The same came twice, cut at other places: else it would be fetched twice at each retry, for ever."""
    store = store_with({"best.onnx": served}, promised={"best.onnx": WEIGHTS})
    store.cuts = list(cuts)
    with pytest.raises(IntegrityError, match=why):
        fetch(store, cache)
    assert b"".join(partials(cache).values()) == b""


def test_a_store_that_is_too_slow_is_left(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then is no progress, over however many connections; what came is kept."""
    now = 0.0

    class Dripping(MemoryStore):
        def open_from(self, model: str, version: str, path: str, offset: int) -> Iterator[bytes]:
            nonlocal now
            for at in range(offset, 200):
                now += 1.0
                yield WEIGHTS[at : at + 1]
                if at % 3 == 2:
                    raise UnavailableError("model store", "connection lost")

    monkeypatch.setattr(fetch_module.time, "monotonic", lambda: now)
    store = Dripping(store_with({"best.onnx": WEIGHTS}).manifest, pace=Pace(10, 60))
    with pytest.raises(
        UnavailableError, match=r"60 bytes came within 60 s; model_store\.min_bytes_per_second is 10"
    ):
        fetch(store, cache)
    assert partials(cache) == {hashlib.sha256(WEIGHTS).hexdigest(): WEIGHTS[:60]}
    store.pace = Pace(0, 60)
    assert fetch(store, cache).weights.read_bytes() == WEIGHTS


def test_endless_file_is_not_read_to_its_end(cache: Cache) -> None:
    """The promised size is a limit, whatever the store sends."""
    sent = 0

    class Endless(MemoryStore):
        def open_from(self, *_: object) -> Iterator[bytes]:
            nonlocal sent
            while True:
                sent += 10
                yield b"0123456789"

    with pytest.raises(IntegrityError, match="more than 200"):
        fetch(Endless(store_with({"best.onnx": WEIGHTS}).manifest), cache)
    assert sent == 210


@pytest.mark.parametrize("left", [b"\1" * 120, b"\1" * 200, b"\1" * 300], ids=["part", "full", "too long"])
def test_rubbish_in_the_partial_file_is_no_tuning_result_on_the_store(cache: Cache, left: bytes) -> None:
    """After a power cut a partial file can hold anything: it is started anew before the version is refused."""
    store = store_with({"best.onnx": WEIGHTS})
    (cache.root / "partial" / hashlib.sha256(WEIGHTS).hexdigest()).write_bytes(left)
    assert fetch(store, cache).weights.read_bytes() == WEIGHTS
    assert ("best.onnx", 0) in store.opened


def test_complete_partial_file_needs_no_store(cache: Cache) -> None:
    """Killed between the last byte and the rename: the next call only hashes and renames."""
    store = store_with({"best.onnx": WEIGHTS})
    (cache.root / "partial" / hashlib.sha256(WEIGHTS).hexdigest()).write_bytes(WEIGHTS)
    assert fetch(store, cache).weights.read_bytes() == WEIGHTS
    assert store.opened == []


def test_full_disk_keeps_the_part(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC in the middle says what to do; when there is room, the fetch resumes."""
    store = store_with({"best.onnx": WEIGHTS})
    write_all = fetch_module._write_all

    def full(stream: FileIO, data: bytes) -> None:
        if stream.tell() >= 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_all(stream, data)

    with monkeypatch.context() as m:
        m.setattr(fetch_module, "_write_all", full)
        with pytest.raises(UnavailableError, match=r"disk full; free some space"):
            fetch(store, cache)
    assert list(partials(cache).values()) == [WEIGHTS[:100]]
    assert fetch(store, cache).weights.read_bytes() == WEIGHTS
    assert store.opened[-1] == ("best.onnx", 100)


def test_size_beyond_the_disk_is_refused_before_a_byte_is_asked_for(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that promises more than fits does not fill the disk first; more than any file has is its own fault."""
    store = store_with({"best.onnx": WEIGHTS})
    with monkeypatch.context() as m:
        m.setattr(cache_module, "RESERVE_BYTES", 1 << 60)
        with pytest.raises(UnavailableError, match="its disk is too small"):
            fetch(store, cache)
    store.manifest = store.manifest.replace(b'"size": 200', b'"size": %d' % 2**53)
    with pytest.raises(IntegrityError, match=r"files\[0\]\.size is 9007199254740992 bytes, more than"):
        fetch(store, cache)
    assert store.opened == []


def test_cached_version_serves_without_the_store(cache: Cache) -> None:
    """Store away: from the cache, but only if every file is intact."""
    store = store_with({"best.onnx": WEIGHTS})
    store.away = True
    with pytest.raises(UnavailableError):
        fetch(store, cache)
    store.away = False
    cached = fetch(store, cache)
    store.away = True
    assert fetch(store, cache) == cached
    cached.weights.write_bytes(b"\1" + WEIGHTS[1:])
    with pytest.raises(UnavailableError):
        fetch(store, cache)


def test_changed_content_is_fetched_and_the_old_kept(cache: Cache) -> None:
    """The store published a version name again: the name means the new content, the digest the old."""
    old = fetch(store_with({"best.onnx": WEIGHTS}), cache)
    new = fetch(store_with({"best.onnx": b"new"}), cache)
    assert new.weights.read_bytes() == b"new"
    assert cache.lookup("yolo", "v1", old.manifest.digest) == old
    cache.verify(old)


def changed(**fields: object) -> bytes:
    """A sound manifest of v1 with other values in these fields."""
    return json.dumps({**json.loads(store_with({"best.onnx": WEIGHTS}).manifest), **fields}).encode()


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        (b"", "not in the store"),
        (b"{", "not JSON"),
        (b"<html>log in first</html>", "a web page, not JSON; look at proxy or login"),
        (b"\x1f\x8b\x08 packed", "compressed.*look at the server, or a proxy"),
        (b"x" * (1 << 20) + b"x", "more than 1048576"),
        (changed(names="scratch"), "names is 'scratch', not a list"),
        (changed(version="its-original"), "its-original"),
    ],
    ids=["none", "empty object", "a page", "gzip", "endless", "wrong type", "of another version"],
)
def test_missing_or_broken_manifest(cache: Cache, manifest: bytes, why: str) -> None:
    """Refused with the reason, even when an older content of that name is cached."""
    fetch(store_with({"best.onnx": WEIGHTS}), cache)
    with pytest.raises((NotFoundError, IntegrityError), match=why):
        fetch(MemoryStore(manifest), cache)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../b"])
def test_path_outside_the_version(cache: Cache, path: str) -> None:
    """Refused by the manifest's reader; the store is not even asked for it."""
    store = store_with({path: WEIGHTS})
    with pytest.raises(IntegrityError, match="does not stay inside"):
        fetch(store, cache)
    assert store.opened == []


def withdrawal(reason: str) -> bytes:
    """As it stands in a store."""
    return encode(Withdrawal(reason, "eve", "2026-11-29T12:00:00Z"))


def test_a_withdrawn_version_is_refused_before_anything_is_fetched(cache: Cache) -> None:
    """Also where the cache has it; what has served well here comes all the same."""
    store = store_with({"best.onnx": WEIGHTS})
    store.withdrawals = [withdrawal("finds no dents")]
    with pytest.raises(ConflictError, match=r"version yolo/v1: withdrawn: finds no dents \(eve, 2026"):
        fetch(store, cache)
    assert store.opened == []
    cached = fetch(store, cache)
    store.withdrawals = [b"{"] * 2
    with pytest.raises(ConflictError, match="reason can't be read"):
        fetch(store, cache)
    assert fetch_version(store, cache, "yolo", "v1", lambda _: None, withdrawn_too=True) == cached


def test_a_version_that_is_withdrawn_while_it_is_fetched(cache: Cache) -> None:
    """What took long is asked for again at its end."""
    store = store_with({"best.onnx": WEIGHTS})
    store.withdrawals = [None, withdrawal("finds no dents")]
    with pytest.raises(ConflictError, match="withdrawn"):
        fetch(store, cache)
    assert cache.lookup("yolo", "v1") is None
    assert len(store.opened) == 1


def test_with_the_store_away_nobody_is_asked(cache: Cache) -> None:
    """The node serves what it has."""
    store = store_with({"best.onnx": WEIGHTS})
    cached = fetch(store, cache)
    store.away, store.withdrawals = True, [withdrawal("finds no dents")]
    assert fetch(store, cache) == cached
