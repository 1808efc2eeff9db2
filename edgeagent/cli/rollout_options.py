# SPDX-License-Identifier: AGPL-3.0-or-later
"""Options of the commands about a fleet, and those that say how a roll-out is to go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli.option_groups import named_value
from edgeagent.errors import UsageError

if TYPE_CHECKING:
    from edgeagent.core.rollout import Limits, Plan

ReasonOption = Annotated[str, typer.Option(metavar="TEXT", help="Why.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]
_WAVES = {"waves": "1,5%,25%,100%", "ab": "1,5%,50%"}
"""By mode: with which waves it comes where none are given."""
_SECONDS = "SECONDS"


@dataclass(frozen=True)
class PlanOptions:
    """Who is to take the version up in which order, and when to stop."""

    waves: Annotated[
        str,
        typer.Option(
            metavar="1,5%,25%,100%",
            help="How many nodes have it in each wave: counts, shares.",
            show_default=False,
        ),
    ] = ""
    canary: Annotated[
        list[str] | None,
        typer.Option(metavar="NODE", help="In the first wave; once for each.", show_default=False),
    ] = None
    selector: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=VALUE",
            help="Nodes with all these labels, too, are in the first wave.",
            show_default=False,
        ),
    ] = None
    bake: Annotated[
        float, typer.Option(metavar=_SECONDS, help="From when all of a wave have it until the next opens.")
    ] = 600.0
    deadline: Annotated[
        float, typer.Option(metavar=_SECONDS, help="How long anything is waited for before it pauses.")
    ] = 3600.0
    min_frames: Annotated[
        int, typer.Option(metavar="N", help="That each node must have seen with it before a wave is through.")
    ] = 0
    min_objects: Annotated[int, typer.Option(metavar="N", help="The same of objects that were judged.")] = 0
    max_failures: Annotated[
        int,
        typer.Option(
            metavar="N", help="Nodes that may go back from it or vanish with it, after the first wave."
        ),
    ] = 0
    max_refused: Annotated[
        float, typer.Option(metavar="SHARE", help="Of the nodes, 0 to 1, that may refuse it.")
    ] = 0.2
    on_failure: Annotated[
        str, typer.Option(metavar="rollback|pause", help="What becomes of it when it does harm.")
    ] = "rollback"
    approval: Annotated[
        str, typer.Option(metavar="auto|manual", help="manual: each wave waits for `rollout advance`.")
    ] = "auto"
    mode: Annotated[
        str, typer.Option(metavar="waves|ab", help="ab: it stops before the last nodes, to compare.")
    ] = "waves"
    preload: Annotated[bool, typer.Option(help="All nodes prepare it before the first wave.")] = False
    fetch_spread: Annotated[
        float, typer.Option(metavar=_SECONDS, help="Nodes of a wave fetch it at moments within this.")
    ] = 0.0
    terms: Annotated[
        str,
        typer.Option(
            metavar="JSON",
            help='How it is to come in, such as {"shadow": {"seconds": 120}}.',
            show_default=False,
        ),
    ] = ""

    def plan(self, version: str, by: str, reason: str, tag: str = "") -> Plan:
        """The plan, without what only the config store knows. tag: by which the version was named, "" for none.

        Raises UsageError; whether it makes sense as a whole is checked where it is encoded.
        """
        from edgeagent.core.rollout import CANARIES, Plan

        waves = [text.strip() for text in (self.waves or _WAVES.get(self.mode, "")).split(",")]
        if (self.canary or self.selector) and waves[0] != CANARIES:
            waves.insert(0, CANARIES)
        return Plan(
            version,
            came_from="",
            based_on="",
            salt="",
            waves=tuple(waves),
            canaries=tuple(self.canary or ()),
            selector=dict(named_value("--selector", text) for text in self.selector or ()),
            approval=self.approval,
            mode=self.mode,
            preload=self.preload,
            fetch_spread_seconds=self.fetch_spread,
            terms=({"tag": tag} if tag else {}) | _object(self.terms),
            by=by,
            reason=reason,
        )

    def limits(self) -> Limits:
        """When to stop."""
        from edgeagent.core.rollout import Limits

        return Limits(
            self.bake,
            self.deadline,
            self.min_frames,
            self.min_objects,
            self.max_failures,
            self.max_refused,
            self.on_failure,
        )


def _object(text: str) -> dict[str, Any]:
    from edgeagent.core.model import parse_json

    try:
        doc = parse_json(text) if text else {}
    except (ValueError, RecursionError) as e:
        raise UsageError("--terms", f"is no JSON ({e})", 'give JSON such as {"at": "window"}') from e
    if not isinstance(doc, dict):
        raise UsageError("--terms", "is no JSON object", 'give JSON such as {"at": "window"}')
    return doc
