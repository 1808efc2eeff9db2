# SPDX-License-Identifier: AGPL-3.0-or-later
"""A model store in whatever else fsspec opens; above all, S3 buckets. The only module that imports fsspec."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import fsspec

_SMALLEST_READ = 64 << 10
_LARGEST_READ = 8 << 20
_IDENTITY = ("size", "ETag", "LastModified", "last_modified", "md5", "mtime", "VersionId", "generation")


def open_files(url: str, timeout_s: float, options: Mapping[str, object]) -> ObjectFiles:
    """See `ObjectFiles`."""
    return ObjectFiles(url, timeout_s, options)


class ObjectFiles:
    """Files below an fsspec URL. See `port.Files`.

    Raises ImportError if the protocol's library is missing, ValueError or TypeError if URL or options are wrong.
    """

    def __init__(self, url: str, timeout_s: float, options: Mapping[str, object]) -> None:
        """Connect to nothing yet."""
        given: dict[str, Any] = dict(options)
        if url.startswith(("s3:", "s3a:")):
            given["config_kwargs"] = {
                "connect_timeout": timeout_s,
                "read_timeout": timeout_s,
                **given.get("config_kwargs", {}),
            }
        # A shared instance would have a shared cache of listings, and another's time-outs.
        given |= {"skip_instance_cache": True, "use_listings_cache": False}
        self._fs, root = fsspec.core.url_to_fs(url, **given)
        self._root = str(root).rstrip("/")

    def is_there(self) -> bool:
        """Whether the bucket exists; an empty prefix in it does not, and is none the worse for it."""
        return bool(self._fs.exists(self._root.partition("/")[0] or "/"))

    def stream(self, path: str, offset: int) -> Generator[bytes]:
        """The file from `offset` on, in ranges that grow while the store is there: a slow one, too, ends each
        in time."""
        where = f"{self._root}/{path}"
        info = self._fs.info(where)
        if info["type"] != "file":
            raise FileNotFoundError(where)
        size, block = int(info["size"]), _SMALLEST_READ
        while offset < size:
            end = min(offset + block, size)
            chunk: bytes = self._fs.cat_file(where, start=offset, end=end)
            if not 0 < len(chunk) <= end - offset:
                raise ConnectionError(f"{len(chunk)} bytes came for a range of {end - offset}")
            yield chunk
            offset += len(chunk)
            block = min(2 * block, _LARGEST_READ)

    def identity(self, path: str) -> dict[str, str]:
        """What the store tells of the content."""
        info = self._fs.info(f"{self._root}/{path}")
        return {key: str(info[key]) for key in _IDENTITY if info.get(key)}

    def names(self, path: str) -> list[str]:
        """What lies under a prefix."""
        return [
            entry.rstrip("/").rpartition("/")[2]
            for entry in self._fs.ls(f"{self._root}/{path}", detail=False)
        ]

    def prepare(self) -> None:
        """Nothing: a bucket is made by who pays for it."""

    def put_file(self, path: str, source: Path) -> None:
        """Upload `source`, in parts if it is large."""
        self._fs.put_file(str(source), f"{self._root}/{path}")

    def put_once(self, path: str, data: bytes) -> None:
        """Never over what is there, where the store knows conditional writes (S3 does). Raises FileExistsError."""
        if self._fs.exists(f"{self._root}/{path}"):  # for those that ignore the condition
            raise FileExistsError(path)
        self._fs.pipe_file(f"{self._root}/{path}", data, mode="create")

    def put(self, path: str, data: bytes) -> None:
        """Over what is there: the last of two at once wins."""
        self._fs.pipe_file(f"{self._root}/{path}", data)

    def remove(self, path: str) -> None:
        """Remove one object."""
        self._fs.rm_file(f"{self._root}/{path}")
