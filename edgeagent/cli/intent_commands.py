# SPDX-License-Identifier: AGPL-3.0-or-later
"""Commands that write the operator's intent into a config store."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from edgeagent.cli.options import ByOption, CertOption, KeyOption, user
from edgeagent.errors import UsageError
from edgeagent.intent.port import Tls


def promote(
    model: Annotated[str, typer.Argument(metavar="M", show_default=False)],
    version: Annotated[str, typer.Argument(metavar="V|@TAG", show_default=False)],
    config_store: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="etcd://host:port,..., zk://host:port/chroot, kafka://host/topic, file:///folder",
            show_default=False,
        ),
    ],
    store: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="The model store: look up @TAG, or whether the version is there and may be taken up.",
            show_default=False,
        ),
    ] = "",
    by: ByOption = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why.")] = "",
    allow_new_contract: Annotated[
        bool, typer.Option(help="The class names may change with this version.")
    ] = False,
    allow_slow: Annotated[bool, typer.Option(help="It may be too slow for its pipelines.")] = False,
    again: Annotated[
        bool, typer.Option(help="Try it at once, although nodes went back from it just now.")
    ] = False,
    terms: Annotated[
        str,
        typer.Option(
            metavar="JSON",
            help='How it is to come in, such as {"shadow": {"seconds": 120}, "approval": "manual"}.',
        ),
    ] = "",
    username: Annotated[str | None, typer.Option(metavar="NAME", help="User of the config store.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File with its password.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Use TLS, and trust this authority.")
    ] = None,
    cert_file: CertOption = None,
    key_file: KeyOption = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Of its client, such as security.protocol=SASL_SSL; once for each.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write the intent: all nodes that follow the key take this version."""
    from edgeagent.config import readable_login
    from edgeagent.core.directive import Directive, current_key, encode_directive, with_terms
    from edgeagent.core.model import check_name
    from edgeagent.intent.port import Access
    from edgeagent.intent.url import open_writer

    tls = Tls(ca_file, cert_file, key_file) if ca_file or cert_file or key_file else None
    options = dict(_option(text) for text in option or [])
    key = current_key(check_name("model", model))
    version, tag = _looked_up(model, version, store)
    asked = Directive(
        version,
        by=by or user(),
        reason=reason,
        tag=tag,
        allow_new_contract=allow_new_contract,
        allow_slow=allow_slow,
        again=again,
    )
    value = encode_directive(with_terms(asked, terms))
    access = Access(username or "", password_file, tls, options)
    if why := readable_login(config_store, access):
        typer.echo(f"warning: config store {config_store}: {why}", err=True)
    with closing(open_writer(config_store, access)) as writer:
        writer.put(key, value)
    typer.echo(f"{key} = {value.decode()}")


def _looked_up(model: str, version: str, store: str) -> tuple[str, str]:
    """The version, and the tag that named it, "" where none did; unless a store is given, whatever is there."""
    if not store:
        if version.startswith("@"):
            raise UsageError(f"{model} {version}", "a tag stands in the model store", "give --store URL")
        return version, ""
    from edgeagent.store.remote import RemoteStore
    from edgeagent.store.tags import resolve

    found = resolve(RemoteStore(store), model, version)
    return found.version, found.tag


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"--option {text}", "is not NAME=VALUE", "give one such as security.protocol=SSL")
    return name, value
