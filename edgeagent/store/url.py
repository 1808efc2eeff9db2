# SPDX-License-Identifier: AGPL-3.0-or-later
"""From the URL of a model store to its adapter: one row of `ADAPTERS` each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from edgeagent.core.text import redact
from edgeagent.errors import MissingExtraError, UsageError
from edgeagent.store.port import Files


@dataclass(frozen=True)
class Adapter:
    """One kind of model store.

    schemes: of its URLs, "" for a plain path. extra: of edgeagent, that installs the client.
    module: has `open_files(url, timeout_s, options)`, which gives `Files` and raises ImportError (its client is
    missing), ValueError or TypeError (URL or options are wrong). It is imported when a store of this kind is opened,
    for fsspec, requests and boto are large.
    """

    schemes: tuple[str, ...]
    module: str
    extra: str = ""


ADAPTERS = (
    Adapter(("", "file"), "edgeagent.store.folder"),
    Adapter(("http", "https"), "edgeagent.store.http_files"),
    Adapter(("s3", "s3a"), "edgeagent.store.objects", extra="s3"),
)
_OTHERS = Adapter((), "edgeagent.store.objects")  # whatever the installed fsspec opens


def open_files(url: str, timeout_s: float, options: Mapping[str, object]) -> Files:
    """The files of the store at `url`; nothing is connected yet. timeout_s: of one request, without progress.

    Raises UsageError for a wrong URL or options, MissingExtraError when its client isn't installed.
    """
    scheme, there, _ = url.partition("://")
    scheme = scheme if there else ""
    adapter = next((a for a in ADAPTERS if scheme in a.schemes), _OTHERS)
    what = f"model store {redact(url)}"
    try:
        files: Files = import_module(adapter.module).open_files(url, timeout_s, options)
    except ImportError as e:
        todo = f"pip install 'edgeagent[{adapter.extra}]'" if adapter.extra else str(e)
        raise MissingExtraError(what, "its client is not installed", todo) from e
    except (ValueError, TypeError) as e:
        raise UsageError(what, str(e), "use a folder, http(s):// or s3://") from e
    return files
