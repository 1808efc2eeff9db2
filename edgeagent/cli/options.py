# SPDX-License-Identifier: AGPL-3.0-or-later
"""Options that several commands have."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from edgeagent.cli import completion

FAILED, WRONG = 1, 2
"""Exit codes: it failed; arguments or configuration are wrong."""

ModelArgument = Annotated[
    str, typer.Argument(metavar="M", show_default=False, autocompletion=completion.models)
]
VersionArgument = Annotated[
    str, typer.Argument(metavar="V", show_default=False, autocompletion=completion.versions)
]
WatchOption = Annotated[bool, typer.Option("--watch", help="Again whenever something changes.")]
ConfigOption = Annotated[
    Path,
    typer.Option("--config", metavar="FILE", help="The node's configuration (YAML).", show_default=False),
]
UrlOption = Annotated[str, typer.Option("--url", metavar="URL", help="The node's HTTP API.")]
TokenOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", metavar="FILE", envvar="EDGEAGENT_TOKEN_FILE", help="File with the API's token."
    ),
]
CaOption = Annotated[
    Path | None,
    typer.Option(
        "--ca-file", metavar="FILE", envvar="EDGEAGENT_CA_FILE", help="Trust this authority (https)."
    ),
]
CertOption = Annotated[Path | None, typer.Option("--cert-file", metavar="FILE", help="Own certificate.")]
KeyOption = Annotated[Path | None, typer.Option("--key-file", metavar="FILE", help="Its key.")]
JsonOption = Annotated[bool, typer.Option("--json", help="The node's answer as it is.")]
ByOption = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="On whose word; you, if not given.")
]


def user() -> str:
    """Who types, for the audit log."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        name = f"uid {os.getuid()}"
    return f"{name}@{socket.gethostname()}"
