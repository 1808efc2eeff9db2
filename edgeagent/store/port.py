# SPDX-License-Identifier: AGPL-3.0-or-later
"""The port to a kind of model store. `RemoteStore` makes a store of versions out of it, and errors of edgeagent's."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Protocol, runtime_checkable


class NotAFileError(OSError):
    """What lies at a path can't be read as a file, and will not be by waiting: a pipe, a device, links in a loop."""


class Files(Protocol):
    """One kind of store: files by path below its root. Errors are of any type that its libraries have; those that mean
    something are NotAFileError, and of builtins FileNotFoundError, PermissionError, TimeoutError and FileExistsError.
    """

    def is_there(self) -> bool:
        """False if the root as a whole is away, so that a missing file says nothing."""

    def stream(self, path: str, offset: int) -> Generator[bytes]:
        """The file from byte `offset` to its end, nothing if it isn't that long; each step does a bounded work."""

    def identity(self, path: str) -> dict[str, str]:
        """What tells this content of the file from another, as far as the store knows (size, date, tag)."""

    def names(self, path: str) -> list[str]:
        """The names in a folder."""


@runtime_checkable
class WritableFiles(Files, Protocol):
    """One that can be published to."""

    def prepare(self) -> None:
        """Create the root, if that is what this kind of store does by itself."""

    def put_file(self, path: str, source: Path) -> None:
        """Copy a local file, in a stream, over what is there."""

    def put_once(self, path: str, data: bytes) -> None:
        """Write a small file that isn't there yet, as a whole. Raises FileExistsError."""

    def put(self, path: str, data: bytes) -> None:
        """Write a small file over what is there; whoever reads it meanwhile gets the old content or the new, where the
        store can do that (a folder and S3 can)."""

    def remove(self, path: str) -> None:
        """Remove a file, and folders that are empty then. It may be gone already: then this does nothing, or raises
        FileNotFoundError."""
