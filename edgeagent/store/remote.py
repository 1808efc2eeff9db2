# SPDX-License-Identifier: AGPL-3.0-or-later
"""A model store at any URL that fsspec opens: `<store>/<model>/<version>/manifest.json` beside its files.

Nothing read here is trusted; fetch.py checks it against sizes and hashes. Every operation ends within the
time-out, or has made progress within it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from edgeagent.core.model import MAX_MANIFEST_BYTES, check_name, parse_manifest
from edgeagent.errors import (
    ConflictError,
    EdgeAgentError,
    IntegrityError,
    MissingExtraError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from edgeagent.observe.logs import redact
from edgeagent.store.files import durable_file, fsync_folder, write_durably

MANIFEST = "manifest.json"
_SMALLEST_READ = 64 << 10
_LARGEST_READ = 4 << 20
_IDENTITY = ("ETag", "Last-Modified", "LastModified", "Content-MD5", "md5", "mtime", "VersionId")
_EXTRAS = {"s3": "s3", "s3a": "s3"}
_T = TypeVar("_T")


class RemoteStore:
    """One model store. Thread-safe as far as its fsspec backend is; no state of its own between calls.

    url: a folder, `file://`, `http(s)://` (read-only), `s3://` (the extra `s3`), or what else fsspec opens.
    storage_options: as fsspec takes them for that protocol (credentials, endpoint); fsspec also reads its own
    configuration files and environment. timeout_s: seconds without progress until UnavailableError.
    """

    def __init__(
        self, url: str, *, timeout_s: float = 20.0, storage_options: Mapping[str, object] | None = None
    ) -> None:
        """Open the file system; connects to nothing. Raises UsageError, MissingExtraError."""
        self.timeout_s = timeout_s
        self._split = urlsplit(url)
        self._http = self._split.scheme in ("http", "https")
        self.name = redact(url)
        if self._http and not self._split.hostname:
            raise UsageError(f"model store {self.name}", "the URL names no host", "write https://host/path")
        options: dict[str, Any] = dict(storage_options or {})
        for key, default in _defaults(self._split.scheme, timeout_s).items():
            options[key] = default | options.get(key, {})
        self._fs, self._root = self._open_file_system(url, options)
        self.folder = Path(self._root) if "file" in self._fs.protocol else None

    def read_manifest(self, model: str, version: str) -> bytes:
        """The bytes of the manifest, at most MAX_MANIFEST_BYTES + 1 of them (one more than is allowed).

        Raises NotFoundError if the store has no such version, UnavailableError.
        """
        data = bytearray()
        try:
            with closing(self.open_from(model, version, MANIFEST, 0)) as chunks:
                for chunk in chunks:
                    data += chunk
                    if len(data) > MAX_MANIFEST_BYTES:
                        break
        except NotFoundError as e:
            self._check_root()
            raise NotFoundError(
                f"version {model}/{version}", f"not in the store {self.name}", "publish it, or check the name"
            ) from e
        return bytes(data[: MAX_MANIFEST_BYTES + 1])

    def open_from(self, model: str, version: str, path: str, offset: int) -> Generator[bytes]:
        """The content of a file from byte `offset` to its end in the store, in chunks of at most 4 MiB.

        Yields nothing if the file is not longer than `offset`. Raises NotFoundError, UnavailableError (also
        in the middle, when the connection is cut or stalls).
        """
        where = self._where(model, version, path)
        return self._stream_http(where, offset) if self._http else self._read_blocks(where, offset)

    def fingerprint(self, model: str, version: str) -> str:
        """A cheap identity of what the store holds as this version, without reading the weights.

        Made of the manifest and of what the store tells of each file (size, ETag, date). It changes when a
        version that was absent, incomplete or broken is put right. Raises UnavailableError.
        """
        try:
            data = self.read_manifest(model, version)
        except NotFoundError:
            return "absent"
        seen = hashlib.sha256(data)
        with suppress(IntegrityError):  # then the manifest's own bytes are all that there is to compare
            for file in parse_manifest(data, model, version).files:
                try:
                    facts = sorted(self._stat(self._where(model, version, file.path)).items())
                except NotFoundError:
                    facts = []
                seen.update(repr((file.path, facts)).encode())
        return "sha256:" + seen.hexdigest()

    def versions(self, model: str) -> list[str]:
        """The published versions of `model`, sorted by name; needs a server that lists folders.

        Raises UnavailableError.
        """
        folder = self._join(f"{check_name('model', model)}/")
        try:
            entries = self._call(f"folder {model}", lambda: self._fs.ls(folder, detail=False))
        except NotFoundError:
            self._check_root()
            return []
        paths = (urlsplit(entry).path if self._http else entry for entry in entries)
        names = {path.rstrip("/").rpartition("/")[2] for path in paths}
        return [name for name in sorted(names) if _is_name(name) and self.has_version(model, name)]

    def has_version(self, model: str, version: str) -> bool:
        """Whether the version is published, so whether it has a manifest. Raises UnavailableError."""
        try:
            self._stat(self._where(model, version, MANIFEST))
        except NotFoundError:
            return False
        return True

    def prepare_to_publish(self) -> None:
        """Create the store's folder if it is one. Raises UsageError if this kind of store is read-only."""
        if self._http:
            raise UsageError(
                f"model store {self.name}",
                "http(s) stores are read-only",
                "publish to the folder or bucket that the server shows",
            )
        if (folder := self.folder) is not None:
            self._translated(str(folder), lambda: _make_folder(folder))

    def put_file(self, model: str, version: str, path: str, source: Path) -> None:
        """Copy a local file into the version's folder, in a stream; replaces what is there.

        Raises UnavailableError.
        """
        where = self._where(model, version, path)
        if self.folder is None:
            self._translated(path, lambda: self._fs.put_file(str(source), where))
        else:
            self._translated(path, lambda: _copy(source, Path(where)))

    def put_manifest(self, model: str, version: str, data: bytes) -> None:
        """Make the version visible, once: of several publishers at the same time, one succeeds.

        On S3 that holds where the server knows conditional writes. Raises ConflictError, UnavailableError.
        """
        where = self._where(model, version, MANIFEST)
        try:
            if self.folder is None:
                self._translated(MANIFEST, lambda: self._fs.pipe_file(where, data, mode="create"))
            else:
                self._translated(MANIFEST, lambda: _write_once(Path(where), data))
        except ConflictError as e:
            raise already_published(model, version, self.name) from e

    def _where(self, model: str, version: str, path: str) -> str:
        return self._join(f"{check_name('model', model)}/{check_name('version', version)}/{path}")

    def _join(self, path: str) -> str:
        if self._http:  # a token in the query stays behind the path
            base = self._split.path.rstrip("/")
            return self._split._replace(path=f"{base}/{quote(path)}").geturl()
        return f"{self._root.rstrip('/')}/{path}"

    def _stream_http(self, url: str, offset: int) -> Generator[bytes]:
        stream = self._call(url, lambda: self._open_http(url, offset))
        if stream is None:
            return
        with closing(stream):
            skip = _bytes_to_skip(stream.r, offset)
            while chunk := self._call(url, lambda: stream.read(_LARGEST_READ)):
                if len(chunk) > skip:
                    yield chunk[skip:] if skip else chunk
                skip = max(0, skip - len(chunk))

    def _open_http(self, url: str, offset: int) -> Any:
        # Its ranged reads take a whole body for a range when a server knows none, so the header is ours, and
        # the answer's is checked. `size` spares a HEAD, which it makes only to choose this kind of stream.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        headers |= self._fs.kwargs.get("headers", {})
        try:
            return self._fs.open(url, block_size=0, size=1, headers=headers)
        except Exception as e:
            if getattr(e, "status", None) == 416:  # the file ends before the offset
                return None
            raise

    def _read_blocks(self, where: str, offset: int) -> Generator[bytes]:
        """Ranged reads, growing while the store is fast, so that a slow one makes progress in each."""
        info = self._call(where, lambda: self._fs.info(where))
        if info["type"] != "file":
            raise NotFoundError(f"{where} in the store {self.name}", f"is not a file but a {info['type']}")
        size, block = int(info["size"]), _SMALLEST_READ
        while offset < size:
            end = min(offset + block, size)
            chunk: bytes = self._call(where, partial(self._fs.cat_file, where, start=offset, end=end))
            if not 0 < len(chunk) <= end - offset:
                raise UnavailableError(
                    f"{where} in the store {self.name}",
                    f"{len(chunk)} bytes came for a range of {end - offset}",
                    "retried later",
                )
            yield chunk
            offset += len(chunk)
            block = min(2 * block, _LARGEST_READ)

    def _stat(self, where: str) -> dict[str, str]:
        """What the store tells of a file, as far as it tells its content from another."""
        if self._http:
            with closing(self._call(where, lambda: self._open_http(where, 0))) as stream:
                facts = {**stream.r.headers, "size": stream.r.headers.get("Content-Length")}
        else:
            facts = self._call(where, lambda: self._fs.info(where))
        return {key: str(facts[key]) for key in ("size", *_IDENTITY) if facts.get(key)}

    def _check_root(self) -> None:
        """Tell a store that is away (a share not mounted, a bucket gone) from a version that isn't in it."""
        top = self._root if self.folder else self._root.partition("/")[0]
        if not self._http and not self._call(top, lambda: self._fs.exists(top)):
            raise UnavailableError(f"model store {self.name}", f"{top} does not exist", "is it mounted?")

    def _call(self, what: str, function: Callable[[], _T]) -> _T:
        """Run one operation in the time-out, which no backend keeps in all cases (a stale network mount)."""
        outcome: list[_T] = []
        failure: list[Exception] = []

        def run() -> None:
            try:
                outcome.append(self._translated(what, function))
            except EdgeAgentError as e:
                failure.append(e)

        thread = threading.Thread(target=run, name="store", daemon=True)
        thread.start()
        thread.join(self.timeout_s)
        if failure:
            raise failure[0]
        if not outcome:
            raise UnavailableError(
                f"model store {self.name}", f"no answer within {self.timeout_s:g} s", "retried later"
            )
        return outcome[0]

    def _translated(self, what: str, function: Callable[[], _T]) -> _T:
        """Run one operation of a backend, whose errors are of many kinds, and say them as ours."""
        try:
            return function()
        except FileExistsError as e:
            raise ConflictError(f"{redact(what)} in the store {self.name}", "exists already") from e
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as e:
            raise NotFoundError(f"{redact(what)} in the store {self.name}", "not found") from e
        except Exception as e:
            status = getattr(e, "status", None)
            if status == 410:
                raise NotFoundError(f"{redact(what)} in the store {self.name}", "gone") from e
            if isinstance(e, PermissionError) or status in (401, 403, 407):
                why, todo = f"access refused ({status or e})", "check the credentials and permissions"
            elif status is not None:
                why, todo = f"the server answered {status}", "retried later"
            else:
                why, todo = f"{type(e).__name__} {e}".strip(), "retried later"
            raise UnavailableError(f"model store {self.name}", redact(why), todo) from e

    def _open_file_system(self, url: str, options: dict[str, object]) -> tuple[Any, str]:
        import fsspec

        try:
            # A cached instance would share its listings and its connections with others of other time-outs.
            options |= {"skip_instance_cache": True, "use_listings_cache": False}
            fs, root = fsspec.core.url_to_fs(url, **options)
            return fs, str(root)
        except ImportError as e:
            extra = _EXTRAS.get(self._split.scheme)
            todo = f"pip install 'edgeagent[{extra}]'" if extra else str(e)
            raise MissingExtraError(f"model store {self.name}", "its client is not installed", todo) from e
        except (ValueError, TypeError) as e:
            raise UsageError(f"model store {self.name}", str(e), "use a folder, http(s):// or s3://") from e


