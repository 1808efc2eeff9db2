# SPDX-License-Identifier: AGPL-3.0-or-later
"""`edgeagent prune`: old versions go from a model store, and none that somebody needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent.cli.option_groups import ConfigStoreIfAny, takes_groups
from edgeagent.cli.options import ModelArgument
from edgeagent.cli.progress import Progress
from edgeagent.cli.tables import printable
from edgeagent.cli.version_commands import StoreOption
from edgeagent.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from edgeagent.core.model import Manifest
    from edgeagent.core.prune import Judged
    from edgeagent.store.remote import RemoteStore

_MB = 1e6


@takes_groups
def prune(
    model: ModelArgument,
    store: StoreOption,
    config: ConfigStoreIfAny,
    without_config_store: Annotated[
        bool, typer.Option("--without-config-store", help="Remove also what nodes may serve.")
    ] = False,
    keep: Annotated[int, typer.Option(min=1, metavar="N", help="So many of the newest stay.")] = 10,
    younger: Annotated[float, typer.Option(min=0, metavar="DAYS", help="What is younger stays.")] = 30.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing: say what would go.")] = False,
) -> None:
    """Remove old versions: none that is tagged, named by the fleet's keys, served, or in a snapshot."""
    from edgeagent.core.model import check_name
    from edgeagent.core.prune import judge
    from edgeagent.store.releases import list_releases
    from edgeagent.store.remote import RemoteStore

    check_name("model", model)
    _check_given(config, without_config_store)
    opened = RemoteStore(store)
    with Progress("versions read") as progress:
        listing = list_releases(opened, model, progress)
    if listing.broken_tags:  # each might name any version
        raise listing.broken_tags[0]
    needed = _needed(opened, model, config)
    judged = judge(listing.releases, needed, keep, younger, datetime.now(UTC))
    for version in judged:
        _say(model, version, dry_run)
    _remove(opened, model, [v.release.version for v in judged if not v.stays], dry_run)
    _say_sum(judged, dry_run)


def _check_given(config: ConfigStoreIfAny, without: bool) -> None:
    """Raises UsageError unless it is said where to ask what nodes need, or that nobody is to be asked."""
    if without and config.config_store:
        raise UsageError("--without-config-store", "--config-store is given, too", "give one of them")
    if not (without or config.config_store):
        why = "without the config store it can't be known which versions nodes serve"
        todo = "give --config-store URL, or --without-config-store if you know it"
        raise UsageError("--config-store", why, todo)


def _needed(opened: RemoteStore, model: str, config: ConfigStoreIfAny) -> Mapping[str, Sequence[str]]:
    """By version: by what it is needed."""
    from edgeagent.fleet.in_use import needed_by_fleet, needed_by_snapshots
    from edgeagent.intent.url import find_adapter, open_store

    needed = dict(needed_by_snapshots(opened, model))
    if not config.config_store:
        return needed
    adapter = find_adapter(config.config_store)
    with closing(open_store(config.config_store, config.access())) as keys:
        by_fleet = needed_by_fleet(keys, model)
    if not adapter.leases:
        why = f"nodes don't say in a {adapter.kind} what they serve: only current and pins are known"
        typer.echo(f"warning: config store {config.config_store}: {why}", err=True)
    return {v: [*by_fleet.get(v, ()), *needed.get(v, ())] for v in {*by_fleet, *needed}}


def _remove(opened: RemoteStore, model: str, versions: Sequence[str], dry_run: bool) -> None:
    """These versions, and what is left of those whose removal was interrupted."""
    from edgeagent.store.removal import begin_removal, begun_removals, end_removals

    begun: list[Manifest] = []
    for left in begun_removals(opened, model):
        if isinstance(left, IntegrityError):
            typer.echo(f"warning: {printable(left)}", err=True)
        else:
            verb = "would be" if dry_run else "is"
            typer.echo(f"{model}/{left.version}: its removal was interrupted, and {verb} brought to its end")
            begun.append(left)
    if dry_run:
        return
    # First none of them is a version any more: what was looked up must not have time to change.
    begun += [begin_removal(opened, model, version) for version in versions]
    with Progress("files removed") as progress:
        end_removals(opened, begun, progress)


def _say(model: str, version: Judged, dry_run: bool) -> None:
    name, manifest = f"{model}/{version.release.version}", version.release.manifest
    if version.stays or manifest is None:
        typer.echo(f"{name}: stays, {printable(version.stays)}")
    else:
        what = "would go" if dry_run else "goes"
        size = sum(file.size for file in manifest.files) / _MB
        typer.echo(f"{name}: {what}, created {printable(manifest.created)}, {size:.1f} MB")


def _say_sum(judged: Sequence[Judged], dry_run: bool) -> None:
    gone = [v.release.manifest for v in judged if not v.stays and v.release.manifest]
    size = sum(file.size for manifest in gone for file in manifest.files) / _MB
    what = "would be removed" if dry_run else "removed"
    typer.echo(f"{len(gone)} of {len(judged)} versions {what}, {size:.1f} MB")
