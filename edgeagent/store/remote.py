# SPDX-License-Identifier: AGPL-3.0-or-later
"""A model store at a URL: `<store>/<model>/<version>/manifest.json` beside the files that it lists.

Nothing read here is trusted; fetch.py checks it against sizes and hashes. Every operation ends within the
time-out, or has made progress within it.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from edgeagent.core.model import MAX_MANIFEST_BYTES, check_name, is_name, parse_manifest
from edgeagent.core.store_documents import MAX_DOCUMENT_BYTES, MAX_DOCUMENTS, withdrawal_path
from edgeagent.core.text import redact
from edgeagent.errors import (
    ConflictError,
    EdgeAgentError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from edgeagent.store.pace import DEFAULT_PACE, Pace, PaceMeter
from edgeagent.store.port import NotAFileError, WritableFiles
from edgeagent.store.url import open_files

MANIFEST = "manifest.json"
_LOOKED_AT = 64
"""Files of a version whose identity in the store is asked for; its networks are the first. A golden set may have
thousands, and each is a question."""
_T = TypeVar("_T")


class RemoteStore:
    """One model store. For one thread at a time.

    url: a folder, `file://`, `http(s)://` (read-only), `s3://` (the extra `s3`), or what else fsspec opens.
    storage_options: `headers` for http(s); else as fsspec takes them for the protocol (credentials, endpoint).
    timeout_s: seconds without progress until UnavailableError. pace: the least that files must come at.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 20.0,
        pace: Pace = DEFAULT_PACE,
        storage_options: Mapping[str, object] | None = None,
    ) -> None:
        """Connect to nothing yet. Raises UsageError, MissingExtraError."""
        self.timeout_s = timeout_s
        self.pace = pace
        self.name = redact(url)
        self._files = open_files(url, timeout_s, storage_options or {})

    def read_manifest(self, model: str, version: str) -> bytes:
        """The bytes of the manifest, at most MAX_MANIFEST_BYTES + 1 of them (one more than is allowed).

        Raises NotFoundError if the store has no such version, IntegrityError if what is there is no file,
        UnavailableError.
        """
        data = self.read(_path(model, version, MANIFEST), MAX_MANIFEST_BYTES)
        if data is None:
            raise NotFoundError(
                f"version {model}/{version}", f"not in the store {self.name}", "publish it, or check the name"
            )
        return data

    def open_from(self, model: str, version: str, path: str, offset: int) -> Generator[bytes]:
        """The content of a file from byte `offset` to its end in the store, in chunks of at most 8 MiB.

        Yields nothing if the file is not longer than `offset`. Raises NotFoundError, IntegrityError (a pipe, links in
        a loop), UnavailableError (also in the middle, when the connection is cut or stalls).
        """
        return self._chunks(_path(model, version, path), offset)

    def read_withdrawal(self, model: str, version: str) -> bytes | None:
        """What the store says of this version's withdrawal, at most MAX_DOCUMENT_BYTES + 1 bytes; None if it wasn't
        withdrawn.

        What is there and may not be read is no permission. But a store that shows no listing (S3 to who may only get
        objects, many a web server) refuses what isn't there as well: it is taken for that. Raises UnavailableError.
        """
        path = withdrawal_path(model, version)
        try:
            return self.read(path, MAX_DOCUMENT_BYTES)
        except IntegrityError:  # a pipe or the like
            return b""
        except UnavailableError as e:
            if not _is_refused(e) or self._lists(path):
                raise
            return None

    def _lists(self, path: str) -> bool:
        """Whether a listing has this document of a model, or the folder that it would lie in, as far as we may see."""
        model, folder, name = path.split("/")
        for where, what in ((f"{model}/{folder}", name), (model, folder)):
            try:
                return what in self.names(where)
            except UnavailableError as e:
                if not _is_refused(e):
                    raise
        return False

    def fingerprint(self, model: str, version: str) -> str:
        """A cheap identity of what the store holds as this version, without reading the weights.

        Made of the manifest, of what the store tells of each file (size, ETag, date), and of its withdrawal. It changes
        when a version that was absent, incomplete or broken is put right, or isn't withdrawn any more. Raises
        UnavailableError.
        """
        try:
            data = self.read_manifest(model, version)
        except (NotFoundError, IntegrityError):
            return "absent"
        seen = hashlib.sha256(data)
        if (withdrawal := self.read_withdrawal(model, version)) is not None:
            seen.update(b"withdrawn" + withdrawal)
        with suppress(IntegrityError):  # then the manifest's own bytes are all that there is to compare
            for file in parse_manifest(data, model, version).files[:_LOOKED_AT]:
                facts = self._identity(_path(model, version, file.path)) or {}
                seen.update(repr((file.path, sorted(facts.items()))).encode())
        return "sha256:" + seen.hexdigest()

    def versions(self, model: str) -> list[str]:
        """The published versions of `model`, sorted by name; a web server must list its folders for that.

        Raises UnavailableError.
        """
        return [name for name in self.folders(model) if self.has_version(model, name)]

    def folders(self, model: str) -> list[str]:
        """What lies in the model's folder and is named as a version, sorted; not all of it may be one.

        Raises UnavailableError.
        """
        return [name for name in sorted(set(self.names(check_name("model", model)))) if is_name(name)]

    def has_version(self, model: str, version: str) -> bool:
        """Whether the version is published, so whether it has a manifest. Raises UnavailableError."""
        return self._identity(_path(model, version, MANIFEST)) is not None

    def prepare_to_publish(self) -> None:
        """Before the other calls of a publisher. Raises UsageError if the store is read-only, UnavailableError."""
        self._translated("root", self._writable().prepare)

    def put_file(self, model: str, version: str, path: str, source: Path) -> None:
        """Copy a local file into the version's folder, in a stream; replaces what is there.

        Raises UsageError (a read-only store), UnavailableError.
        """
        where, files = _path(model, version, path), self._writable()
        self._translated(where, lambda: files.put_file(where, source))

    def put_manifest(self, model: str, version: str, data: bytes) -> None:
        """Make the version visible, once: of several publishers at the same time, one succeeds.

        On S3 that holds where the server knows conditional writes. Raises ConflictError, UsageError,
        UnavailableError.
        """
        where, files = _path(model, version, MANIFEST), self._writable()
        try:
            self._translated(where, lambda: files.put_once(where, data))
        except ConflictError as e:
            raise already_published(model, version, self.name) from e

    # -- any file, by its path below the root ------------------------------------------------------------

    def read(self, path: str, most: int) -> bytes | None:
        """The bytes of a small file, at most `most` + 1 of them (one more than is allowed); None if it isn't there.

        Raises IntegrityError if what is there is no file, UnavailableError.
        """
        data, meter = bytearray(), PaceMeter(self.pace, time.monotonic())
        try:
            with closing(self._chunks(path, 0)) as chunks:
                for chunk in chunks:
                    data += chunk
                    if len(data) > most:
                        break
                    if why := meter.lag(len(data), time.monotonic()):
                        raise self._unavailable(why)
        except NotFoundError:
            return None
        return bytes(data[: most + 1])

    def names(self, folder: str) -> list[str]:
        """What lies in a folder, in no order; nothing if it isn't there. Raises UnavailableError."""
        try:
            return self._call(folder, lambda: self._files.names(folder))
        except NotFoundError:
            return []

    def documents(self, folder: str) -> list[str]:
        """By what each document in a folder, `<name>.json`, is called, sorted; what can't be one is passed over.

        Raises UnavailableError, IntegrityError for more than MAX_DOCUMENTS.
        """
        found = sorted({n.removesuffix(".json") for n in self.names(folder) if n.endswith(".json")})
        if len(found) > MAX_DOCUMENTS:
            why = f"holds {len(found)} documents, at most {MAX_DOCUMENTS}"
            raise IntegrityError(f"{folder} in the store {self.name}", why, "remove what nobody needs")
        return [name for name in found if is_name(name)]

    def put(self, path: str, data: bytes) -> None:
        """Write a small file over what is there: the last of two at once wins. Raises UsageError (a read-only store),
        UnavailableError."""
        files = self._writable()
        self._call(path, lambda: files.put(path, data))

    def put_once(self, path: str, data: bytes) -> None:
        """Write a small file that isn't there yet. Raises ConflictError, UsageError, UnavailableError."""
        files = self._writable()
        self._call(path, lambda: files.put_once(path, data))

    def remove(self, path: str) -> None:
        """Remove a file, unless it is gone already. Raises UsageError, UnavailableError."""
        files = self._writable()
        with suppress(NotFoundError):
            self._call(path, lambda: files.remove(path))

    # -- how it is asked ---------------------------------------------------------------------------------

    def _writable(self) -> WritableFiles:
        """The files, if this kind of store can be written. Raises UsageError."""
        if isinstance(self._files, WritableFiles):
            return self._files
        raise UsageError(
            f"model store {self.name}",
            "http(s) stores are read-only",
            "publish to the folder or bucket that the server shows",
        )

    def _chunks(self, path: str, offset: int) -> Generator[bytes]:
        # Never closed from here: after a time-out its step still runs. It closes when nobody refers to it.
        stream = self._files.stream(path, offset)
        while chunk := self._call(path, partial(next, stream, b"")):
            yield chunk

    def _identity(self, path: str) -> dict[str, str] | None:
        try:
            return self._call(path, lambda: self._files.identity(path))
        except (NotFoundError, IntegrityError):
            return None

    def _call(self, path: str, function: Callable[[], _T]) -> _T:
        """Run one operation in the time-out, which no library keeps in all cases (a stale network mount)."""
        outcome: list[_T] = []
        failure: list[EdgeAgentError] = []

        def run() -> None:
            try:
                outcome.append(self._translated(path, function))
            except EdgeAgentError as e:
                failure.append(e)

        thread = threading.Thread(target=run, name="store", daemon=True)
        thread.start()
        thread.join(self.timeout_s)
        if failure:
            raise failure[0]
        if not outcome:
            raise self._unavailable(f"no answer within {self.timeout_s:g} s")
        return outcome[0]

    def _translated(self, path: str, function: Callable[[], _T]) -> _T:
        """Run one operation of a library, whose errors are of many kinds, and say them as ours."""
        try:
            return function()
        except NotAFileError as e:
            raise IntegrityError(
                f"{path} in the store {self.name}",
                str(e),
                "put the file itself there, or publish the version again",
            ) from e
        except FileExistsError as e:
            raise ConflictError(f"{path} in the store {self.name}", "exists already") from e
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as e:
            if not self._files.is_there():
                raise self._unavailable("it is not there", "check its name, and whether it is mounted") from e
            raise NotFoundError(f"{path} in the store {self.name}", "not found") from e
        except PermissionError as e:
            raise self._unavailable(f"access refused ({e})", "check the credentials and permissions") from e
        except TimeoutError as e:
            raise self._unavailable(f"no answer within {self.timeout_s:g} s") from e
        except OSError as e:
            raise self._unavailable(str(e)) from e
        except Exception as e:
            raise self._unavailable(f"{type(e).__name__}: {e}") from e

    def _unavailable(self, why: str, todo: str = "it is tried again later") -> UnavailableError:
        return UnavailableError(f"model store {self.name}", redact(why), todo)


def already_published(model: str, version: str, store: str) -> ConflictError:
    """Versions are immutable."""
    return ConflictError(
        f"version {model}/{version}",
        f"exists already in the store {store}",
        "publish under a new version name",
    )


def _path(model: str, version: str, path: str) -> str:
    return f"{check_name('model', model)}/{check_name('version', version)}/{path}"


def _is_refused(e: UnavailableError) -> bool:
    """Whether the store was there, and said that this is nothing for us."""
    return isinstance(e.__cause__, PermissionError)
