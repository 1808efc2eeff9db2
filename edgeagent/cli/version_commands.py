# SPDX-License-Identifier: AGPL-3.0-or-later
"""Commands about the versions that a model store holds: which there are, tags, withdrawal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent.cli.options import ByOption, ModelArgument, VersionArgument, user
from edgeagent.cli.tables import printable, show_json, show_table
from edgeagent.errors import UsageError

if TYPE_CHECKING:
    from edgeagent.core.releases import Release
    from edgeagent.store.remote import RemoteStore

TagArgument = Annotated[str, typer.Argument(metavar="TAG", show_default=False)]
StoreOption = Annotated[
    str, typer.Option(metavar="URL", help="The model store: a folder or a URL.", show_default=False)
]
_DIGEST_SHOWN = len("sha256:") + 12


def versions(
    model: ModelArgument,
    store: StoreOption,
    as_json: Annotated[bool, typer.Option("--json", help="All of it, as JSON.")] = False,
) -> None:
    """What a model store holds of a model: versions, their tags, and which were withdrawn."""
    from edgeagent.cli.progress import Progress
    from edgeagent.store.releases import list_releases
    from edgeagent.store.remote import RemoteStore

    opened = RemoteStore(store)
    with Progress("versions read") as progress:
        listing = list_releases(opened, model, progress)
    for broken in listing.broken_tags:
        typer.echo(f"warning: {printable(broken)}", err=True)
    if as_json:
        show_json([release.to_json() for release in listing.releases])
    elif not listing.releases:
        hint = "; a web server must list its folders for this" if store.startswith("http") else ""
        typer.echo(f"no versions of {model} in {opened.name}{hint}")
    else:
        columns = ("version", "created", "sequence", "digest", "tags", "metrics", "withdrawn", "note")
        spare = ("note", "sequence", "digest", "metrics", "created")
        show_table(columns, [_row(release) for release in listing.releases], spare)


def tag(
    model: ModelArgument, version: VersionArgument, tag: TagArgument, store: StoreOption, by: ByOption = None
) -> None:
    """Name a version, such as stable; a tag that is there already is moved."""
    from edgeagent.store.remote import RemoteStore
    from edgeagent.store.tags import put_tag

    before = put_tag(RemoteStore(store), model, version, tag, by or user(), now())
    moved = f" (before: {before})" if before and before != version else ""
    typer.echo(
        f"{model}@{tag} is {version} now{moved}" if before != version else f"{model}@{tag} is {version}"
    )


def untag(model: ModelArgument, tag: TagArgument, store: StoreOption) -> None:
    """Remove a tag; the version that it names stays."""
    from edgeagent.store.remote import RemoteStore
    from edgeagent.store.tags import remove_tag

    before = remove_tag(RemoteStore(store), model, tag)
    typer.echo(f"{model}@{tag} removed" + (f", it was {before}" if before else ""))


def yank(
    model: ModelArgument,
    version: VersionArgument,
    store: StoreOption,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why.", show_default=False)] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Let nodes take it up again.")] = False,
    by: ByOption = None,
) -> None:
    """Have no node take a version up any more; nodes that serve it go on, and say so."""
    from edgeagent.core.store_documents import Withdrawal
    from edgeagent.store.remote import RemoteStore
    from edgeagent.store.withdrawals import let_in, withdraw

    opened = RemoteStore(store)
    if undo:
        before = let_in(opened, model, version)
        typer.echo(f"{model}/{version} may be taken up again; it was withdrawn: {printable(before)}")
        return
    if not reason.strip():
        raise UsageError("--reason", "it is missing, and whoever meets this version reads it", "say why")
    withdraw(opened, model, version, Withdrawal(reason, by or user(), now()))
    typer.echo(f"{model}/{version} withdrawn: no node takes it up any more, those that serve it go on")
    _say_tags(opened, model, version)


def _say_tags(opened: RemoteStore, model: str, version: str) -> None:
    """That a tag names a withdrawn version is nothing that whoever uses the tag wants to find out."""
    from edgeagent.store.tags import tags

    for name, named in tags(opened, model).items():
        if getattr(named, "version", "") == version:
            typer.echo(
                f"warning: {model}@{name} still names it: edgeagent tag {model} VERSION {name}", err=True
            )


def now() -> str:
    """ISO 8601 in UTC, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _row(release: Release) -> tuple[object, ...]:
    m = release.manifest
    metrics = ", ".join(f"{name} {value:g}" for name, value in m.metrics.items()) if m else ""
    return (
        release.version,
        m.created if m else None,
        m.sequence if m else None,
        m.digest[:_DIGEST_SHOWN] if m else None,
        ", ".join(release.tags),
        metrics,
        release.withdrawal,
        m.note if m else f"broken: {release.fault}",
    )
