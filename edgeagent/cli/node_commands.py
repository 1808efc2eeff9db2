# SPDX-License-Identifier: AGPL-3.0-or-later
"""Commands that ask one node, through its API."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from edgeagent.cli.client import DEFAULT_URL, ask, read
from edgeagent.cli.options import (
    ByOption,
    CaOption,
    CertOption,
    JsonOption,
    KeyOption,
    TokenOption,
    UrlOption,
    user,
)
from edgeagent.cli.render import show_history, show_json, show_status
from edgeagent.intent.port import Tls


def rollback(
    model: Annotated[str | None, typer.Argument(metavar="[M]", show_default=False)] = None,
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
    answer = ask(url, path, token_file, body, Tls(ca_file, cert_file, key_file))
    typer.echo(json.dumps(answer, ensure_ascii=False))


def status(
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    ca_file: CaOption = None,
    cert_file: CertOption = None,
    key_file: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """What runs on a node, since when and why."""
    from edgeagent.status.schema import Status

    answer = ask(url, "/api/status", token_file, tls=Tls(ca_file, cert_file, key_file))
    if as_json:
        show_json(answer)
    else:
        show_status(read(answer, Status, url))


def history(
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    ca_file: CaOption = None,
    cert_file: CertOption = None,
    key_file: KeyOption = None,
    as_json: JsonOption = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The last so many.")] = 100,
) -> None:
    """What happened on a node."""
    from edgeagent.status.schema import History

    answer = ask(url, f"/api/history?limit={limit}", token_file, tls=Tls(ca_file, cert_file, key_file))
    if as_json:
        show_json(answer)
    else:
        show_history(read(answer, History, url).history)
