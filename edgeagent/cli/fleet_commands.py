# SPDX-License-Identifier: AGPL-3.0-or-later
"""Commands about all nodes at once: who leads them, which there are, what they serve, and back to what they served."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent.cli import completion
from edgeagent.cli.option_groups import ConfigStore, takes_groups
from edgeagent.cli.options import ByOption, WatchOption, user
from edgeagent.cli.rollout_options import JsonOption, PlanOptions, ReasonOption
from edgeagent.cli.tables import printable
from edgeagent.errors import EdgeAgentError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeagent.fleet.restore import ModelRestore
    from edgeagent.intent.port import KeyValueStore

OneModel = Annotated[
    str,
    typer.Option(metavar="M", help="This model only.", show_default=False, autocompletion=completion.models),
]
ModelsOption = Annotated[
    str, typer.Option("--store", metavar="URL", help="The model store.", show_default=False)
]


@takes_groups
def nodes(
    config: ConfigStore,
    model: OneModel = "",
    watch: WatchOption = False,
    as_json: JsonOption = False,
) -> None:
    """The nodes of a fleet: what each serves, how that goes, and which are silent."""
    from edgeagent.cli.render_fleet import show_nodes
    from edgeagent.cli.watching import show_changes
    from edgeagent.core.fleet_nodes import Nodes, only
    from edgeagent.fleet.members import MemberReader

    with closing(config.open()) as opened:
        reader = MemberReader(opened)

        def read() -> Nodes:
            return only(reader.read().nodes(), model)

        if watch:
            show_changes(read, partial(show_nodes, as_json=as_json, is_line=True))
        else:
            show_nodes(read(), as_json)


@takes_groups
def snapshot(
    config: ConfigStore,
    store: ModelsOption,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Of the snapshot; the time, if not given.", show_default=False)
    ] = "",
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write what every node serves into the model store, to go back to."""
    from edgeagent.cli.render_fleet import show_snapshot
    from edgeagent.core.snapshot import Snapshot
    from edgeagent.fleet.members import MemberReader
    from edgeagent.fleet.restore import served_by
    from edgeagent.store.remote import RemoteStore
    from edgeagent.store.snapshots import write_snapshot

    with closing(config.open()) as opened:
        found = MemberReader(opened).read().nodes()
    served = served_by(found)
    if not served:
        raise NotFoundError("snapshot", "no node serves anything", "see `edgeagent nodes`")
    now = datetime.now(UTC)
    at = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    taken = Snapshot(name or f"{now:%Y%m%d-%H%M%S}", at, by or user(), served)
    write_snapshot(RemoteStore(store), taken)
    silent = sorted({row.node for row in found.rows if not row.present and row.node in served})
    show_snapshot(taken, silent, as_json)


@takes_groups
def restore(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of a snapshot.", show_default=False)],
    config: ConfigStore,
    store: ModelsOption,
    plan: PlanOptions,
    pins: Annotated[
        bool,
        typer.Option("--pins", help="Pin nodes that served something else than most. Pins act at once."),
    ] = False,
    by: ByOption = None,
    reason: ReasonOption = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing: say what would come of it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring the fleet back to a snapshot, as a roll-out of each model to what most of its nodes served."""
    from edgeagent.cli.render_fleet import show_restore
    from edgeagent.fleet.restore import prepare_restore
    from edgeagent.store.remote import RemoteStore
    from edgeagent.store.snapshots import read_snapshot

    models, who = RemoteStore(store), by or user()
    taken = read_snapshot(models, name)
    why = reason or f"back to the snapshot {name}"
    with closing(config.open()) as opened:
        plan_of = partial(plan.plan, by=who, reason=why)
        found = prepare_restore(opened, models, taken, plan_of, plan.limits(), pins)
        starts = [restore.start for restore in found if restore.start]
        for warning in {warning for start in starts for warning in start.warnings}:
            typer.echo(f"warning: {printable(warning)}", err=True)
        if not dry_run:
            _write(opened, found, who if pins else "", why)
    show_restore(taken, found, pins, dry_run, as_json)


@takes_groups
def coordinate(
    config: ConfigStore,
    id: Annotated[
        str, typer.Option(metavar="NAME", help="By which others know it; this machine's, if not given.")
    ] = "",
    resume_orphaned: Annotated[
        bool,
        typer.Option(help="Go on with roll-outs that nobody led for long; else they wait to be resumed."),
    ] = False,
    orphaned_after: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="From when on nobody has led one for long.")
    ] = 60.0,
    lease: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=2, max=3600, help="How long its lead lasts when it gives no sign any more."
        ),
    ] = 15.0,
) -> None:
    """Lead roll-outs while no other coordinator does, until SIGTERM or SIGINT."""
    from edgeagent.coordinate import run_coordinator
    from edgeagent.fleet.coordinator import Coordinator
    from edgeagent.fleet.lead import Lead

    opened = config.open()
    lead = Lead(opened, name=id, ttl_s=lease)
    coordinator = Coordinator(opened, lead, orphaned_s=None if resume_orphaned else orphaned_after)
    raise typer.Exit(run_coordinator(coordinator, config.config_store))


def _write(store: KeyValueStore, found: Sequence[ModelRestore], pinned_by: str, why: str) -> None:
    """Begin the roll-outs, with pins before them where somebody is given who pins; if not all can be written, say what
    was.

    Raises ConflictError, UnavailableError, UsageError.
    """
    from edgeagent.fleet.restore import write_pins
    from edgeagent.fleet.rollout_start import begin_rollout

    done: list[str] = []
    try:
        for restore in found:
            back = restore.back
            if pinned_by and back.pins:
                write_pins(store, back.model, back.pins, pinned_by, why)
                done.append(f"pins of {back.model}")
            if restore.start:
                begin_rollout(store, restore.start)
                done.append(f"roll-out {restore.start.rollout.id} of {back.model}")
    except EdgeAgentError:
        if done:
            typer.echo(f"warning: not all was written, but: {', '.join(done)}", err=True)
        raise
