# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which kinds of sinks there are: one row each, and those that other packages bring.

A package adds one by an entry point of the group `edgeagent.sinks`, whose name is the type and whose object is a
`SinkType`. Nothing of it is imported unless a configuration uses it.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from edgeagent.sinks import csv, jsonl, log, mqtt, snapshot, webhook
from edgeagent.sinks.port import Sink, SinkConfig, SinkPlace, SinkType

BUILT_IN: tuple[SinkType[Any], ...] = (jsonl.SINK, log.SINK, csv.SINK, snapshot.SINK, mqtt.SINK, webhook.SINK)
GROUP = "edgeagent.sinks"


def sink_names() -> list[str]:
    """Every type that can be configured on this machine, those that come with edgeagent first."""
    return list(dict.fromkeys([*(row.name for row in BUILT_IN), *sorted(_entry_points())]))


def sink_type(name: str) -> SinkType[Any]:
    """The kind of sink of this name. Raises ValueError, with the names that are known or why it can't be loaded."""
    row = next((row for row in BUILT_IN if row.name == name), None)
    if row:
        return row
    if name not in _entry_points():
        raise ValueError(f"{name!r} is not known; allowed: {', '.join(sink_names())}")
    return _load(_entry_points()[name])


def open_sink(config: SinkConfig, place: SinkPlace) -> Sink:
    """The sink that this configuration describes, to work there. Raises EdgeAgentError when something is missing on
    this machine."""
    return sink_type(config.type).open_in(config, place)


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _load(point: EntryPoint) -> SinkType[Any]:
    origin = f"{point.name!r}, which the package {point.dist.name if point.dist else '?'} brings,"
    repair = f"allowed: repair the package, or one of {', '.join(row.name for row in BUILT_IN)}"
    try:
        row = point.load()
    except Exception as e:
        raise ValueError(f"{origin} can't be loaded ({type(e).__name__}: {e}); {repair}") from e
    if not isinstance(row, SinkType) or row.name != point.name:
        found = f"of type {row.name!r}" if isinstance(row, SinkType) else f"a {type(row).__name__}"
        raise ValueError(f"{origin} is no SinkType of this name but {found}; {repair}")
    return row
