# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bring one version from the model store into the cache; nothing half-written is ever taken for whole.

Can be killed at any instant: what is left is a partial file, which the next fetch hashes and resumes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from io import FileIO
from typing import Protocol

from edgeagent.core.model import Manifest, WeightFile, parse_manifest
from edgeagent.errors import IntegrityError, NotFoundError, UnavailableError
from edgeagent.store.cache import CHUNK, Cache, CachedVersion
from edgeagent.store.pace import Pace, PaceMeter
from edgeagent.store.withdrawals import refuse_withdrawn
from edgeagent.util.backoff import Backoff

TRIES = 4  # in a row, from the last that brought a byte
BACK_OFF_S = 0.5  # doubled at each
_PROGRESS_EVERY_S = 0.25


@dataclass(frozen=True)
class Progress:
    """How far a fetch is. file: the one in work; done_bytes, total_bytes: of all files of the version;
    resumed_from: bytes of this file that were there already when this fetch began it."""

    file: str
    done_bytes: int
    total_bytes: int
    resumed_from: int


class Remote(Protocol):
    """What a fetch asks of a model store (store/remote.py). name: for messages; pace: the least that it must keep."""

    name: str
    pace: Pace

    def read_manifest(self, model: str, version: str) -> bytes:
        """The bytes of the manifest. Raises NotFoundError, IntegrityError, UnavailableError."""

    def read_withdrawal(self, model: str, version: str) -> bytes | None:
        """The bytes of the version's withdrawal; None if there is none. Raises UnavailableError."""

    def open_from(self, model: str, version: str, path: str, offset: int) -> Iterator[bytes]:
        """The file from byte `offset` on. Raises NotFoundError, IntegrityError, UnavailableError."""


