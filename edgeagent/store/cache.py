# SPDX-License-Identifier: AGPL-3.0-or-later
"""The local copies of model versions, kept by content, so that a node serves without its model store.

Under the root:
    blobs/<sha256>                            a whole file; appears by rename only, never changes
    partial/<sha256>                          a file on its way in, resumed by the next fetch
    versions/<model>/<version>@<digest>.json  a manifest; written last, when all its blobs are whole
    versions/<model>/known-good.json          the versions that have served well, for a node whose state is damaged

A version name that a store publishes again with other content gets a second manifest beside the first:
what serves, or is the last known good, stays loadable by its digest until it is evicted.

Locks are flock(2), so they go with a killed process: `lock` is shared by fetches and exclusive to `evict`;
each partial file is locked by the one fetch that appends to it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from edgeagent.core.model import Manifest, WeightFile, check_name, parse_manifest
from edgeagent.core.verified import VerifiedVersion
from edgeagent.errors import EdgeAgentError, IntegrityError, UnavailableError
from edgeagent.util.durable import fsync_folder, open_lock, remove_stale_temps, write_durably
from edgeagent.util.hashing import hash_file

RESERVE_BYTES = 64 << 20  # left free for logs, state and the other users of the disk
PARTIAL_MAX_AGE_S = 7 * 24 * 3600.0
CHUNK = 1 << 20
BLOBS = "blobs"
MAX_TRIAL_PICTURES = 64
_TEXTS = frozenset(("txt", "yaml", "yml"))
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class CachedVersion:
    """A version whose files are all here. files: the manifest's path of each file → where it lies; path: of the
    manifest."""

    manifest: Manifest
    weights: Path
    files: Mapping[str, Path]
    path: Path

    @property
    def verified(self) -> VerifiedVersion:
        """What whoever prepares or serves the version needs to know of it, once its files are hashed."""
        m = self.manifest
        networks = {m.weights, *m.alternates}
        companions = (f for f in m.files if f not in networks and f.path not in m.golden)
        return VerifiedVersion(
            model=m.model,
            version=m.version,
            digest=m.digest,
            contract=m.contract,
            format=m.weights.format,
            weights=self.weights,
            alternates={f.format: self.files[f.path] for f in m.alternates},
            companions={f.format: self.files[f.path] for f in companions},
            golden=tuple(self.files[path] for path in _pictures(m)),
            manifest=self.path,
        )


def _pictures(manifest: Manifest) -> list[str]:
    """Of the golden set, as many as a message between the node and a worker holds; not what describes them."""
    described = {f.path for f in manifest.files if f.format in _TEXTS}
    return [path for path in manifest.golden if path not in described][:MAX_TRIAL_PICTURES]


def golden_files(version: VerifiedVersion) -> dict[str, Path]:
    """The files of its golden set, by their path in it. Raises UnavailableError when it isn't in the cache any more."""
    if version.manifest is None:
        return {}
    try:
        manifest = parse_manifest(version.manifest.read_bytes(), version.model, version.version)
    except (OSError, IntegrityError) as e:
        what = f"version {version.model}/{version.version}"
        raise UnavailableError(what, f"is not in the cache any more ({e})", "it is fetched again") from e
    blobs = version.manifest.parents[2] / BLOBS
    content = {file.path: blobs / file.sha256 for file in manifest.files}
    return {path.partition("/")[2]: content[path] for path in manifest.golden}


