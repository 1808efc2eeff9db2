# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gates that other packages bring, as entry points of the group `edgeagent.gates`; each names a `Gate`.

The node finds them and imports none; the preparing worker loads those that the node names.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from edgeagent.core.gating import GateResult, PlugIn
from edgeagent.gates.port import Gate

GROUP = "edgeagent.gates"


@cache
def installed() -> tuple[PlugIn, ...]:
    """Those that are there, by name; looked for once in the life of a process. Reads the disk."""
    from importlib.metadata import entry_points

    found = (
        PlugIn(entry.name, entry.value, entry.dist.version if entry.dist else "")
        for entry in entry_points(group=GROUP)
    )
    return tuple(sorted(found, key=lambda plug_in: plug_in.name))


def load(plug_ins: Iterable[PlugIn]) -> list[Gate]:
    """Import them. What can't be imported is a gate that lets nothing through: it was installed to be passed."""
    return [_load(plug_in) for plug_in in plug_ins]


def _load(plug_in: PlugIn) -> Gate:
    from importlib.metadata import EntryPoint

    why = f"{plug_in.value} is no edgeagent.gates.port.Gate"
    try:
        gate = EntryPoint(plug_in.name, plug_in.value, GROUP).load()
        if isinstance(gate, Gate):
            return gate
    except (Exception, SystemExit) as e:  # noqa: BLE001  (code of others: whatever it is, it must not pass for a gate passed)
        why = f"{plug_in.value} can't be loaded: {e!r}"
    return Gate(plug_in.name, lambda context: GateResult.judged(plug_in.name, [why]))
