# SPDX-License-Identifier: AGPL-3.0-or-later
"""`edgeagent rollout`: a version comes to a fleet in waves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent.cli.named_version import StoreToAsk, VersionOrTag, looked_up
from edgeagent.cli.option_groups import ConfigStore, takes_groups
from edgeagent.cli.options import ByOption, ModelArgument, WatchOption, user
from edgeagent.cli.rollout_options import JsonOption, PlanOptions, ReasonOption
from edgeagent.cli.tables import printable

if TYPE_CHECKING:
    from edgeagent.core.rollout import Rollout
    from edgeagent.core.rollout_view import Fleet

app = typer.Typer(help="A version comes to a fleet in waves.")

IdOption = Annotated[
    str, typer.Option("--id", metavar="ID", help="An earlier one (rollout list).", show_default=False)
]


@app.command()
@takes_groups
def start(
    model: ModelArgument,
    version: VersionOrTag,
    config: ConfigStore,
    plan: PlanOptions,
    store: StoreToAsk = "",
    by: ByOption = None,
    reason: ReasonOption = "",
    replace_unreadable: Annotated[
        bool, typer.Option("--replace-unreadable", help="Write over a roll-out that can't be read.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow it to its end; exit 1 when it halts before.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing: say which nodes would be in which wave.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Begin to roll a version out: `current` becomes it when all waves are through."""
    from edgeagent.cli.render_rollout import show_dry_run, show_start
    from edgeagent.cli.rollout_wait import wait_for
    from edgeagent.fleet.rollout_start import begin_rollout, prepare_rollout

    chosen = looked_up(model, version, store)
    if not store:
        typer.echo(f"warning: without --store it isn't checked whether {model}/{version} is there", err=True)
    with closing(config.open()) as opened:
        asked = plan.plan(chosen.version, by or user(), reason, chosen.tag)
        begun = prepare_rollout(opened, model, asked, plan.limits(), replace_unreadable)
        for warning in begun.warnings:
            typer.echo(f"warning: {printable(warning)}", err=True)
        if dry_run:
            show_dry_run(begun, as_json)
            return
        begin_rollout(opened, begun)
        if not (as_json and wait):
            show_start(begun, as_json)
        if wait:
            wait_for(opened, model, begun.rollout.id, as_json)


@app.command()
@takes_groups
def status(
    model: ModelArgument,
    config: ConfigStore,
    id: IdOption = "",
    watch: WatchOption = False,
    as_json: JsonOption = False,
) -> None:
    """How far a roll-out is, and why it is where it is."""
    from edgeagent.cli.render_rollout import show_progress
    from edgeagent.cli.watching import show_changes
    from edgeagent.core.rollout import ENDED
    from edgeagent.core.rollout_progress import Progress, progress_of
    from edgeagent.fleet.rollout_store import RolloutReader

    checked(model)
    with closing(config.open()) as opened:
        reader = RolloutReader(opened, model, id)

        def read() -> Progress:
            seen = reader.read()
            return progress_of(seen.rollout, seen.fleet, seen.has_leader)

        show = partial(show_progress, model, as_json=as_json, is_line=watch)
        if watch:
            show_changes(read, show, lambda progress: progress.rollout.status in ENDED)
        else:
            show(read())


@app.command("list")
@takes_groups
def list_(model: ModelArgument, config: ConfigStore, as_json: JsonOption = False) -> None:
    """The roll-outs of a model, the oldest first."""
    from edgeagent.cli.render_rollout import show_rollouts
    from edgeagent.errors import RolloutError
    from edgeagent.fleet.rollout_store import all_rollouts

    checked(model)
    with closing(config.open()) as opened:
        found = all_rollouts(opened, model)
    for broken in found:
        if isinstance(broken, RolloutError):
            typer.echo(f"warning: {printable(broken)}", err=True)
    show_rollouts(model, [r for r in found if not isinstance(r, RolloutError)], as_json)


@app.command()
@takes_groups
def pause(model: ModelArgument, config: ConfigStore, reason: ReasonOption = "", by: ByOption = None) -> None:
    """No further wave opens, no further node begins; who has the version keeps it."""
    from edgeagent.core.rollout_steps import paused

    why = _said("paused", by, reason)
    _change(model, config, lambda rollout, _: paused(rollout, why))


@app.command()
@takes_groups
def resume(model: ModelArgument, config: ConfigStore, reason: ReasonOption = "", by: ByOption = None) -> None:
    """It goes on where it was paused."""
    from edgeagent.core.rollout_steps import resumed

    why = _said("resumed", by, reason)
    _change(model, config, lambda rollout, fleet: replace(resumed(rollout, fleet), why=why))


@app.command()
@takes_groups
def advance(
    model: ModelArgument, config: ConfigStore, reason: ReasonOption = "", by: ByOption = None
) -> None:
    """The next wave opens now, whatever this one still waits for; after the last, `current` becomes the version."""
    from edgeagent.core.rollout_steps import advanced

    why = _said("advanced", by, reason)
    _change(model, config, lambda rollout, fleet: replace(advanced(rollout, fleet), why=why))


@app.command()
@takes_groups
def abort(model: ModelArgument, config: ConfigStore, reason: ReasonOption = "", by: ByOption = None) -> None:
    """All nodes go back to what `current` says."""
    from edgeagent.core.rollout_steps import aborted

    why = _said("aborted", by, reason)
    _change(model, config, lambda rollout, _: aborted(rollout, why))


@app.command()
@takes_groups
def compare(model: ModelArgument, config: ConfigStore, as_json: JsonOption = False) -> None:
    """What the nodes of the open waves see, and what the others do, side by side."""
    from edgeagent.cli.render_rollout import show_comparison
    from edgeagent.core.rollout_compare import compare as compare_groups
    from edgeagent.fleet.rollout_store import RolloutReader

    checked(model)
    with closing(config.open()) as opened:
        seen = RolloutReader(opened, model).read()
    show_comparison(model, seen.rollout, compare_groups(seen.rollout, seen.fleet), as_json)


def _change(model: str, config: ConfigStore, change: Callable[[Rollout, Fleet], Rollout]) -> None:
    """Write what the roll-out in force becomes on somebody's word, and say where it stands then."""
    from edgeagent.cli.render_rollout import show_rollout
    from edgeagent.fleet.rollout_store import RolloutReader, change_rollout

    checked(model)
    with closing(config.open()) as opened:
        seen = RolloutReader(opened, model).read()
        changed = change_rollout(opened, model, lambda rollout: change(rollout, seen.fleet))
    show_rollout(model, changed)
    if not seen.has_leader:
        typer.echo("warning: no coordinator leads: nothing but the nodes act on it", err=True)


def _said(what: str, by: str | None, reason: str) -> str:
    """On whose word, and why."""
    return f"{what} by {by or user()}" + (f": {reason}" if reason else "")


def checked(model: str) -> None:
    """Raises UsageError for what is no name of a model."""
    from edgeagent.core.model import check_name

    check_name("model", model)
