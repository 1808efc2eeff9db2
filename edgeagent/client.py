# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line's side of a node's HTTP API: ask it, and show the answer to a person."""

from __future__ import annotations

import http.client
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from edgeagent.config.secret import read_secret
from edgeagent.errors import ConflictError, EdgeAgentError, NotFoundError, UnavailableError, UsageError

DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 16 << 20
_KIND_OF: dict[int, type[EdgeAgentError]] = {
    401: UsageError,
    404: NotFoundError,
    409: ConflictError,
    422: UsageError,
    503: UnavailableError,
}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The API has no redirects; following one would carry the token elsewhere."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


def ask(url: str, path: str, token_file: Path | None = None, body: Mapping[str, Any] | None = None) -> Any:
    """GET `path` of the node at `url`, or POST `body` to it. Returns the decoded JSON.

    Proxies are left aside: a node is near. Raises UsageError, NotFoundError, ConflictError or
    UnavailableError, in the node's own words where it answered.
    """
    what = f"node at {url}"
    if not url.startswith(("http://", "https://")):
        raise UsageError(what, "not a URL of a node", f"use one such as {DEFAULT_URL}")
    headers = {"Accept": "application/json"}
    if token_file is not None:
        headers["Authorization"] = f"Bearer {read_secret(token_file)}"
    data = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        data = json.dumps(body).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    try:
        request = urllib.request.Request(url.rstrip("/") + path, data, headers)
        with opener.open(request, timeout=TIMEOUT_S) as response:
            return _decode(response, what)
    except urllib.error.HTTPError as e:
        with e:
            raise _told(e, what) from e
    except (OSError, http.client.HTTPException, ValueError) as e:
        why = str(getattr(e, "reason", e)) or type(e).__name__
        raise UnavailableError(what, f"no answer ({why})", "is the node running, and is --url right?") from e


def _decode(response: IO[bytes], what: str) -> Any:
    data = response.read(MAX_ANSWER_BYTES + 1)
    try:
        if len(data) > MAX_ANSWER_BYTES:
            raise ValueError("too long")
        return json.loads(data)
    except (ValueError, RecursionError) as e:
        raise UnavailableError(what, f"the answer is not that of a node ({e})", "is --url right?") from e


def _told(error: urllib.error.HTTPError, what: str) -> EdgeAgentError:
    kind = _KIND_OF.get(error.code, EdgeAgentError)
    try:
        told = json.loads(error.read(64 * 1024))["error"]
        if error.code == 401:
            return kind(
                what, str(told["why"]), "give --token-file, the file that the node's api.token_file names"
            )
        return kind(str(told["what"]), str(told["why"]), str(told["todo"]))
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        return kind(what, f"it answered {error.code} {error.reason}", "is --url that of a node?")


def printable(value: object) -> str:
    """Text that can't play tricks on a terminal: one line, no control characters."""
    return "".join(c if c.isprintable() else " " for c in str(value))


def show_status(status: Mapping[str, Any]) -> None:
    """Print `/api/status` as tables."""
    store = status.get("config_store") or {}
    line = f"node {status.get('node', '?')}, config store {store.get('url', '?')} "
    _print(line + ("connected" if store.get("connected") else "NOT connected"))
    models = [
        (
            name,
            m.get("aspired"),
            *_version(m.get("active")),
            _version(m.get("standby"))[0],
            m.get("state"),
            _notes(m),
        )
        for name, m in (status.get("models") or {}).items()
    ]
    _table(("model", "aspired", "active", "engine", "epoch", "standby", "state", "notes"), models)
    pipelines = [
        (
            name,
            p.get("state"),
            p.get("fps"),
            p.get("frames"),
            p.get("dropped"),
            *((p.get("latency_ms") or {}).get(q) for q in ("p50", "p99")),
        )
        for name, p in (status.get("pipelines") or {}).items()
    ]
    _table(("pipeline", "state", "fps", "frames", "dropped", "p50 ms", "p99 ms"), pipelines)
    workers = [
        (w.get("pid"), w.get("kind"), w.get("pipeline") or w.get("model"), w.get("version"))
        for w in status.get("workers") or []
    ]
    _table(("pid", "worker", "of", "version"), workers)


def show_history(records: list[Mapping[str, Any]]) -> None:
    """Print audit records as a table, oldest first."""
    rows = [
        (
            r.get("when"),
            r.get("event"),
            r.get("model"),
            " → ".join(str(v) for v in (r.get("from_version"), r.get("to_version")) if v),
            r.get("result"),
            r.get("who"),
            r.get("why"),
        )
        for r in records
    ]
    _table(("when", "event", "model", "versions", "result", "who", "why"), rows)


def _version(value: object) -> tuple[object, object, object]:
    """Version, engine and epoch of a status' `active` or `standby`, which is an object, a version or null."""
    if isinstance(value, Mapping):
        return value.get("version"), value.get("engine"), value.get("epoch")
    return value, None, None


def _notes(model: Mapping[str, Any]) -> str:
    notes = [f"held: {model['held']}"] if model.get("held") else []
    error = model.get("last_error")
    if isinstance(error, Mapping):
        error = ": ".join(str(error[k]) for k in ("what", "why") if error.get(k))
    return "; ".join([*notes, f"last error: {error}"] if error else notes)


def _print(renderable: Any) -> None:
    from rich.console import Console

    tty = sys.stdout.isatty()
    console = Console(markup=False, highlight=False, emoji=False, width=None if tty else 200)
    console.print(printable(renderable) if isinstance(renderable, str) else renderable)


def _table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        cells = (f"{c:.1f}" if isinstance(c, float) else "" if c is None else printable(c) for c in row)
        table.add_row(*cells)
    _print(table if rows else f"\nno {columns[0]}")
