# SPDX-License-Identifier: AGPL-3.0-or-later
"""One model store of each kind, empty, and what a test does to it behind everybody's back."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec

from edgeagent.core.model import Manifest
from edgeagent.store.remote import RemoteStore
from tests.support.http_store import http_store
from tests.support.published import publish_bytes
from tests.support.s3_store import s3_store

KINDS = ("folder", "http", "http without ranges", "s3")
_buckets = itertools.count()


@dataclass
class Store:
    """One empty store. write_url: where a publisher writes what `url` shows."""

    url: str
    write_url: str
    options: dict[str, object] = field(default_factory=dict)

    @cached_property
    def remote(self) -> RemoteStore:
        """As a node opens it."""
        return RemoteStore(self.url, timeout_s=10, storage_options=self.options)

    @cached_property
    def _behind(self) -> tuple[Any, str]:
        fs, root = fsspec.core.url_to_fs(self.write_url, **self.options)
        return fs, str(root)

    def publish(self, version: str, weights: bytes, scratch: Path, golden: Path | None = None) -> Manifest:
        """As a pipeline does."""
        return publish_bytes(self.write_url, version, weights, scratch, golden=golden, options=self.options)

    def write(self, path: str, data: bytes) -> None:
        """Behind the back of all."""
        fs, root = self._behind
        fs.makedirs(f"{root}/{path}".rpartition("/")[0], exist_ok=True)
        fs.pipe_file(f"{root}/{path}", data)
        if not self.options:  # HTTP's dates are whole seconds: as if a moment had passed
            os.utime(f"{root}/{path}", (time.time() + 2, time.time() + 2))

    def remove(self, path: str) -> None:
        """Behind the back of all."""
        fs, root = self._behind
        fs.rm_file(f"{root}/{path}")

    def has(self, path: str) -> bool:
        """Whether there is something at this path."""
        fs, root = self._behind
        return bool(fs.exists(f"{root}/{path}"))

    @property
    def writer(self) -> RemoteStore:
        """As a publisher opens it."""
        return RemoteStore(self.write_url, timeout_s=10, storage_options=self.options)


@contextmanager
def open_store(kind: str, folder: Path, s3_endpoint: Callable[[], str]) -> Iterator[Store]:
    """An empty store of a kind, in `folder`; s3_endpoint: is asked for only if need be."""
    folder.mkdir()
    if kind == "folder":
        yield Store(str(folder), str(folder))
    elif kind == "s3":
        s3 = s3_store(s3_endpoint(), f"factory-{next(_buckets)}")
        yield Store(f"{s3.url}/models", f"{s3.url}/models", s3.options)
    else:
        with http_store(folder) as server:
            server.ranges = kind == "http"
            yield Store(f"{server.url}/", str(folder))
