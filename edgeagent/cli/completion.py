# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the shell offers for the name of a model, a version or a tag: asked where an answer is near, and quickly.

In a folder as the model store its folders; else the node on this machine, which has 0.5 s. Whatever goes wrong, there
is nothing to offer, and nothing is said.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import typer

from edgeagent.errors import UsageError
from edgeagent.util.secret import read_secret

DEFAULT_URL = "http://127.0.0.1:8080"
"""Of a node on this machine."""
_PATIENCE_S = 0.5
_MOST = 1 << 20


def models(context: typer.Context, incomplete: str) -> list[str]:
    """Names of models that begin like this."""
    folder = _folder(context)
    if folder is not None:
        return _fitting((entry.name for entry in _entries(folder) if entry.is_dir()), incomplete)
    status = _asked(context, "/api/status")
    return _fitting(status.get("models", ()), incomplete)


def versions(context: typer.Context, incomplete: str) -> list[str]:
    """Versions of the model that stands before, and tags where a store is named."""
    model = str(context.params.get("model") or "")
    folder = _folder(context)
    if folder is not None:
        found = [
            e.name for e in _entries(folder / model) if (folder / model / e.name / "manifest.json").is_file()
        ]
        tags = [f"@{e.name.removesuffix('.json')}" for e in _entries(folder / model / "_tags")]
        return _fitting((*found, *tags), incomplete)
    said = _asked(context, f"/api/models/{quote(model, safe='')}/versions")
    return _fitting((str(row.get("version")) for row in said.get("versions", ())), incomplete)


def _folder(context: typer.Context) -> Path | None:
    """That of --store, if it is one."""
    store = str(context.params.get("store") or "")
    if store.startswith("file://"):
        store = unquote(urlsplit(store).path)
    return Path(store) if store and "://" not in store and Path(store).is_dir() else None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return [entry for entry in found if not entry.name.startswith((".", "_"))]
    except OSError:
        return []


def _asked(context: typer.Context, path: str) -> dict[str, Any]:
    """The node's answer; {} for none."""
    url = str(context.params.get("url") or DEFAULT_URL)
    headers = {}
    token_file = context.params.get("token_file") or os.environ.get("EDGEAGENT_TOKEN_FILE")
    try:
        if token_file:
            headers["Authorization"] = f"Bearer {read_secret(Path(str(token_file)))}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(url.rstrip("/") + path, headers=headers)
        with opener.open(request, timeout=_PATIENCE_S) as answer:
            doc = json.loads(answer.read(_MOST))
    except (UsageError, OSError, ValueError):
        return {}
    return doc if isinstance(doc, dict) else {}


def _fitting(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted(
        name for name in names if name.startswith(incomplete) and name.isprintable() and " " not in name
    )