def fetch_version(
    remote: Remote,
    cache: Cache,
    model: str,
    version: str,
    on_progress: Callable[[Progress], None],
    *,
    withdrawn_too: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> CachedVersion:
    """The version as it is in the store now, whole in the cache; each of its files was hashed in this call.

    With the store out of reach, the version as it is in the cache. If the store's content of that name has
    changed since, the new content is fetched, and the old one stays in the cache beside it. withdrawn_too: fetch it
    also if it was withdrawn, for what has served well here.

    Raises NotFoundError (no such version), ConflictError (it was withdrawn; also while it was fetched), IntegrityError
    (the manifest is broken, or a file is missing there or isn't what it promises: nothing of that file is kept),
    UnavailableError (store out of reach, too slow or cut off TRIES times, disk full: what has come is kept, and the
    next call resumes it; or what the store sent after a cut doesn't go with what it sent before).
    """
    with cache.fetching():
        try:
            data = remote.read_manifest(model, version)
        except UnavailableError:
            cached = cache.lookup(model, version)
            if cached is None or not all(cache.has_intact(file) for file in cached.manifest.files):
                raise
            cache.mark_used(cached)
            return cached
        manifest = parse_manifest(data, model, version)
        if not withdrawn_too:
            refuse_withdrawn(remote, model, version)
        missing = [file for file in manifest.files if not cache.has_intact(file)]
        fetch = _Fetch(remote, cache, manifest, on_progress, sleep)
        fetch.done = sum(file.size for file in manifest.files) - sum(file.size for file in missing)
        try:
            for file in missing:
                fetch.file(file)
            if missing and not withdrawn_too:  # it may have taken long
                refuse_withdrawn(remote, model, version)
            return cache.add(manifest)
        except OSError as e:
            raise cache.write_error(e) from e


class _Fetch:
    """One call of `fetch_version`; `done` counts the bytes of files that are whole in the cache."""

    def __init__(
        self,
        remote: Remote,
        cache: Cache,
        manifest: Manifest,
        on_progress: Callable[[Progress], None],
        sleep: Callable[[float], None],
    ) -> None:
        self._remote, self._cache, self._manifest = remote, cache, manifest
        self._on_progress, self._sleep = on_progress, sleep
        self._total = sum(file.size for file in manifest.files)
        self._reported_at, self._resumed_from = 0.0, 0
        self._is_pieced = False
        self.done = 0

    def file(self, file: WeightFile) -> None:
        """Bring one file into the cache, resuming what is there of it. Raises as `fetch_version`, and OSError."""
        with self._cache.partial(file) as stream:
            if self._cache.has_intact(file):  # another fetch brought it while this one waited
                self._cache.discard(file)
            else:
                self._bring(file, stream)
        self.done += file.size

    def _bring(self, file: WeightFile, stream: FileIO) -> None:
        wrong = self._fill(file, stream)
        if wrong and self._is_pieced:
            # The first part may stem from a power cut, or from before the store was put right.
            stream.truncate(0)
            before, wrong = wrong, self._fill(file, stream)
            if wrong == before:  # however it was cut: it is the file that is wrong, and would be so for ever
                self._is_pieced = False
        if wrong:
            self._cache.discard(file)
            if self._is_pieced:
                why = f"{file.path} was cut off, and what came afterwards doesn't go with it: {wrong}"
                raise self._store_error(
                    why, "look at the server or a proxy before it; it is tried again later"
                )
            raise self._integrity_error(file, wrong)
        self._cache.complete(file, stream)

    def _fill(self, file: WeightFile, stream: FileIO) -> str:
        """Append to `stream` from the store until the file's size. Returns what is wrong with it, or ""."""
        stream.seek(0)
        seen = hashlib.sha256()
        while chunk := stream.read(CHUNK):
            seen.update(chunk)
        have = self._resumed_from = stream.tell()
        self._is_pieced = have > 0
        self._cache.require_space(max(0, file.size - have))
        self._report(file, have, now=True)
        tries, backoff = 0, Backoff(BACK_OFF_S, BACK_OFF_S * 2**TRIES, jitter=0.0)
        meter = PaceMeter(self._remote.pace, time.monotonic(), have)
        slow = ""
        while have < file.size and not slow:
            before = have
            try:
                with closing(self._open(file, have)) as chunks:
                    for chunk in chunks:
                        self._is_pieced |= before > 0
                        _write_all(stream, chunk)
                        seen.update(chunk)
                        have += len(chunk)
                        self._report(file, have)
                        slow = meter.lag(have, time.monotonic())
                        if slow or have > file.size:
                            break
            except UnavailableError:
                self._is_pieced |= have > 0
                if have > before:
                    tries = 0
                    backoff.reset()
                tries += 1
                if tries == TRIES:
                    raise
                self._sleep(backoff.next_s())
            else:
                if have == before:  # asked for more, and there is none: it wasn't cut off, it is that short
                    break
        self._report(file, have, now=True)
        if slow:
            raise self._store_error(slow, "what came is kept, the rest is fetched later")
        if have != file.size:
            return f"the store has {'more than ' if have > file.size else ''}{min(have, file.size)} bytes"
        return "" if seen.hexdigest() == file.sha256 else f"the store has sha256 {seen.hexdigest()}"

    def _open(self, file: WeightFile, offset: int) -> Generator[bytes]:
        m = self._manifest
        try:
            yield from self._remote.open_from(m.model, m.version, file.path, offset)
        except NotFoundError as e:
            raise self._integrity_error(file, f"the store does not have it ({e.why})") from e

    def _store_error(self, why: str, todo: str) -> UnavailableError:
        return UnavailableError(f"model store {self._remote.name}", why, todo)

    def _integrity_error(self, file: WeightFile, why: str) -> IntegrityError:
        return IntegrityError(
            f"file {file.path} of {self._manifest.model}/{self._manifest.version}",
            f"{why}; the manifest promises {file.size} bytes with sha256 {file.sha256}",
            "publish the version again, under a new name",
        )

    def _report(self, file: WeightFile, have: int, *, now: bool = False) -> None:
        at = time.monotonic()
        if now or at - self._reported_at >= _PROGRESS_EVERY_S:
            self._reported_at = at
            self._on_progress(Progress(file.path, self.done + have, self._total, self._resumed_from))


def _write_all(stream: FileIO, data: bytes) -> None:
    """An unbuffered write may take a part only, as on a disk that is nearly full."""
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) :]