class Cache:
    """The cache under one folder; several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        """Create what isn't there yet; where all is, nothing is written. Raises UnavailableError."""
        self.root = root
        self._blobs, self._partial, self._versions = root / BLOBS, root / "partial", root / "versions"
        folders, lock = (self._blobs, self._partial, self._versions), root / "lock"
        try:
            if all(folder.is_dir() for folder in folders) and lock.exists():
                return
            for folder in folders:
                folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            lock.touch(mode=0o640)
            fsync_folder(root)
        except OSError as e:
            raise _unusable(root, e) from e

    def clear_leftovers(self) -> None:
        """Remove what killed writers left, as far as the disk lets us."""
        for folder in (self._versions, *self._versions.glob("*/")):
            remove_stale_temps(folder)

    def lookup(self, model: str, version: str, digest: str | None = None) -> CachedVersion | None:
        """The cached version if it is whole (each file is there with its size; see `verify`), else None.

        digest: `sha256:<hex>` of the content wanted; without it, the most recently used of that name.
        """
        check_name("model", model)
        check_name("version", version)
        for cached in self.versions(model):
            m = cached.manifest
            if m.version == version and digest in (None, m.digest):
                return cached
        return None

    def versions(self, model: str) -> list[CachedVersion]:
        """The whole versions of `model`, most recently used first."""
        found = (self._load(path) for path in self._manifests(model))
        return [cached for cached in found if cached is not None and self._is_complete(cached)]

    def digests(self) -> set[str]:
        """The digest of every version kept here, of all models."""
        return {f"sha256:{path.stem.partition('@')[2]}" for path in self._versions.glob("*/[!.]*@*.json")}

    def mark_used(self, cached: CachedVersion) -> None:
        """Count `cached` as just used, for `evict`. Where that can't be written, it serves all the same."""
        with suppress(OSError):
            os.utime(self._manifest_path(cached.manifest))

    def verify(self, cached: CachedVersion) -> None:
        """Hash every file anew. Raises IntegrityError; a broken file is removed, so that it's fetched again."""
        for file in cached.manifest.files:
            if not self.has_intact(file):
                raise IntegrityError(
                    f"cached file {file.path} of {cached.manifest.model}/{cached.manifest.version}",
                    f"missing, or not the {file.size} bytes with sha256 {file.sha256} of the manifest",
                    "it was removed from the cache; fetch the version again",
                )

    def has_intact(self, file: WeightFile) -> bool:
        """Whether the content of `file` is here, by hashing it; what is broken is removed.

        Broken is what isn't what its name says. That a manifest gives it another size is the manifest's fault, and
        no reason to take it from the versions that serve by it.
        """
        blob = self._blobs / file.sha256
        try:
            found = hash_file(blob)
            if found.sha256 == file.sha256:
                return found.size == file.size
        except FileNotFoundError:
            return False
        except OSError as e:  # a failing disk: unreadable is as good as broken
            if e.errno != errno.EIO:
                raise _unusable(self.root, e) from e
        with suppress(OSError):  # a disk that can't be written keeps it; it is no more whole for that
            blob.unlink(missing_ok=True)
            fsync_folder(self._blobs)
        return False

    @contextmanager
    def fetching(self) -> Iterator[None]:
        """Held while a version is fetched: nothing is evicted under it."""
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextmanager
    def partial(self, file: WeightFile) -> Iterator[FileIO]:
        """The partial copy of `file`, open to read and append; waits for another fetch of the same content.

        That one may have finished meanwhile: check `has_intact` inside. Raises OSError (disk full, permission).
        """
        path = self._partial / file.sha256
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            with os.fdopen(fd, "r+b", buffering=0) as stream:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if _is_same(path, fd):
                    yield stream
                    return

    def complete(self, file: WeightFile, stream: FileIO) -> None:
        """Make the partial copy, which the caller has hashed, a whole blob. Raises OSError."""
        os.fsync(stream.fileno())
        os.replace(self._partial / file.sha256, self._blobs / file.sha256)
        fsync_folder(self._blobs)

    def discard(self, file: WeightFile) -> None:
        """Remove the partial copy, so that nothing of it is used again. Raises OSError."""
        (self._partial / file.sha256).unlink(missing_ok=True)

    def add(self, manifest: Manifest) -> CachedVersion:
        """Record a version whose blobs are all whole. Raises OSError; IntegrityError if one isn't there.

        One that is recorded already is marked as used; nothing need be written for that.
        """
        path = self._manifest_path(manifest)
        if self._load(path) == (cached := self._cached(manifest)) and self._is_complete(cached):
            self.mark_used(cached)
            return cached
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o750, exist_ok=True)
            fsync_folder(self._versions)
        if not self._is_complete(cached):
            raise IntegrityError(
                f"version {manifest.model}/{manifest.version}", "not all of its files are cached"
            )
        write_durably(path, manifest.to_json())
        return cached

    def require_space(self, size: int) -> None:
        """Raise UnavailableError unless `size` bytes can be written with RESERVE_BYTES left free."""
        disk = os.statvfs(self.root)
        free, whole = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        if size + RESERVE_BYTES > whole:
            raise UnavailableError(
                f"cache {self.root}",
                f"its disk is too small: {size} bytes to fetch, and it has {whole} altogether",
                "move node.state_dir to a larger disk; or the size in the manifest is wrong",
            )
        if size + RESERVE_BYTES > free:
            raise UnavailableError(
                f"cache {self.root}",
                f"disk full: {size} bytes to fetch, {free} free, {RESERVE_BYTES} of them reserved",
                "free some space, lower update.keep_versions, or move node.state_dir to a larger disk",
            )

    def write_error(self, e: OSError) -> UnavailableError:
        """What to raise for an OSError met while writing here."""
        if e.errno in _DISK_FULL:
            return UnavailableError(
                f"cache {self.root}",
                "disk full",
                "free some space, lower update.keep_versions, or move node.state_dir to a larger disk",
            )
        return _unusable(self.root, e)

    def evict(self, keep_last: int, protected: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
        """Remove all but the `keep_last` most recently used versions of each model, and what nothing refers to.

        protected: (model, version) of what is active, standby, last known good or being prepared; never
        removed, in none of its contents. Files that a kept version shares stay. Does nothing while a fetch
        runs. Returns the versions removed. Raises UnavailableError.
        """
        try:
            with self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
                return self._evict(keep_last, protected)
        except BlockingIOError:
            return []
        except OSError as e:
            raise _unusable(self.root, e) from e

    def _evict(self, keep_last: int, protected: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
        removed: list[tuple[str, str]] = []
        wanted: set[str] = set()
        for folder in sorted(self._versions.iterdir()):
            kept = 0
            for path in self._manifests(folder.name):
                name = (folder.name, path.name.split("@")[0])
                cached = self._load(path)
                recent = cached is not None and self._is_complete(cached) and kept < keep_last
                kept += recent
                if cached is not None and (recent or name in protected):
                    wanted.update(file.sha256 for file in cached.manifest.files)
                else:
                    path.unlink()
                    removed.append(name)
            fsync_folder(folder)
        for blob in self._blobs.iterdir():  # after the manifests: none may outlive its files
            if blob.name not in wanted:
                blob.unlink()
        for partial in self._partial.iterdir():  # no fetch runs, so none is locked
            if time.time() - partial.stat().st_mtime > PARTIAL_MAX_AGE_S:
                partial.unlink()
        return removed

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        fd = open_lock(self.root / "lock")
        try:
            fcntl.flock(fd, how)
            yield
        finally:
            os.close(fd)

    def _manifest_path(self, manifest: Manifest) -> Path:
        name = f"{manifest.version}@{manifest.digest.removeprefix('sha256:')}.json"
        return self._versions / manifest.model / name

    def _manifests(self, model: str) -> list[Path]:
        stamped = []
        for path in (self._versions / model).glob("[!.]*@*.json"):
            try:
                stamped.append((path.stat().st_mtime_ns, path))
            except FileNotFoundError:  # evicted by another process since the listing
                continue
        return [path for _, path in sorted(stamped, reverse=True)]

    def _load(self, path: Path) -> CachedVersion | None:
        """The version of a manifest kept here; None if the file is damaged, which makes it a version to fetch."""
        try:
            manifest = parse_manifest(path.read_bytes(), path.parent.name, path.name.split("@")[0])
        except (OSError, EdgeAgentError):
            return None
        return self._cached(manifest) if path == self._manifest_path(manifest) else None

    def _cached(self, manifest: Manifest) -> CachedVersion:
        files = {file.path: self._blobs / file.sha256 for file in manifest.files}
        return CachedVersion(manifest, files[manifest.weights.path], files, self._manifest_path(manifest))

    def _is_complete(self, cached: CachedVersion) -> bool:
        for file in cached.manifest.files:
            try:
                if cached.files[file.path].stat().st_size != file.size:
                    return False
            except OSError:
                return False
        return True


def _is_same(path: Path, fd: int) -> bool:
    """Whether `path` still names the open file: another fetch may have completed or discarded it."""
    try:
        there, here = path.stat(), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _unusable(root: Path, e: OSError) -> UnavailableError:
    todo = "check node.state_dir and its permissions"
    if e.errno == errno.EROFS:
        todo = "see dmesg, then repair and remount the disk of node.state_dir; what is in the cache serves meanwhile"
    return UnavailableError(f"cache {root}", f"{e.strerror or e}", todo)