def already_published(model: str, version: str, store: str) -> ConflictError:
    """Versions are immutable."""
    return ConflictError(
        f"version {model}/{version}",
        f"exists already in the store {store}",
        "publish under a new version name",
    )


def _defaults(scheme: str, timeout_s: float) -> dict[str, dict[str, object]]:
    """Options that make a backend give up by itself; aiohttp's own limit of 300 s is for a whole download."""
    if scheme in ("http", "https"):
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(total=None, connect=timeout_s, sock_read=timeout_s)
        return {"client_kwargs": {"timeout": timeout, "trust_env": True}}
    if scheme in _EXTRAS:
        return {"config_kwargs": {"connect_timeout": timeout_s, "read_timeout": timeout_s}}
    return {}


def _bytes_to_skip(response: Any, offset: int) -> int:
    """How much of an HTTP answer lies before `offset`: all servers may send the whole body for a range."""
    if response.status != 206:
        return offset
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if not start or int(start[1]) != offset:
        raise UnavailableError(
            redact(str(response.url)),
            f"the server answered another range than bytes={offset}-",
            "retried later",
        )
    return 0


def _copy(source: Path, target: Path) -> None:
    _make_folder(target.parent)
    with source.open("rb") as stream, durable_file(target, mode=0o644) as file:
        shutil.copyfileobj(stream, file, 1 << 20)


def _write_once(path: Path, data: bytes) -> None:
    """Whole and durable like `write_durably`, but raises FileExistsError rather than replace `path`."""
    _make_folder(path.parent)
    temp = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write_durably(temp, data, mode=0o644)
        try:
            os.link(temp, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links, as on a USB stick: whole still, but not exclusive
            if path.exists():
                raise FileExistsError(str(path)) from None
            os.replace(temp, path)
    finally:
        temp.unlink(missing_ok=True)
    fsync_folder(path.parent)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        fsync_folder(folder.parent)


def _is_name(text: str) -> bool:
    try:
        check_name("version", text)
    except UsageError:
        return False
    return True
