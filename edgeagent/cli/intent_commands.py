# SPDX-License-Identifier: AGPL-3.0-or-later
"""Commands that write the operator's intent into a config store."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from edgeagent.cli.named_version import StoreToAsk, VersionOrTag, looked_up
from edgeagent.cli.option_groups import ConfigStore, takes_groups
from edgeagent.cli.options import ByOption, ModelArgument, user


@takes_groups
def promote(
    model: ModelArgument,
    version: VersionOrTag,
    config: ConfigStore,
    store: StoreToAsk = "",
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
) -> None:
    """Write the intent: all nodes that follow the key take this version."""
    from edgeagent.core.directive import Directive, current_key, encode_directive, with_terms
    from edgeagent.intent.url import open_writer

    chosen = looked_up(model, version, store)
    key = current_key(model)
    asked = Directive(
        chosen.version,
        by=by or user(),
        reason=reason,
        tag=chosen.tag,
        allow_new_contract=allow_new_contract,
        allow_slow=allow_slow,
        again=again,
    )
    value = encode_directive(with_terms(asked, terms))
    with closing(open_writer(config.config_store, config.access())) as writer:
        writer.put(key, value)
    typer.echo(f"{key} = {value.decode()}")
