# SPDX-License-Identifier: AGPL-3.0-or-later
"""Options that belong together: a dataclass that several commands take, instead of each naming all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from edgeagent.cli.options import CertOption, KeyOption
from edgeagent.errors import UsageError
from edgeagent.intent.port import Access, KeyValueStore, Tls


def takes_groups(command: Callable[..., None]) -> Callable[..., None]:
    """A command for typer: each of its parameters whose type is a dataclass becomes the options that are its fields."""
    types = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: type for name, type in types.items() if is_dataclass(type)}

    @wraps(command)
    def called(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{f.name: given.pop(f.name) for f in fields(group)})
        command(**given)

    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        taken = inspect.signature(groups[name]).parameters.values() if name in groups else (parameter,)
        hints = get_type_hints(groups[name], include_extras=True) if name in groups else types
        parameters += [p.replace(annotation=hints[p.name], kind=p.KEYWORD_ONLY) for p in taken]
    vars(called)["__signature__"] = inspect.Signature(parameters)
    return called


@dataclass(frozen=True)
class ConfigStore:
    """Which config store, and how to get into it."""

    config_store: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="etcd://host:port,..., zk://host:port/chroot, kafka://host/topic, file:///folder",
            show_default=False,
        ),
    ]
    username: Annotated[str | None, typer.Option(metavar="NAME", help="User of the config store.")] = None
    password_file: Annotated[Path | None, typer.Option(metavar="FILE", help="File with its password.")] = None
    ca_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Use TLS, and trust this authority.")
    ] = None
    cert_file: CertOption = None
    key_file: KeyOption = None
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Of its client, such as security.protocol=SASL_SSL; once for each.",
            show_default=False,
        ),
    ] = None

    def access(self) -> Access:
        """How to get in; a password that others can read is said. Raises UsageError."""
        from edgeagent.config import readable_login

        tls = Tls(self.ca_file, self.cert_file, self.key_file)
        options = dict(named_value("--option", text) for text in self.option or [])
        access = Access(self.username or "", self.password_file, tls if tls != Tls() else None, options)
        if why := readable_login(self.config_store, access):
            typer.echo(f"warning: config store {self.config_store}: {why}", err=True)
        return access

    def open(self) -> KeyValueStore:
        """The store; to be closed. Nothing is connected yet.

        Raises UsageError, also for one in which no fleet can be led; MissingExtraError.
        """
        from edgeagent.intent.url import ADAPTERS, find_adapter, open_store

        if not (adapter := find_adapter(self.config_store)).leases:
            forms = ", ".join(a.form for a in ADAPTERS if a.leases)
            why = f"a fleet can't be led through a {adapter.kind}"
            raise UsageError(f"config store {self.config_store}", why, f"use {forms}")
        return open_store(self.config_store, self.access())


@dataclass(frozen=True)
class ConfigStoreIfAny(ConfigStore):
    """The same where there need be none: then its URL is ""."""

    config_store: Annotated[
        str,
        typer.Option(metavar="URL", help="etcd://host:port,..., zk://host:port/chroot, file:///folder"),
    ] = ""


def named_value(option: str, text: str) -> tuple[str, str]:
    """Both sides of NAME=VALUE. Raises UsageError."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"{option} {text}", "is not NAME=VALUE", "write a name, =, and its value")
    return name, value
