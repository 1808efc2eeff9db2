# SPDX-License-Identifier: AGPL-3.0-or-later
"""Commands that ask one node, through its API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from edgeagent.cli import completion
from edgeagent.cli.client import ask, read
from edgeagent.cli.completion import DEFAULT_URL
from edgeagent.cli.options import (
    FAILED,
    ByOption,
    CaOption,
    CertOption,
    JsonOption,
    KeyOption,
    ModelArgument,
    TokenOption,
    UrlOption,
    WatchOption,
    user,
)
from edgeagent.cli.render import show_check, show_history, show_status
from edgeagent.cli.tables import show_json
from edgeagent.errors import UsageError
from edgeagent.intent.port import Tls

AnyModel = Annotated[
    str | None,
    typer.Argument(metavar="[M]", show_default=False, autocompletion=completion.models),
]
ThisVersion = Annotated[
    str, typer.Option("--version", metavar="V", help="Only if it is this one.", show_default=False)
]
ThisDigest = Annotated[
    str,
    typer.Option("--if-digest", metavar="DIGEST", help="Only if its content is this.", show_default=False),
]


def rollback(
    model: AnyModel = None,
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    ca_file: CaOption = None,
    cert_file: CertOption = None,
    key_file: KeyOption = None,
    by: ByOption = None,
    if_epoch: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Only while this epoch serves (see status).")
    ] = None,
) -> None:
    """Roll one node back to the version before, and hold it there until the intent changes."""
    from edgeagent.core.model import check_name

    path = "/rollback" if model is None else f"/api/models/{check_name('model', model)}/rollback"
    body = {"by": by or user()} | ({} if if_epoch is None else {"if_epoch": if_epoch})
    _post(path, url, token_file, body, Tls(ca_file, cert_file, key_file))


def approve(
    model: ModelArgument,
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    ca_file: CaOption = None,
    cert_file: CertOption = None,
    key_file: KeyOption = None,
    by: ByOption = None,
    version: ThisVersion = "",
    if_digest: ThisDigest = "",
) -> None:
    """Let the version that waits in SHADOW on one node come in."""
    body = {"by": by or user(), "version": version, "if_digest": if_digest}
    _decide("approve", model, url, token_file, body, Tls(ca_file, cert_file, key_file))


def refuse(
    model: ModelArgument,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why.", show_default=False)],
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    ca_file: CaOption = None,
    cert_file: CertOption = None,
    key_file: KeyOption = None,
    by: ByOption = None,
    version: ThisVersion = "",
    if_digest: ThisDigest = "",
) -> None:
    """Refuse the version that waits in SHADOW on one node."""
    body = {"by": by or user(), "reason": reason, "version": version, "if_digest": if_digest}
    _decide("refuse", model, url, token_file, body, Tls(ca_file, cert_file, key_file))


def _decide(verb: str, model: str, url: str, token_file: Path | None, body: dict[str, str], tls: Tls) -> None:
    from edgeagent.core.model import check_name

    _post(f"/api/models/{check_name('model', model)}/{verb}", url, token_file, body, tls)


def _post(path: str, url: str, token_file: Path | None, body: dict[str, Any], tls: Tls) -> None:
    """Ask the node for it, and print its answer."""
    answer = ask(url, path, token_file, body, tls)
    typer.echo(json.dumps(answer, ensure_ascii=False))


def status(
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    ca_file: CaOption = None,
    cert_file: CertOption = None,
    key_file: KeyOption = None,
    watch: WatchOption = False,
    as_json: JsonOption = False,
) -> None:
    """What runs on a node, since when and why."""
    from edgeagent.cli.watching import show_changes
    from edgeagent.status.schema import Status

    def read_status() -> Any:
        return ask(url, "/api/status", token_file, tls=Tls(ca_file, cert_file, key_file))

    def show(answer: Any) -> None:
        if as_json:
            show_json(answer, is_line=watch)
        else:
            show_status(read(answer, Status, url))

    if watch:
        show_changes(read_status, show, what=f"the node at {url}")
    else:
        show(read_status())


def history(
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    ca_file: CaOption = None,
    cert_file: CertOption = None,
    key_file: KeyOption = None,
    as_json: JsonOption = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The last so many.")] = 100,
    watch: WatchOption = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Whether all records are as they were written; exit 1 if not.")
    ] = False,
    anchor: Annotated[
        str, typer.Option(metavar="NUMBER:HASH", help="With --verify: a head that was kept elsewhere.")
    ] = "",
    state_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="With --verify: read node.state_dir, ask no node.", show_default=False
        ),
    ] = None,
) -> None:
    """What happened on a node, and whether the record of it is whole."""
    from edgeagent.status.schema import History, HistoryCheck

    tls = Tls(ca_file, cert_file, key_file)
    if not verify and (anchor or state_dir):
        raise UsageError("--anchor and --state-dir", "are of --verify", "add --verify")
    if watch and verify:
        raise UsageError("--watch", "is not of --verify", "leave one of them out")

    def records() -> History:
        return read(ask(url, f"/api/history?limit={limit}", token_file, tls=tls), History, url)

    if watch:
        from edgeagent.cli.history_watch import watch_history

        watch_history(records, as_json, f"the node at {url}")
        return
    if not verify:
        if as_json:
            show_json(ask(url, f"/api/history?limit={limit}", token_file, tls=tls))
        else:
            show_history(records().history)
        return
    if state_dir:
        answer = _check_folder(state_dir, anchor)
    else:
        answer = ask(url, f"/api/history/check?anchor={quote(anchor)}", token_file, tls=tls)
    check = read(answer, HistoryCheck, str(state_dir or url))
    if as_json:
        show_json(answer)
    else:
        show_check(check)
    raise typer.Exit(0 if check.intact else FAILED)


def _check_folder(state_dir: Path, anchor: str) -> Any:
    from edgeagent.observe.audit_check import check_folder
    from edgeagent.status.history_check import anchors_of, history_check

    if not state_dir.is_dir():
        raise UsageError(f"--state-dir {state_dir}", "no such folder", "give the node.state_dir of a node")
    return history_check(check_folder(state_dir, anchors_of(anchor))).model_dump(mode="json")
