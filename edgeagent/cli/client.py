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
_QS = ("p50", "p99")
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
    """Print `/api/status` as tables, with what they have no room for in lines below."""
    store, models = status.get("config_store") or {}, status.get("models") or {}
    pipelines, workers = status.get("pipelines") or {}, status.get("workers") or []
    connected = "connected" if store.get("connected") else f"NOT connected {store.get('why') or ''}"
    _print(f"node {status.get('node', '?')}, config store {store.get('url', '?')} {connected}")
    _table(
        ("model", "aspired", "active", "engine", "epoch", "standby", "state"),
        [
            (
                name,
                m.get("aspired"),
                *_version(m.get("active")),
                _version(m.get("standby"))[0],
                m.get("state"),
            )
            for name, m in models.items()
        ],
    )
    for name, m in models.items():
        for note in _notes(m):
            _print(f"{name}: {note}")
    latencies = {name: p.get("latency_ms") or {} for name, p in pipelines.items()}
    _table(
        ("pipeline", "state", "fps", "frames", "dropped", "p50 ms", "p99 ms"),
        [
            (
                name,
                *(p.get(k) for k in ("state", "fps", "frames", "dropped")),
                *(latencies[name].get(q) for q in _QS),
            )
            for name, p in pipelines.items()
        ],
    )
    for name, p in pipelines.items():
        if why := p.get("why") or p.get("last_error"):
            _print(f"{name}: {why}")
    _table(
        ("pid", "worker", "of", "version"),
        [
            (w.get("pid"), w.get("kind"), w.get("pipeline") or w.get("model"), w.get("version"))
            for w in workers
        ],
    )


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


def _notes(model: Mapping[str, Any]) -> list[str]:
    """What is to be known of a model beyond its row in the table."""
    notes = []
    if held := model.get("held"):
        notes.append(f"held on {held.get('version')} by {held.get('by') or '?'} until {held.get('until')}")
    if candidate := model.get("candidate"):
        notes.append(
            f"{candidate.get('version')} is at {candidate.get('stage')} {candidate.get('error') or ''}".strip()
        )
    notes += [f"{r.get('version')} rejected: {r.get('why')}" for r in model.get("rejected") or []]
    if error := model.get("last_error"):
        notes.append(f"last error: {error}")
    return notes


def _print(renderable: Any) -> None:
    from rich.console import Console

    tty = sys.stdout.isatty()
    console = Console(markup=False, highlight=False, emoji=False, width=None if tty else 200)
    if isinstance(renderable, str):
        console.print(printable(renderable), soft_wrap=True)
    else:
        console.print(renderable)


def _table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        cells = (f"{c:.1f}" if isinstance(c, float) else "" if c is None else printable(c) for c in row)
        table.add_row(*cells)
    _print(table if rows else f"no {columns[0]}")
